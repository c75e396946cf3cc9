#include "queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "answer.h"
#include "clock.h"
#include "journal_sql.h"
#include "pg_sql.h"
#include "pgarray.h"
#include "pglink.h"

/* Milliseconds. */
#define TAKE_LIMIT 200	   /* for importing a snapshot, which the turn waits for */
#define ANSWER_MARGIN 4000 /* above query_timeout: the connection is dead */
#define UNAVAILABLE 5000   /* after a failed attempt to connect, queries run in the turn */

enum state { CLOSED, OPENING, IDLE, RESERVED, TAKING, TAKEN, RUNNING };

/* A query of the batch, with its parameters as they are sent. */
struct item {
	char *type, *uid;
	struct ticket *ticket; /* NULL: answered */
};

struct connection {
	struct queries *queries;
	struct pglink *link; /* NULL: never opened */
	enum state state;
	struct item *items;
	size_t n, answered;
};

struct queries {
	uv_loop_t *loop;
	const struct settings *settings;
	struct hub *hub;
	struct connection *connections;
	size_t n;
	uv_timer_t timer;
	struct connection *taking; /* RESERVED to TAKEN, for the current turn; NULL: none */
	void (*taken)(void *ctx, bool ok);
	void *ctx;
	uint64_t failed_ms; /* the last failed attempt to connect; 0: none */
	bool ending;
};

/* ---- the batch of a connection ---- */

/* Queries without an answer get the error; NULL: the hub asks again. */
static void finish_batch(struct connection *connection, const char *error)
{
	for (size_t i = 0; i < connection->n; i++) {
		struct item *item = &connection->items[i];
		if (item->ticket)
			hub_answer(connection->queries->hub, &item->ticket, NULL, 0, error);
		free(item->type);
		free(item->uid);
	}
	free(connection->items);
	connection->items = NULL;
	connection->n = connection->answered = 0;
}

static void become_idle(struct connection *connection)
{
	struct queries *queries = connection->queries;
	finish_batch(connection, NULL);
	connection->state = IDLE;
	hub_inits_possible(queries->hub);
}

static void ask(struct connection *connection, struct statement statement,
	const char *const *params, row_fn *row, done_fn *done)
{
	pglink_send(connection->link, &(struct query){statement, params, row, done, connection});
}

/* ---- connecting ---- */

static void on_set_up(void *ctx)
{
	struct connection *connection = ctx;
	pglink_live(connection->link);
	connection->queries->failed_ms = 0;
	become_idle(connection);
}

static void on_connected(void *ctx)
{
	struct connection *connection = ctx;
	ask(connection, settings_sql, NULL, NULL, on_set_up);
	pglink_sync(connection->link);
}

static void end_taking(struct queries *queries, bool ok)
{
	void (*taken)(void *ctx, bool ok) = queries->taken;
	queries->taken = NULL;
	uv_timer_stop(&queries->timer);
	if (!ok)
		queries->taking = NULL;
	if (taken)
		taken(queries->ctx, ok);
}

/* It connects again by itself. */
static void on_lost(void *ctx, const char *reason)
{
	(void)reason;
	struct connection *connection = ctx;
	struct queries *queries = connection->queries;
	if (connection->state == OPENING)
		queries->failed_ms = clock_ms();
	connection->state = OPENING;
	finish_batch(connection, "unavailable");
	if (connection == queries->taking)
		end_taking(queries, false);
	if (!queries->ending)
		hub_inits_possible(queries->hub);
}

static void on_notified(void *ctx, const char *channel, const char *payload, bool own)
{
	(void)ctx, (void)channel, (void)payload, (void)own;
}

static void open_connection(struct connection *connection)
{
	struct queries *queries = connection->queries;
	struct pglink_hooks hooks = {on_connected, on_lost, on_notified, connection};
	const struct pglink_config config = {.conninfo = queries->settings->database,
		.name = "query connection",
		.answer_limit = (uint64_t)queries->settings->query_timeout + ANSWER_MARGIN};
	connection->state = OPENING;
	connection->link = pglink_create(queries->loop, &config, &hooks);
	pglink_start(connection->link);
}

static struct connection *find(struct queries *queries, enum state state)
{
	for (size_t i = 0; i < queries->n; i++)
		if (queries->connections[i].state == state)
			return &queries->connections[i];
	return NULL;
}

/* While connecting fails, and nothing else can run them, queries run in the turn. */
enum init_mode queries_mode(struct queries *queries)
{
	if (!queries->n)
		return INIT_IN_TURN;
	if (queries->taking)
		return INIT_WAITS;
	if (find(queries, IDLE))
		return INIT_APART;
	struct connection *closed = find(queries, CLOSED);
	if (closed && !find(queries, OPENING))
		open_connection(closed);
	bool failing = queries->failed_ms && clock_ms() - queries->failed_ms < UNAVAILABLE;
	return failing && !find(queries, RUNNING) ? INIT_IN_TURN : INIT_WAITS;
}

/* ---- a batch ---- */

static void on_rolled_back(void *ctx)
{
	become_idle(ctx);
}

