/* The one connection to PostgreSQL: dials, notices when it dies, dials again; queues queries in
 * libpq's pipeline mode and hands out rows as they arrive. With pipeline.c the only user of libpq.
 *
 * libpq is always drained at once, whatever clients do: a listener that stops reading pins the
 * notification queue for the whole cluster. Any error of a statement ends the connection: what it
 * left undone is done again after the next dial, and there is one way to recover instead of two. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "query.h"

struct pglink;

struct pglink_hooks {
	/* The connection is there; the session is to be set up, ending in pglink_live. */
	void (*connected)(void *ctx);
	/* It is gone, or did not come about; what was sent and not answered never will be. */
	void (*lost)(void *ctx, const char *reason);
	/* A notification; own: sent by this session itself. */
	void (*notified)(void *ctx, const char *channel, const char *payload, bool own);
	void *ctx;
};

/* conninfo: as libpq takes it, "" for its defaults. */
struct pglink *pglink_create(
	uv_loop_t *loop, const char *conninfo, const struct pglink_hooks *hooks);
/* Dials; the hooks may be called from here on. */
void pglink_start(struct pglink *link);
/* The loop has to run on until its handles are closed. */
void pglink_destroy(struct pglink **link);

/* The set-up succeeded: probing starts, the back-off starts anew. */
void pglink_live(struct pglink *link);
bool pglink_is_live(const struct pglink *link);
/* Gives the connection up, for a reason that was found above; dials again after a pause. */
void pglink_fail(struct pglink *link, const char *reason);
/* One line that says how the connection is, for people. */
const char *pglink_status(const struct pglink *link);

/* libpq's and the server's process ids for this session differ: there is a pooler in between. */
bool pglink_same_backend(const struct pglink *link, const char *pid);

/* Queues a query. Queries up to the next pglink_sync are one transaction (unless they say BEGIN).
 */
void pglink_send(struct pglink *link, const struct query *query);
void pglink_sync(struct pglink *link);
