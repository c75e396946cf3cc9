#include "pglink.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "alloc.h"
#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "pipeline.h"

/* Milliseconds. No TCP option detects a frozen backend: silence is probed, and a probe (or any
 * other query) without an answer ends the connection. statement_timeout is below the limit for an
 * answer, so that a slow query does not look like a dead server. */
#define CONNECT_LIMIT 10000
#define SETUP_LIMIT 15000
#define SILENCE_LIMIT 5000
#define STABLE 10000  /* after so long live, pauses start at MIN_PAUSE again */
#define MIN_PAUSE 100 /* between connects */
#define MAX_PAUSE 5000
#define REPORT_INTERVAL 60000

enum state { WAITING, CONNECTING, SETTING_UP, LIVE, PROBING };

static const struct {
	const char *name;
	uint64_t limit; /* without a byte: see on_timer */
} states[] = {
	[WAITING] = {"waiting", 0},
	[CONNECTING] = {"connecting", CONNECT_LIMIT},
	[SETTING_UP] = {"setting up", SETUP_LIMIT},
	[LIVE] = {"live", SILENCE_LIMIT},
	[PROBING] = {"probing", 0}, /* answer_limit */
};

struct pglink {
	struct pglink_hooks hooks;
	char *conninfo;
	const char *name;
	uint64_t answer_limit;
	bool is_main;
	PGconn *conn;
	enum state state;
	uv_poll_t poll; /* on epoll */
	uv_timer_t timer;
	int open_handles;
	int epoll;		   /* holds the current socket of libpq */
	uint64_t pause;		   /* before the next connect */
	uint64_t live_ms;	   /* when it became live; 0: it did not */
	struct pipeline *pipeline; /* NULL: not connected */
	bool writable;		   /* watched for writing too */
	char *last_error;	   /* logged once while it repeats */
	uint64_t reported_ms;	   /* when it was last logged as an error */
	unsigned attempts;	   /* with this error */
	bool failing;		   /* inside pglink_fail: hooks may call back */
};

static void on_timer(uv_timer_t *timer);

/* Bridges that lost their server together do not retry together. */
static uint64_t jittered(uint64_t pause)
{
	return pause / 2 + (uint64_t)random() % (pause + 1);
}

static void set_state(struct pglink *link, enum state to)
{
	if (link->state != to && (link->state < LIVE || to < LIVE))
		log_debug("%s: %s -> %s", link->name, states[link->state].name, states[to].name);
	link->state = to;
	if (link->is_main)
		metric_set(METRIC_DATABASE_UP, to >= LIVE);
	uv_timer_start(&link->timer, on_timer,
		to == WAITING	? jittered(link->pause)
		: to == PROBING ? link->answer_limit
				: states[to].limit,
		0);
}

/* ---- watching libpq's socket ---- */

