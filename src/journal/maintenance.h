/* Periodic tasks: prunes the journal, measures the notification queue, and notices the promotion of
 * a standby. */
#pragma once

#include <uv.h>

#include "pglink.h"
#include "session.h"
#include "settings.h"

struct maintenance;

struct maintenance *maintenance_create(
	uv_loop_t *loop, const struct settings *settings, struct pglink *link);
/* The loop must run until the timer is closed. */
void maintenance_destroy(struct maintenance **maintenance);

/* The connection is set up. */
void maintenance_connected(struct maintenance *maintenance, const struct session_facts *facts);
