#include "pglink.h"

#include <assert.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "list.h"
#include "log.h"
#include "stats.h"

/* Milliseconds. A backend that is frozen or cut off answers nothing and no TCP option tells:
 * silence is probed, and a probe (or any other query) that nothing answers ends the connection, all
 * within 15 s. The journal's statement_timeout is below ANSWER_LIMIT, so that a slow query is not
 * taken for a dead server. */
#define DIAL_LIMIT 10000
#define SETUP_LIMIT 15000
#define SILENCE_LIMIT 5000
#define ANSWER_LIMIT 9000
#define STEADY 10000 /* a connection that was live for so long was a good one */
#define FIRST_PAUSE 100
#define LONGEST_PAUSE 5000

enum state { RESTING, DIALING, SETTING_UP, LIVE, PROBING };

static const struct {
	const char *name;
	uint64_t limit; /* after this long without a byte: expired() */
} states[] = {
	[RESTING] = {"resting", 0},
	[DIALING] = {"dialing", DIAL_LIMIT},
	[SETTING_UP] = {"setting up", SETUP_LIMIT},
	[LIVE] = {"live", SILENCE_LIMIT},
	[PROBING] = {"probing", ANSWER_LIMIT},
};

/* What the pipeline will answer next. */
struct expected {
	struct list of_link;
	bool sync;
	void (*row)(void *ctx, const struct row *row);
	void (*done)(void *ctx);
	void *ctx;
};

struct row {
	const PGresult *result;
};

/* More names than the journal has statements. */
#define MAX_PREPARED 16

struct pglink {
	struct pglink_hooks hooks;
	char *conninfo;
	PGconn *conn;
	enum state state;
	uv_poll_t poll; /* on epoll, for ever */
	uv_timer_t timer;
	int open_handles;
	int epoll;	  /* holds libpq's socket of the moment */
	uint64_t pause;	  /* before the next dial */
	uint64_t live_ms; /* when it came alive; 0: it did not */
	struct list expected;
	const char *prepared[MAX_PREPARED];
	size_t n_prepared;
	char *last_error; /* not to be logged again and again */
	bool failing;	  /* inside give_up: hooks may call back */
};

static void on_timer(uv_timer_t *timer);

/* Later than any back-off starts all retry at once: a restart is felt by every bridge. */
static uint64_t jittered(uint64_t pause)
{
	return pause / 2 + (uint64_t)random() % (pause + 1);
}

static void move(struct pglink *link, enum state to)
{
	if (link->state != to && (link->state < LIVE || to < LIVE))
		log_debug("database: %s -> %s", states[link->state].name, states[to].name);
	link->state = to;
	stats_set(STAT_DATABASE_UP, to >= LIVE);
	uv_timer_start(&link->timer, on_timer,
		to == RESTING ? jittered(link->pause) : states[to].limit, 0);
}

/* ---- watching libpq's socket ---- */

