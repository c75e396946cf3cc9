/* Periodic tasks: prunes the journal, measures it and the notification queue, writes test events,
 * and notices the promotion of a standby. */
#pragma once

#include <uv.h>

#include "pglink.h"
#include "session.h"
#include "settings.h"

struct maintenance;

/* `wrote` is called when a test event is requested, and with its id when it is written. */
struct maintenance *maintenance_create(uv_loop_t *loop, const struct settings *settings,
	struct pglink *link, void (*wrote)(void *ctx, int64_t id, uint64_t since_ms), void *ctx);
/* The loop must run until the timer is closed. */
void maintenance_destroy(struct maintenance **maintenance);

/* The connection is set up. */
void maintenance_connected(struct maintenance *maintenance, const struct session_facts *facts);
