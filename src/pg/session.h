/* Sets a new connection up: checks server, schema and rights, joins the bridges, and listens. Its
 * own notification shows whether any arrives: behind a transaction pooler LISTEN succeeds, but
 * nothing comes. */
#pragma once

#include <stdbool.h>

#include "pglink.h"
#include "settings.h"

struct session_facts {
	int key;   /* of the sleeping lock of this bridge; 0: none, it polls */
	bool poll; /* no notification will arrive */
	bool standby;
	bool pooled; /* each transaction may run in another session: prepare nothing */
};

struct session;

/* `ready` is called when everything is set up; a failed check ends in pglink_fail. */
struct session *session_create(struct pglink *link, const struct settings *settings,
	void (*ready)(void *ctx, const struct session_facts *facts), void *ctx);
void session_destroy(struct session **session);

/* The hooks of pglink. */
void session_start(struct session *session);
void session_notified(struct session *session, bool own);
