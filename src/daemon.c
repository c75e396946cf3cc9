#include "daemon.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "hub.h"
#include "log.h"
#include "maintenance.h"
#include "message.h"
#include "metrics.h"
#include "pglink.h"
#include "scheduler.h"
#include "server.h"
#include "service.h"
#include "session.h"

/* Milliseconds. */
#define TICK 1000
#define DRAIN_TICK 50	       /* between batches of clients that are closed with 1012 */
#define HANDSHAKE_TIMEOUT 2000 /* at shutdown, for handshakes that have begun, */
#define CLOSE_TIMEOUT 2000     /* and for the last closing handshakes */
#define ANSWER_LIMIT 9000      /* of the database; above the session's statement_timeout */

struct daemon {
	uv_loop_t loop;
	uv_timer_t tick;
	uv_idle_t writer; /* runs while clients are left to be written to */
	uv_prepare_t pass;
	uint64_t pass_ns, pass_idle_ns; /* the last pass of the loop, and its total idle time */
	const struct settings *settings;
	struct hub *hub;
	struct pglink *link;
	struct session *session;
	struct scheduler *scheduler;
	struct maintenance *maintenance;
	struct server *server;
	struct service *service;
	bool checking;	/* ends at the first result of connecting */
	bool accepting; /* clients */
	bool stopping;
	uint64_t handshakes_until, drain_until, stop_at;
	size_t drain_share; /* clients per batch */
	int status;
};

/* ---- the database ---- */

static void on_connected(void *ctx)
{
	struct daemon *daemon = ctx;
	session_start(daemon->session);
}

static void update_status(struct daemon *daemon)
{
	if (daemon->service && !daemon->stopping)
		service_status(daemon->service, "%zu clients; database: %s",
			hub_clients(daemon->hub), pglink_status(daemon->link));
}

/* A plain client has no cursor: its events begin at the position of its handshake. So clients are
 * accepted when the position is known, or when the database is known to be away. */
static void accept_clients(struct daemon *daemon)
{
	if (daemon->accepting || !daemon->server)
		return;
	daemon->accepting = true;
	server_accept(daemon->server);
}

static void on_ready(void *ctx)
{
	accept_clients(ctx);
}

static void on_lost(void *ctx, const char *reason)
{
	struct daemon *daemon = ctx;
	(void)reason;
	scheduler_lost(daemon->scheduler);
	accept_clients(daemon);
	if (daemon->checking) {
		daemon->status = EXIT_FAILURE;
		uv_stop(&daemon->loop);
	}
	if (daemon->link)
		update_status(daemon);
}

static void on_session(void *ctx, const struct session_facts *facts)
{
	struct daemon *daemon = ctx;
	if (daemon->checking) {
		uv_stop(&daemon->loop);
		return;
	}
	update_status(daemon);
	maintenance_connected(daemon->maintenance, facts);
	scheduler_connected(daemon->scheduler, facts);
}

static void publish_notification(struct daemon *daemon, const char *channel, const char *payload)
{
	char *uid = NULL;
	char *message = message_channel(channel, payload, &uid);
	if (message)
		hub_publish(daemon->hub, uid, message, strlen(message), channel);
	else
		log_warning(
			"channel %s: payload ignored: not a JSON object with a \"uid\"", channel);
	free(message);
	free(uid);
}

static void on_notified(void *ctx, const char *channel, const char *payload, bool own)
{
	struct daemon *daemon = ctx;
	if (strcmp(channel, "pgcast") != 0)
		publish_notification(daemon, channel, payload);
	else if (own)
		session_notified(daemon->session, own);
	else
		scheduler_bell(daemon->scheduler);
}

static void on_write(uv_idle_t *writer)
{
	struct daemon *daemon = writer->data;
	if (!hub_write(daemon->hub))
		uv_idle_stop(writer);
}

static void on_unwritten(void *ctx)
{
	struct daemon *daemon = ctx;
	uv_idle_start(&daemon->writer, on_write);
}

static void on_wanted(void *ctx)
{
	struct daemon *daemon = ctx;
	scheduler_turn(daemon->scheduler);
}

/* ---- readiness and shutdown ---- */

static bool is_ready(void *ctx, const char **why)
{
	struct daemon *daemon = ctx;
	*why = daemon->stopping ? "stopping" : pglink_status(daemon->link);
	return scheduler_is_ready(daemon->scheduler, why) && !daemon->stopping;
}

/* Before each poll: the pass took the time since the last one, without that of waiting. */
static void on_pass(uv_prepare_t *prepare)
{
	struct daemon *daemon = prepare->data;
	uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(&daemon->loop);
	uint64_t busy_us = (now - daemon->pass_ns - (idle - daemon->pass_idle_ns)) / 1000;
	if (daemon->pass_ns && busy_us > metrics[METRIC_LOOP_BUSY_MAX])
		metric_set(METRIC_LOOP_BUSY_MAX, busy_us);
	daemon->pass_ns = now;
	daemon->pass_idle_ns = idle;
}

static void on_tick(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;
	hub_tick(daemon->hub);
	scheduler_tick(daemon->scheduler);
	update_status(daemon);
}