static void on_imported(void *ctx)
{
	struct connection *connection = ctx;
	struct queries *queries = connection->queries;
	connection->state = TAKEN;
	if (queries->taking == connection) {
		end_taking(queries, true);
		return;
	}
	/* The turn broke off meanwhile. */
	connection->state = RUNNING;
	ask(connection, (struct statement){.sql = "rollback"}, NULL, NULL, on_rolled_back);
	pglink_sync(connection->link);
}

static void on_take_limit(uv_timer_t *timer)
{
	struct queries *queries = timer->data;
	pglink_fail(queries->taking->link, "a snapshot was not imported in time");
}

/* The transaction stays open for the queries. */
static const struct statement begin = {.sql = "begin isolation level repeatable read, read only"};

void queries_reserve(struct queries *queries, const struct plan *plan)
{
	struct connection *connection = find(queries, IDLE);
	connection->state = RESERVED;
	connection->n = plan->n_init_queries;
	connection->items = xcalloc(connection->n, sizeof(*connection->items));
	for (size_t i = 0; i < connection->n; i++) {
		connection->items[i].type = pgarray_bytes(plan->init_queries[i].type);
		connection->items[i].uid = pgarray_bytes(plan->init_queries[i].uid);
	}
	queries->taking = connection;
}

void queries_take(
	struct queries *queries, const char *snapshot, void (*taken)(void *ctx, bool ok), void *ctx)
{
	struct connection *connection = queries->taking;
	if (!connection) { /* lost since */
		taken(ctx, false);
		return;
	}
	queries->taken = taken;
	queries->ctx = ctx;
	connection->state = TAKING;
	uv_timer_start(&queries->timer, on_take_limit, TAKE_LIMIT, 0);
	char *import = xasprintf("set transaction snapshot '%s'", snapshot);
	ask(connection, begin, NULL, NULL, NULL);
	ask(connection, (struct statement){.sql = import}, NULL, NULL, on_imported);
	pglink_sync(connection->link);
	free(import);
}

static void on_answer(void *ctx, const struct row *row)
{
	struct connection *connection = ctx;
	struct item *item = &connection->items[connection->answered++];
	struct answer answer = answer_read(row);
	hub_answer(
		connection->queries->hub, &item->ticket, answer.message, answer.len, answer.error);
}

static void on_batch_done(void *ctx)
{
	become_idle(ctx);
}

static const struct statement commit = {.sql = "commit"};

void queries_run(struct queries *queries, struct ticket *tickets[], size_t n)
{
	struct connection *connection = queries->taking;
	if (!connection) { /* lost since: the hub asks again */
		for (size_t i = 0; i < n; i++)
			hub_answer(queries->hub, &tickets[i], NULL, 0, NULL);
		return;
	}
	char limit[24];
	const char *limit_params[] = {limit};
	snprintf(limit, sizeof(limit), "%lld", (long long)queries->settings->query_timeout);
	queries->taking = NULL;
	connection->state = RUNNING;
	ask(connection, limit_init_sql, limit_params, NULL, NULL);
	for (size_t i = 0; i < n; i++) {
		struct item *item = &connection->items[i];
		const char *params[] = {item->type, item->uid};
		item->ticket = tickets[i];
		ask(connection, init_sql, params, NULL, NULL);
		ask(connection, answer_sql, limit_params, on_answer, NULL);
	}
	ask(connection, commit, NULL, NULL, on_batch_done);
	pglink_sync(connection->link);
	hub_inits_possible(queries->hub);
}

void queries_drop(struct queries *queries)
{
	struct connection *connection = queries->taking;
	if (!connection)
		return;
	queries->taking = NULL;
	queries->taken = NULL;
	uv_timer_stop(&queries->timer);
	if (connection->state == RESERVED)
		become_idle(connection);
	else if (connection->state == TAKEN)
		on_imported(connection);
}

/* ---- start and end ---- */

struct queries *queries_create(uv_loop_t *loop, const struct settings *settings, struct hub *hub)
{
	struct queries *queries = xcalloc(1, sizeof(*queries));
	queries->loop = loop;
	queries->settings = settings;
	queries->hub = hub;
	queries->n = (size_t)settings->query_connections;
	queries->connections = xcalloc(queries->n + 1, sizeof(*queries->connections));
	for (size_t i = 0; i < queries->n; i++)
		queries->connections[i].queries = queries;
	queries->timer.data = queries;
	uv_timer_init(loop, &queries->timer);
	return queries;
}

static void on_close(uv_handle_t *handle)
{
	struct queries *queries = handle->data;
	free(queries->connections);
	free(queries);
}

void queries_destroy(struct queries **queries)
{
	struct queries *old = *queries;
	*queries = NULL;
	if (!old)
		return;
	old->ending = true;
	for (size_t i = 0; i < old->n; i++) {
		finish_batch(&old->connections[i], "unavailable");
		pglink_destroy(&old->connections[i].link);
	}
	uv_close((uv_handle_t *)&old->timer, on_close);
}