static void watch(struct pglink *link, bool readable, bool writable)
{
	int fd = PQsocket(link->conn);
	struct epoll_event event = {
		.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u)};
	/* libpq may have closed a socket and opened another with the same number. */
	epoll_ctl(link->epoll, EPOLL_CTL_DEL, fd, NULL);
	if (epoll_ctl(link->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		log_error("%s: epoll failed: %s", link->name, strerror(errno));
}

/* ---- losing the connection ---- */

static void disconnect(struct pglink *link)
{
	pipeline_destroy(&link->pipeline);
	if (link->conn)
		PQfinish(link->conn);
	link->conn = NULL;
}

/* A reason that lasts is repeated once a minute. */
static void report(struct pglink *link, const char *reason)
{
	uint64_t now = clock_ms();
	bool again = link->last_error && !strcmp(link->last_error, reason);
	link->attempts = again ? link->attempts + 1 : 1;
	if (again && now - link->reported_ms < REPORT_INTERVAL) {
		log_debug("%s: reconnecting: %s", link->name, reason);
		return;
	}
	link->reported_ms = now;
	if (again)
		log_error(
			"%s: still reconnecting, %u times: %s", link->name, link->attempts, reason);
	else
		log_error("%s: reconnecting: %s", link->name, reason);
	free(link->last_error);
	link->last_error = xstrdup(reason);
}

void pglink_fail(struct pglink *link, const char *reason)
{
	if (link->failing || link->state == WAITING)
		return;
	link->failing = true;
	disconnect(link);
	if (link->live_ms && clock_ms() - link->live_ms > STABLE) {
		link->pause = MIN_PAUSE;
		free(link->last_error);
		link->last_error = NULL;
	}
	link->live_ms = 0;
	report(link, reason);
	set_state(link, WAITING);
	link->pause = link->pause * 2 < MAX_PAUSE ? link->pause * 2 : MAX_PAUSE;
	link->hooks.lost(link->hooks.ctx, reason);
	link->failing = false;
}

static void fail_with_libpq(struct pglink *link)
{
	char *reason = xstrdup(PQerrorMessage(link->conn));
	for (size_t len = strlen(reason); len && reason[len - 1] == '\n'; len--)
		reason[len - 1] = '\0';
	pglink_fail(link, *reason ? reason : "connection lost");
	free(reason);
}

/* ---- connecting ---- */

static void on_notice(void *ctx, const char *message)
{
	const struct pglink *link = ctx;
	log_info("%s: %s", link->name, message);
}

static void on_connect(struct pglink *link)
{
	if (PQsetnonblocking(link->conn, 1) || !PQenterPipelineMode(link->conn)) {
		fail_with_libpq(link);
		return;
	}
	PQsetNoticeProcessor(link->conn, on_notice, link);
	link->pipeline = pipeline_create(link->conn);
	link->writable = false;
	watch(link, true, false);
	set_state(link, SETTING_UP);
	link->hooks.connected(link->hooks.ctx);
}

static void continue_connect(struct pglink *link)
{
	switch (PQconnectPoll(link->conn)) {
	case PGRES_POLLING_OK:
		on_connect(link);
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

static void start_connect(struct pglink *link)
{
	/* The conninfo in dbname overrides the keys before it. */
	static const char *const keys[] = {"fallback_application_name", "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout", "dbname", NULL};
	const char *values[] = {"pgcast", "10", "5", "2", "15000", link->conninfo, NULL};
	set_state(link, CONNECTING);
	link->conn = PQconnectStartParams(keys, values, 1);
	if (!link->conn || PQstatus(link->conn) == CONNECTION_BAD)
		fail_with_libpq(link);
	else
		watch(link, false, true);
}

/* ---- receiving ---- */

static void receive_notifications(struct pglink *link)
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
	if (!link->pipeline)
		return;
	int rest = PQflush(link->conn);
	if (rest < 0)
		fail_with_libpq(link);
	else if (link->writable != (rest > 0))
		watch(link, true, link->writable = rest > 0);
}

static void receive(struct pglink *link)
{
	if (!PQconsumeInput(link->conn)) {
		fail_with_libpq(link);
		return;
	}
	set_state(link, link->state == PROBING ? LIVE : link->state);
	char *error = pipeline_receive(link->pipeline);
	if (error) {
		pglink_fail(link, error);
		free(error);
		return;
	}
	receive_notifications(link);
	flush(link);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)status, (void)events;
	struct pglink *link = poll->data;
	if (link->state == CONNECTING)
		continue_connect(link);
	else if (link->conn)
		receive(link);
}

/* ---- sending ---- */

void pglink_send(struct pglink *link, const struct query *query)
{
	if (link->pipeline && !pipeline_send(link->pipeline, query))
		fail_with_libpq(link);
}

void pglink_sync(struct pglink *link)
{
	if (!link->pipeline)
		return;
	if (!pipeline_sync(link->pipeline)) {
		fail_with_libpq(link);
		return;
	}
	if (link->state == LIVE)
		set_state(link, PROBING);
	flush(link);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
	struct pglink *link = timer->data;
	switch (link->state) {
	case WAITING:
		start_connect(link);
		break;
	case LIVE:
		pglink_send(link, &(struct query){.statement.sql = "select"});
		pglink_sync(link);
		break;
	case CONNECTING:
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
	uv_loop_t *loop, const struct pglink_config *config, const struct pglink_hooks *hooks)
{
	struct pglink *link = xcalloc(1, sizeof(*link));
	link->hooks = *hooks;
	link->conninfo = xstrdup(config->conninfo);
	link->name = config->name;
	link->answer_limit = config->answer_limit;
	link->is_main = config->is_main;
	link->pause = MIN_PAUSE;
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
	start_connect(link);
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
	if (link->is_main)
		metric_add(METRIC_CONNECTS, 1);
	log_write(link->is_main ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "%s: connected to %s",
		link->name, PQdb(link->conn));
	set_state(link, LIVE);
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
