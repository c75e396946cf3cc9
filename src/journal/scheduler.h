/* Decides when the bridge reads the journal: asleep, at each NOTIFY; awake, every few milliseconds.
 *
 * NOTIFY serialises commits, so writers send it only while a bridge sleeps. A sleeping bridge holds
 * an advisory lock, and each writer tries to take it shared. When transactions overlap, or after
 * many bells, the bridge releases the lock and polls, and no writer sends NOTIFY. After some idle
 * polls it takes the lock, reads once more and sleeps. A writer keeps its shared lock until its
 * commit is visible, so that this read sees every commit that sent no NOTIFY. */
#pragma once

#include <uv.h>

#include "hub.h"
#include "pglink.h"
#include "session.h"
#include "settings.h"

struct scheduler;

/* `ready` is called after the first turn of each connection. */
struct scheduler *scheduler_create(uv_loop_t *loop, const struct settings *settings,
	struct pglink *link, struct hub *hub, void (*ready)(void *ctx), void *ctx);
/* The loop must run until the timer is closed. */
void scheduler_destroy(struct scheduler **scheduler);

/* The connection is set up: the first turn starts, and others follow. */
void scheduler_connected(struct scheduler *scheduler, const struct session_facts *facts);
void scheduler_lost(struct scheduler *scheduler);
/* A NOTIFY arrived. */
void scheduler_bell(struct scheduler *scheduler);
/* Starts a turn, after the current one if there is one. */
void scheduler_turn(struct scheduler *scheduler);
/* A test event is requested (id 0), or was written: it is to be read by the next turn. */
void scheduler_expect(struct scheduler *scheduler, int64_t id, uint64_t since_ms);
/* False: the connection is within the read-only transaction of a turn. */
bool scheduler_may_write(const struct scheduler *scheduler);
/* True when turns succeed: one has on this connection, and the current one is not late. Else *why,
 * if a turn is late. */
bool scheduler_is_ready(const struct scheduler *scheduler, const char **why);
/* Logs when turns begin and cease to be late; to be called once a second. */
void scheduler_tick(struct scheduler *scheduler);