static void watch(struct pglink *link, bool readable, bool writable)
{
	int fd = PQsocket(link->conn);
	struct epoll_event event = {
		.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u)};
	/* libpq may have closed one socket and opened another under the same number. */
	epoll_ctl(link->epoll, EPOLL_CTL_DEL, fd, NULL);
	if (epoll_ctl(link->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		log_error("database: cannot watch the connection: %s", strerror(errno));
}

/* ---- losing the connection ---- */

static void forget_expected(struct pglink *link)
{
	list_for_each_safe (it, &link->expected) {
		list_remove(it);
		free(LIST_OF(it, struct expected, of_link));
	}
}

static void disconnect(struct pglink *link)
{
	if (link->conn)
		PQfinish(link->conn);
	link->conn = NULL;
	link->n_prepared = 0;
	forget_expected(link);
}

static void report(struct pglink *link, const char *reason)
{
	bool again = link->last_error && !strcmp(link->last_error, reason);
	log_write(again ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "database: %s; trying again", reason);
	if (again)
		return;
	free(link->last_error);
	link->last_error = xstrdup(reason);
}

void pglink_fail(struct pglink *link, const char *reason)
{
	if (link->failing || link->state == RESTING)
		return;
	link->failing = true;
	disconnect(link);
	if (link->live_ms && clock_ms() - link->live_ms > STEADY) {
		link->pause = FIRST_PAUSE;
		free(link->last_error);
		link->last_error = NULL;
	}
	link->live_ms = 0;
	report(link, reason);
	move(link, RESTING);
	link->pause = link->pause * 2 < LONGEST_PAUSE ? link->pause * 2 : LONGEST_PAUSE;
	link->hooks.lost(link->hooks.ctx, reason);
	link->failing = false;
}

static void fail_with_libpq(struct pglink *link)
{
	char *reason = xstrdup(PQerrorMessage(link->conn));
	for (size_t len = strlen(reason); len && reason[len - 1] == '\n'; len--)
		reason[len - 1] = '\0';
	pglink_fail(link, *reason ? reason : "the connection was lost");
	free(reason);
}

/* ---- dialing ---- */

static void dialed(struct pglink *link)
{
	if (PQsetnonblocking(link->conn, 1) || !PQenterPipelineMode(link->conn)) {
		fail_with_libpq(link);
		return;
	}
	watch(link, true, false);
	move(link, SETTING_UP);
	link->hooks.connected(link->hooks.ctx);
}

static void dial_on(struct pglink *link)
{
	switch (PQconnectPoll(link->conn)) {
	case PGRES_POLLING_OK:
		dialed(link);
		break;
	case PGRES_POLLING_READING:
		watch(link, true, false);
		break;
	case PGRES_POLLING_WRITING:
		watch(link, false, true);
		break;
	default:
		fail_with_libpq(link);
	}
}

static void dial(struct pglink *link)
{
	/* What comes before dbname is overridden by what the user's conninfo says. */
	static const char *const keys[] = {"fallback_application_name", "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname", NULL};
	const char *values[] = {"pgcast", "10", "5", "2", "15000", link->conninfo, NULL};
	move(link, DIALING);
	link->conn = PQconnectStartParams(keys, values, 1);
	if (!link->conn || PQstatus(link->conn) == CONNECTION_BAD)
		fail_with_libpq(link);
	else
		watch(link, false, true);
}

/* ---- results ---- */

static struct expected *head(struct pglink *link)
{
	return list_empty(&link->expected) ? NULL
					   : LIST_OF(link->expected.next, struct expected, of_link);
}

/* Row by row, so that memory does not grow with a result; libpq wants to be told for each query
 * when its turn comes. */
static void stream(struct pglink *link)
{
	struct expected *expected = head(link);
	if (expected && !expected->sync)
		PQsetSingleRowMode(link->conn);
}

static void expected_done(struct pglink *link)
{
	struct expected *expected = head(link);
	list_remove(&expected->of_link);
	stream(link);
	if (expected->done)
		expected->done(expected->ctx);
	free(expected);
}

static void fail_with_result(struct pglink *link, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	bool rights = state && !strcmp(state, "42501");
	if (rights)
		hint = "grant this role its rights: select pgcast.grant_bridge('role')";
	char *reason = xasprintf("%s%s%s", message ? message : PQresultErrorMessage(result),
		hint ? ". " : "", hint ? hint : "");
	pglink_fail(link, reason);
	free(reason);
}

/* Takes one result; false when the connection was given up. */
static bool take(struct pglink *link, const PGresult *result)
{
	struct expected *expected = head(link);
	struct row row = {result};
	if (!expected)
		return true;
	switch (PQresultStatus(result)) {
	case PGRES_SINGLE_TUPLE:
		if (expected->row)
			expected->row(expected->ctx, &row);
		return link->conn;
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		return true;
	case PGRES_PIPELINE_SYNC:
		expected_done(link);
		return link->conn;
	default:
		fail_with_result(link, result);
		return false;
	}
}

static void take_results(struct pglink *link)
{
	while (link->conn && !PQisBusy(link->conn) && head(link)) {
		PGresult *result = PQgetResult(link->conn);
		if (!result) {
			expected_done(link);
			continue;
		}
		bool go_on = take(link, result);
		PQclear(result);
		if (!go_on)
			return;
	}
}

static void take_notifications(struct pglink *link)
{
	PGnotify *notify;
	while (link->conn && (notify = PQnotifies(link->conn))) {
		bool own = notify->be_pid == PQbackendPID(link->conn);
		link->hooks.notified(link->hooks.ctx, notify->relname, notify->extra, own);
		PQfreemem(notify);
	}
}

static void flush(struct pglink *link)
{
	if (!link->conn || link->state < SETTING_UP)
		return;
	int rest = PQflush(link->conn);
	if (rest < 0)
		fail_with_libpq(link);
	else
		watch(link, true, rest > 0);
}

static void receive(struct pglink *link)
{
	if (!PQconsumeInput(link->conn)) {
		fail_with_libpq(link);
		return;
	}
	move(link, link->state == PROBING ? LIVE : link->state);
	take_results(link);
	take_notifications(link);
	flush(link);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	struct pglink *link = poll->data;
	if (link->state == DIALING)
		dial_on(link);
	else if (link->conn)
		receive(link);
}

/* ---- sending ---- */

static void expect(struct pglink *link, const struct query *query, bool sync)
{
	bool first = list_empty(&link->expected);
	struct expected *expected = xcalloc(1, sizeof(*expected));
	expected->sync = sync;
	if (query) {
		expected->row = query->row;
		expected->done = query->done;
		expected->ctx = query->ctx;
	}
	list_append(&link->expected, &expected->of_link);
	if (first)
		stream(link);
}

static bool prepared(const struct pglink *link, const char *name)
{
	for (size_t i = 0; i < link->n_prepared; i++)
		if (!strcmp(link->prepared[i], name))
			return true;
	return false;
}

static bool send_prepared(struct pglink *link, const struct query *query)
{
	if (!prepared(link, query->name)) {
		assert(link->n_prepared < MAX_PREPARED);
		link->prepared[link->n_prepared++] = query->name;
		if (!PQsendPrepare(link->conn, query->name, query->sql, 0, NULL))
			return false;
		expect(link, NULL, false);
	}
	return PQsendQueryPrepared(
		link->conn, query->name, query->n_params, query->params, NULL, NULL, 0);
}

void pglink_send(struct pglink *link, const struct query *query)
{
	if (!link->conn)
		return;
	bool sent = query->name ? send_prepared(link, query)
				: PQsendQueryParams(link->conn, query->sql, query->n_params, NULL,
					  query->params, NULL, NULL, 0);
	if (!sent)
		fail_with_libpq(link);
	else
		expect(link, query, false);
}

void pglink_sync(struct pglink *link)
{
	if (!link->conn)
		return;
	if (!PQpipelineSync(link->conn)) {
		fail_with_libpq(link);
		return;
	}
	expect(link, NULL, true);
	if (link->state == LIVE)
		move(link, PROBING);
	flush(link);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
	struct pglink *link = timer->data;
	switch (link->state) {
	case RESTING:
		dial(link);
		break;
	case LIVE:
		pglink_send(link, &(struct query){.sql = "select"});
		pglink_sync(link);
		break;
	case DIALING:
		pglink_fail(link, "the server did not accept the connection in time");
		break;
	case SETTING_UP:
	case PROBING:
		pglink_fail(link, "the server does not answer");
		break;
	}
}

/* ---- from outside ---- */

struct pglink *pglink_create(
	uv_loop_t *loop, const char *conninfo, const struct pglink_hooks *hooks)
{
	struct pglink *link = xcalloc(1, sizeof(*link));
	link->hooks = *hooks;
	link->conninfo = xstrdup(conninfo);
	link->pause = FIRST_PAUSE;
	list_init(&link->expected);
	link->epoll = epoll_create1(EPOLL_CLOEXEC);
	link->poll.data = link->timer.data = link;
	link->open_handles = 2;
	srandom((unsigned)(getpid() ^ (int)clock_ms()));
	uv_timer_init(loop, &link->timer);
	uv_poll_init(loop, &link->poll, link->epoll);
	uv_poll_start(&link->poll, UV_READABLE, on_poll);
	return link;
}

void pglink_start(struct pglink *link)
{
	dial(link);
}

static void on_close(uv_handle_t *handle)
{
	struct pglink *link = handle->data;
	if (--link->open_handles)
		return;
	close(link->epoll);
	free(link->last_error);
	free(link->conninfo);
	free(link);
}

void pglink_destroy(struct pglink **link)
{
	struct pglink *old = *link;
	*link = NULL;
	if (!old)
		return;
	disconnect(old);
	uv_close((uv_handle_t *)&old->poll, on_close);
	uv_close((uv_handle_t *)&old->timer, on_close);
}

void pglink_live(struct pglink *link)
{
	link->live_ms = clock_ms();
	stats_add(STAT_CONNECTS, 1);
	log_info("database: connected to %s", PQdb(link->conn));
	move(link, LIVE);
}

bool pglink_is_live(const struct pglink *link)
{
	return link->state >= LIVE;
}

const char *pglink_status(const struct pglink *link)
{
	if (pglink_is_live(link))
		return "connected";
	return link->last_error ? link->last_error : "connecting";
}

bool pglink_same_backend(const struct pglink *link, const char *pid)
{
	return link->conn && atoi(pid) == PQbackendPID(link->conn);
}

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