/* Clients whose handshake had begun when we stopped are closed with 1012, too. */
static bool is_drained(const struct daemon *daemon)
{
	uint64_t now = uv_now(&daemon->loop);
	bool idle = server_is_idle(daemon->server) || now >= daemon->handshakes_until;
	return (idle && !hub_clients(daemon->hub)) || now >= daemon->stop_at;
}

/* Clients are closed in batches, so that they do not all come back at once. */
static void on_drain_tick(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;
	bool late = uv_now(&daemon->loop) >= daemon->drain_until;
	hub_tick(daemon->hub);
	hub_close(daemon->hub, late ? SIZE_MAX : daemon->drain_share, CLOSE_RESTART, "restart");
	if (is_drained(daemon))
		uv_stop(&daemon->loop);
}

static void on_stop(void *ctx)
{
	struct daemon *daemon = ctx;
	size_t clients = hub_clients(daemon->hub);
	uint64_t now = uv_now(&daemon->loop), drain = (uint64_t)daemon->settings->drain_time;
	log_info("stopping: closing %zu clients with 1012", clients);
	daemon->stopping = true;
	daemon->handshakes_until = now + HANDSHAKE_TIMEOUT;
	daemon->drain_until = now + drain;
	daemon->stop_at = daemon->drain_until + CLOSE_TIMEOUT;
	daemon->drain_share = clients / (drain / DRAIN_TICK + 1) + 1;
	service_stopping(daemon->service);
	server_stop_listening(daemon->server);
	uv_timer_start(&daemon->tick, on_drain_tick, 0, DRAIN_TICK);
}

static void on_reload(void *ctx)
{
	(void)ctx;
	log_warning("SIGHUP: settings are read at start only (restart to change them)");
}

/* ---- start and end ---- */

static void create(struct daemon *daemon, const struct settings *settings)
{
	struct pglink_hooks hooks = {on_connected, on_lost, on_notified, daemon};
	*daemon = (struct daemon){.settings = settings};
	log_configure(settings->log_level, settings->log_format);
	uv_loop_init(&daemon->loop);
	uv_timer_init(&daemon->loop, &daemon->tick);
	uv_loop_configure(&daemon->loop, UV_METRICS_IDLE_TIME);
	uv_idle_init(&daemon->loop, &daemon->writer);
	uv_prepare_init(&daemon->loop, &daemon->pass);
	daemon->tick.data = daemon->writer.data = daemon->pass.data = daemon;
	daemon->hub = hub_create(settings);
	const struct pglink_config link = {.conninfo = settings->database,
		.name = "database",
		.answer_limit = ANSWER_LIMIT,
		.is_main = true};
	daemon->link = pglink_create(&daemon->loop, &link, &hooks);
	daemon->session = session_create(daemon->link, settings, on_session, daemon);
	daemon->scheduler = scheduler_create(
		&daemon->loop, settings, daemon->link, daemon->hub, on_ready, daemon);
	daemon->maintenance =
		maintenance_create(&daemon->loop, settings, daemon->link, daemon->scheduler);
}

static bool serve(struct daemon *daemon)
{
	struct service_config service = {&daemon->loop, on_stop, on_reload, daemon};
	struct server_config server = {.loop = &daemon->loop,
		.settings = daemon->settings,
		.hub = daemon->hub,
		.ready = is_ready,
		.ctx = daemon};
	daemon->service = service_create(&service);
	daemon->server = server_create(&server);
	if (!daemon->server)
		return false;
	uv_timer_start(&daemon->tick, on_tick, TICK, TICK);
	uv_prepare_start(&daemon->pass, on_pass);
	hub_on_wanted(daemon->hub, on_wanted, daemon);
	hub_on_unwritten(daemon->hub, on_unwritten, daemon);
	service_ready(daemon->service);
	return true;
}

static void run(struct daemon *daemon)
{
	pglink_start(daemon->link);
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
}

static int destroy(struct daemon *daemon)
{
	uv_timer_stop(&daemon->tick);
	uv_idle_stop(&daemon->writer);
	uv_prepare_stop(&daemon->pass);
	server_destroy(&daemon->server);
	maintenance_destroy(&daemon->maintenance);
	scheduler_destroy(&daemon->scheduler);
	session_destroy(&daemon->session);
	pglink_destroy(&daemon->link);
	service_destroy(&daemon->service);
	hub_destroy(&daemon->hub);
	uv_close((uv_handle_t *)&daemon->tick, NULL);
	uv_close((uv_handle_t *)&daemon->writer, NULL);
	uv_close((uv_handle_t *)&daemon->pass, NULL);
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
	uv_loop_close(&daemon->loop);
	return daemon->status;
}

int daemon_run(const struct settings *settings)
{
	struct daemon daemon;
	create(&daemon, settings);
	if (serve(&daemon))
		run(&daemon);
	else
		daemon.status = EXIT_FAILURE;
	return destroy(&daemon);
}

int daemon_check(const struct settings *settings)
{
	struct daemon daemon;
	create(&daemon, settings);
	daemon.checking = true;
	run(&daemon);
	return destroy(&daemon);
}
