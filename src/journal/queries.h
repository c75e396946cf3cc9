/* Query connections: answers to init are found there, so that none delays the events. A turn
 * exports its snapshot, an idle connection imports it, and the turn ends; then the queries run.
 * A failure there is answered with an error. A connection is opened when none is idle, and stays
 * open. */
#pragma once

#include <uv.h>

#include "hub.h"
#include "settings.h"

struct queries;

struct queries *queries_create(uv_loop_t *loop, const struct settings *settings, struct hub *hub);
/* The loop must run until the handles are closed. Answers the rest with an error. */
void queries_destroy(struct queries **queries);

/* Where the next turn has its init queries run; opens a connection if none is idle. */
enum init_mode queries_mode(struct queries *queries);

/* Reserves an idle connection for the plan's init queries. */
void queries_reserve(struct queries *queries, const struct plan *plan);
/* Lets it import a snapshot. `taken` is called once, with false when that failed. */
void queries_take(struct queries *queries, const char *snapshot, void (*taken)(void *ctx, bool ok),
	void *ctx);
/* The turn has ended: runs the queries, one per ticket, whose answers go to the hub. */
void queries_run(struct queries *queries, struct ticket *tickets[], size_t n);
/* The turn broke off: the queries are not run. */
void queries_drop(struct queries *queries);
