/* Reads turns from the journal table pgcast.event and hands their rows to the hub. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub.h"
#include "pglink.h"
#include "session.h"

struct journal;
struct queries;

/* The action on the sleeping lock of this bridge before a turn reads. */
enum lock { LOCK_KEEP, LOCK_TAKE, LOCK_RELEASE };

struct turn_result {
	size_t events;	/* of the pull */
	bool pulled;	/* the rows of the pull are complete */
	bool too_large; /* the pull was: nothing of the turn counts, another one must follow */
	bool locked;	/* LOCK_TAKE succeeded: writers send NOTIFY from now on */
	bool concurrent_writers; /* transactions newer than the turn before are in progress */
};

/* `done` is called when the rows of a turn are complete, unless the connection is lost before. */
struct journal *journal_create(struct pglink *link, struct hub *hub, struct queries *queries,
	void (*done)(void *ctx, const struct turn_result *result), void *ctx);
void journal_destroy(struct journal **journal);

/* A new connection. Rolls back to the last valid position if commits were lost, and then calls
 * `ready`. */
void journal_connected(
	struct journal *journal, const struct session_facts *facts, void (*ready)(void *ctx));
/* The connection is lost, and the current turn with it. */
void journal_lost(struct journal *journal);

/* A test event is requested (id 0), or was written: the time until it is read is a metric, */
void journal_expect(struct journal *journal, int64_t id, uint64_t since_ms);
/* which grows until then; to be called once a second. */
void journal_measure_delay(struct journal *journal);

/* False: the connection is within the read-only transaction of a turn. */
bool journal_may_write(const struct journal *journal);
/* Starts a turn; only one at a time. */
void journal_turn(struct journal *journal, enum lock lock);
