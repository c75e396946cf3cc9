/* Periodic tasks: prunes the journal, measures it and the notification queue, writes test events,
 * checks the watched tables, and notices the promotion of a standby. */
#pragma once

#include <uv.h>

#include "pglink.h"
#include "scheduler.h"
#include "session.h"
#include "settings.h"

struct maintenance;

/* The scheduler, which must live as long, uses the same connection and measures test events. */
struct maintenance *maintenance_create(uv_loop_t *loop, const struct settings *settings,
	struct pglink *link, struct scheduler *scheduler);
/* The loop must run until the timer is closed. */
void maintenance_destroy(struct maintenance **maintenance);

/* The connection is set up. */
void maintenance_connected(struct maintenance *maintenance, const struct session_facts *facts);
