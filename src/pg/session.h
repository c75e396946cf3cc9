/* Sets a fresh connection up: what it needs to be true of the server, in the order in which a
 * person would want to hear that it is not; then its place among the bridges, and LISTEN with a
 * test that something is heard at all (behind a transaction pooler LISTEN succeeds and stays deaf).
 */
#pragma once

#include <stdbool.h>

#include "pglink.h"
#include "settings.h"

/* What the set-up found out. */
struct session_facts {
	int key;   /* of this bridge's sleeping lock; 0: it has none, and polls */
	bool poll; /* nobody will ring: look by ourselves */
	bool standby;
	bool pooled; /* each transaction may run in another session: prepare nothing */
};

struct session;

/* `ready` is called when everything is in place; what is not ends in pglink_fail. */
struct session *session_create(struct pglink *link, const struct settings *settings,
	void (*ready)(void *ctx, const struct session_facts *facts), void *ctx);
void session_destroy(struct session **session);

/* For pglink's hooks. */
void session_start(struct session *session);
void session_notified(struct session *session, bool own);
