/* A connection to PostgreSQL: connects, notices when it is lost and connects again, queues
 * queries in libpq's pipeline mode and hands out rows as they arrive.
 *
 * libpq is always drained at once, even if clients are slow: a listener that stops reading pins the
 * notification queue of the whole cluster. An error of any statement ends the connection: the work
 * is done again after the next connect, and there is one way to recover instead of two. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "query.h"

struct pglink;

struct pglink_hooks {
	/* Connected; the session is to be set up, ending in pglink_live. */
	void (*connected)(void *ctx);
	/* Lost, or not connected at all; unanswered queries will have no answer. */
	void (*lost)(void *ctx, const char *reason);
	/* A notification arrived; own: sent by this session. */
	void (*notified)(void *ctx, const char *channel, const char *payload, bool own);
	void *ctx;
};

struct pglink_config {
	const char *conninfo;  /* as libpq takes it, "" for its defaults */
	const char *name;      /* in log messages */
	uint64_t answer_limit; /* milliseconds without a byte while an answer is due */
	bool is_main;	       /* its state is that of the metrics */
};

/* The strings are copied, except the name. */
struct pglink *pglink_create(
	uv_loop_t *loop, const struct pglink_config *config, const struct pglink_hooks *hooks);
/* Connects; the hooks may be called from here on. */
void pglink_start(struct pglink *link);
/* The loop must run until the handles are closed. */
void pglink_destroy(struct pglink **link);

/* The set-up succeeded: starts probing. */
void pglink_live(struct pglink *link);
bool pglink_is_live(const struct pglink *link);
/* Ends the connection for a reason found by the caller; connects again after a pause. */
void pglink_fail(struct pglink *link, const char *reason);
/* The state of the connection in one line, for people. */
const char *pglink_status(const struct pglink *link);

/* False: the process ids of libpq and server differ, and there is a pooler in between. */
bool pglink_same_backend(const struct pglink *link, const char *pid);

/* Queues a query. Queries up to the next pglink_sync are one transaction (unless they say BEGIN).
 */
void pglink_send(struct pglink *link, const struct query *query);
void pglink_sync(struct pglink *link);
