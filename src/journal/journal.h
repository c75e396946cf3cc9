/* The journal's SQL: reads a turn from pgcast.event and tells the hub what is in it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "hub.h"
#include "pglink.h"
#include "session.h"

struct journal;

/* What to do with the bridge's sleeping lock before a turn. */
enum lock { LOCK_KEEP, LOCK_TAKE, LOCK_RELEASE };

struct turn_result {
	size_t events; /* that the pull brought */
	bool locked;   /* LOCK_TAKE succeeded: writers ring from now on */
	bool crowded;  /* transactions are in progress that are newer than the turn before */
};

/* done is called at the end of each turn that was begun, unless the connection is lost first. */
struct journal *journal_create(struct pglink *link, struct hub *hub,
	void (*done)(void *ctx, const struct turn_result *result), void *ctx);
void journal_destroy(struct journal **journal);

/* A new connection. Finds out whether history still is what it was, goes back in it where not, and
 * calls `ready`. */
void journal_connected(
	struct journal *journal, const struct session_facts *facts, void (*ready)(void *ctx));
/* The connection is gone, and with it the turn that was under way. */
void journal_lost(struct journal *journal);

/* Begins a turn; only one at a time. */
void journal_turn(struct journal *journal, enum lock lock);
