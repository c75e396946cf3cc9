#include "pipeline.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "metrics.h"

/* More names than there are statements. */
#define MAX_PREPARED 16

/* A query or sync without an answer so far. */
struct expected {
	struct expected *next;
	bool sync;
	row_fn *row;
	done_fn *done;
	void *ctx;
};

struct row {
	const PGresult *result;
};

struct pipeline {
	PGconn *conn; /* NULL: destroyed, while receiving */
	struct expected *head, **tail;
	const char *prepared[MAX_PREPARED];
	size_t n_prepared;
	bool receiving;
};

struct pipeline *pipeline_create(PGconn *conn)
{
	struct pipeline *pipeline = xcalloc(1, sizeof(*pipeline));
	pipeline->conn = conn;
	pipeline->tail = &pipeline->head;
	return pipeline;
}

static struct expected *dequeue(struct pipeline *pipeline)
{
	struct expected *expected = pipeline->head;
	pipeline->head = expected->next;
	if (!pipeline->head)
		pipeline->tail = &pipeline->head;
	return expected;
}

void pipeline_destroy(struct pipeline **pipeline)
{
	struct pipeline *old = *pipeline;
	*pipeline = NULL;
	if (!old)
		return;
	while (old->head)
		free(dequeue(old));
	old->conn = NULL;
	if (!old->receiving)
		free(old);
}

/* Memory does not grow with a result. libpq wants this for each query before its first row. */
static void set_single_row_mode(struct pipeline *pipeline)
{
	if (pipeline->head && !pipeline->head->sync)
		PQsetSingleRowMode(pipeline->conn);
}

/* ---- sending ---- */

static void expect(struct pipeline *pipeline, const struct query *query, bool sync)
{
	bool first = !pipeline->head;
	struct expected *expected = xcalloc(1, sizeof(*expected));
	expected->sync = sync;
	if (query) {
		expected->row = query->row;
		expected->done = query->done;
		expected->ctx = query->ctx;
	}
	*pipeline->tail = expected;
	pipeline->tail = &expected->next;
	if (first)
		set_single_row_mode(pipeline);
}

static bool is_prepared(const struct pipeline *pipeline, const char *name)
{
	for (size_t i = 0; i < pipeline->n_prepared; i++)
		if (strcmp(pipeline->prepared[i], name) == 0)
			return true;
	return false;
}

static bool prepare(struct pipeline *pipeline, const struct statement *statement)
{
	if (is_prepared(pipeline, statement->name))
		return true;
	assert(pipeline->n_prepared < MAX_PREPARED);
	pipeline->prepared[pipeline->n_prepared++] = statement->name;
	if (!PQsendPrepare(pipeline->conn, statement->name, statement->sql, 0, NULL))
		return false;
	expect(pipeline, NULL, false);
	return true;
}

bool pipeline_send(struct pipeline *pipeline, const struct query *query)
{
	PGconn *conn = pipeline->conn;
	const struct statement *statement = &query->statement;
	const char *name = statement->name;
	if (name && !prepare(pipeline, statement))
		return false;
	int n = statement->n_params;
	bool sent = name ? PQsendQueryPrepared(conn, name, n, query->params, NULL, NULL, 0)
			 : PQsendQueryParams(
				   conn, statement->sql, n, NULL, query->params, NULL, NULL, 0);
	if (sent)
		expect(pipeline, query, false);
	return sent;
}

bool pipeline_sync(struct pipeline *pipeline)
{
	if (!PQpipelineSync(pipeline->conn))
		return false;
	expect(pipeline, NULL, true);
	return true;
}

/* ---- receiving ---- */

static char *describe(const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (state && strcmp(state, "42501") == 0)
		hint = "select pgcast.grant_bridge('role')";
	if (!message)
		message = PQresultErrorMessage(result);
	return hint ? xasprintf("%s (%s)", message, hint) : xstrdup(message);
}

static void count_timeout(const PGresult *result)
{
	static const char query_canceled[] = "57014", lock_not_available[] = "55P03";
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	if (state && (strcmp(state, query_canceled) == 0 || strcmp(state, lock_not_available) == 0))
		metric_add_labelled(METRIC_TIMEOUTS, "session", 1);
}

static void answered(struct pipeline *pipeline)
{
	struct expected *expected = dequeue(pipeline);
	set_single_row_mode(pipeline);
	if (expected->done)
		expected->done(expected->ctx);
	free(expected);
}

static char *handle(struct pipeline *pipeline, const PGresult *result)
{
	struct expected *expected = pipeline->head;
	struct row row = {result};
	switch (PQresultStatus(result)) {
	case PGRES_SINGLE_TUPLE:
		if (expected->row)
			expected->row(expected->ctx, &row);
		return NULL;
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		return NULL;
	case PGRES_PIPELINE_SYNC:
		answered(pipeline);
		return NULL;
	default:
		count_timeout(result);
		return describe(result);
	}
}

static char *receive(struct pipeline *pipeline)
{
	char *error = NULL;
	while (!error && pipeline->conn && pipeline->head && !PQisBusy(pipeline->conn)) {
		PGresult *result = PQgetResult(pipeline->conn);
		if (result)
			error = handle(pipeline, result);
		else
			answered(pipeline);
		PQclear(result);
	}
	return error;
}

char *pipeline_receive(struct pipeline *pipeline)
{
	pipeline->receiving = true;
	char *error = receive(pipeline);
	pipeline->receiving = false;
	if (!pipeline->conn)
		free(pipeline);
	return error;
}

/* ---- rows ---- */

const char *row_text(const struct row *row, int column, size_t *len)
{
	if (PQgetisnull(row->result, 0, column))
		return NULL;
	if (len)
		*len = (size_t)PQgetlength(row->result, 0, column);
	return PQgetvalue(row->result, 0, column);
}

int64_t row_int(const struct row *row, int column)
{
	return strtoll(PQgetvalue(row->result, 0, column), NULL, 10);
}

bool row_bool(const struct row *row, int column)
{
	return *PQgetvalue(row->result, 0, column) == 't';
}
