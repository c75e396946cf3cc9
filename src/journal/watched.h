/* The state of the watched tables: asks for it after connecting and once an interval, logs each
 * change of it, and counts the tables that are not ok. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "pglink.h"
#include "scheduler.h"

struct watched;

/* `interval` in milliseconds. The scheduler, which must live as long, uses the same connection. */
struct watched *watched_create(
	uv_loop_t *loop, uint64_t interval, struct pglink *link, struct scheduler *scheduler);
/* The loop must run until the timer is closed. */
void watched_destroy(struct watched **watched);

/* The connection is set up. */
void watched_connected(struct watched *watched, bool standby);
