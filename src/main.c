/* Wires the modules, reads the command line, nothing else. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "alloc.h"
#include "conninfo.h"
#include "hub.h"
#include "log.h"
#include "maintenance.h"
#include "message.h"
#include "pglink.h"
#include "scheduler.h"
#include "server.h"
#include "service.h"
#include "session.h"
#include "settings.h"

enum { EXIT_USAGE = 64, EXIT_SETTINGS = 78 };

/* Milliseconds. */
#define TICK 1000
#define DRAIN_TICK 50 /* between batches of clients that are told to reconnect */
#define ADMIT 2000    /* for those to arrive that were on their way */
#define FAREWELL 2000 /* for the last ones' closing handshakes */

struct daemon {
	uv_loop_t loop;
	uv_timer_t tick;
	struct settings *settings;
	struct hub *hub;
	struct pglink *link;
	struct session *session;
	struct scheduler *scheduler;
	struct maintenance *maintenance;
	struct server *server;
	struct service *service;
	bool checking;	/* --check: ends at the first result */
	bool accepting; /* clients are let in */
	bool stopping;
	uint64_t admit_by, drain_by, stop_by;
	size_t drain_share; /* clients per batch */
	int status;
};

/* ---- the database, upwards ---- */

static void on_connected(void *ctx)
{
	struct daemon *daemon = ctx;
	session_start(daemon->session);
}

static void say_status(struct daemon *daemon)
{
	if (daemon->service && !daemon->stopping)
		service_status(daemon->service, "%zu clients; database: %s",
			hub_clients(daemon->hub), pglink_status(daemon->link));
}

/* A plain client has no cursor: what it is to see begins where the stream stands at its handshake.
 * So clients wait until that is known, or until it is clear that the database is away. */
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
		say_status(daemon);
}

static void on_session(void *ctx, const struct session_facts *facts)
{
	struct daemon *daemon = ctx;
	if (daemon->checking) {
		uv_stop(&daemon->loop);
		return;
	}
	say_status(daemon);
	maintenance_connected(daemon->maintenance, facts);
	scheduler_connected(daemon->scheduler, facts);
}

static void pass_through(struct daemon *daemon, const char *channel, const char *payload)
{
	char *uid = NULL;
	char *text = message_channel(channel, payload, &uid);
	if (text)
		hub_publish(daemon->hub, uid, text, strlen(text), channel);
	else
		log_warning("channel %s: a payload is not a JSON object with a \"uid\"", channel);
	free(text);
	free(uid);
}

static void on_notified(void *ctx, const char *channel, const char *payload, bool own)
{
	struct daemon *daemon = ctx;
	if (strcmp(channel, "pgcast") != 0)
		pass_through(daemon, channel, payload);
	else if (own)
		session_notified(daemon->session, own);
	else
		scheduler_bell(daemon->scheduler);
}

static void on_wanted(void *ctx)
{
	struct daemon *daemon = ctx;
	scheduler_turn(daemon->scheduler);
}

/* ---- the service manager and time ---- */

static bool is_ready(void *ctx, const char **why)
{
	struct daemon *daemon = ctx;
	if (daemon->stopping) {
		*why = "stopping";
		return false;
	}
	if (scheduler_is_ready(daemon->scheduler))
		return true;
	*why = pglink_status(daemon->link);
	return false;
}

static void on_tick(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;
	hub_tick(daemon->hub);
	say_status(daemon);
}

/* Those who were connecting when we stopped are told to reconnect, too. */
static bool is_drained(const struct daemon *daemon)
{
	uint64_t now = uv_now(&daemon->loop);
	bool quiet = server_quiet(daemon->server) || now >= daemon->admit_by;
	return (quiet && !hub_clients(daemon->hub)) || now >= daemon->stop_by;
}

/* Clients are told to reconnect bit by bit, so that they do not all come back at once. */
static void on_drain_tick(uv_timer_t *timer)
{
	struct daemon *daemon = timer->data;
	bool late = uv_now(&daemon->loop) >= daemon->drain_by;
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
	log_info("stopping: telling %zu clients to reconnect", clients);
	daemon->stopping = true;
	daemon->admit_by = now + ADMIT;
	daemon->drain_by = now + drain;
	daemon->stop_by = daemon->drain_by + FAREWELL;
	daemon->drain_share = clients / (drain / DRAIN_TICK + 1) + 1;
	service_stopping(daemon->service);
	server_stop_listening(daemon->server);
	uv_timer_start(&daemon->tick, on_drain_tick, 0, DRAIN_TICK);
}

static void on_reload(void *ctx)
{
	(void)ctx;
	log_warning("SIGHUP: settings are read at start only; restart to change them");
}

/* ---- life ---- */

static void connect_database(struct daemon *daemon)
{
	struct pglink_hooks hooks = {on_connected, on_lost, on_notified, daemon};
	daemon->link = pglink_create(&daemon->loop, daemon->settings->database, &hooks);
	daemon->session = session_create(daemon->link, daemon->settings, on_session, daemon);
	daemon->scheduler = scheduler_create(
		&daemon->loop, daemon->settings, daemon->link, daemon->hub, on_ready, daemon);
	daemon->maintenance = maintenance_create(&daemon->loop, daemon->settings, daemon->link);
}

static bool begin(struct daemon *daemon)
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
	hub_on_wanted(daemon->hub, on_wanted, daemon);
	service_ready(daemon->service);
	return true;
}

static void end(struct daemon *daemon)
{
	server_destroy(&daemon->server);
	maintenance_destroy(&daemon->maintenance);
	scheduler_destroy(&daemon->scheduler);
	session_destroy(&daemon->session);
	pglink_destroy(&daemon->link);
	service_destroy(&daemon->service);
	hub_destroy(&daemon->hub);
	uv_close((uv_handle_t *)&daemon->tick, NULL);
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
	uv_loop_close(&daemon->loop);
}

static int run(struct settings *settings, bool check)
{
	struct daemon daemon = {.settings = settings, .checking = check};
	log_configure(settings->log_level, settings->log_format);
	uv_loop_init(&daemon.loop);
	uv_timer_init(&daemon.loop, &daemon.tick);
	daemon.tick.data = &daemon;
	daemon.hub = hub_create(settings);
	connect_database(&daemon);
	if (check || begin(&daemon)) {
		pglink_start(daemon.link);
		uv_run(&daemon.loop, UV_RUN_DEFAULT);
	} else {
		daemon.status = EXIT_FAILURE;
	}
	end(&daemon);
	return daemon.status;
}

/* ---- the command line ---- */

enum action { RUN, CHECK, PRINT_CONFIG };

static void help(FILE *out)
{
	fputs("pgcast pushes every change of watched PostgreSQL tables to the browsers of the\n"
	      "user that it belongs to.\n\n"
	      "Usage: pgcast [-c FILE] [--set KEY=VALUE]...\n\n"
	      "  -c, --config FILE    settings, key = value as in postgresql.conf\n"
	      "      --set KEY=VALUE  one setting; goes before environment and file\n"
	      "      --check          check settings, connection, schema and rights, and exit\n"
	      "      --print-config   print every setting and where it came from, and exit\n"
	      "      --example-config print a file with all defaults, and exit\n"
	      "      --version, --help\n\n"
	      "Settings (environment: PGCAST_KEY):\n",
		out);
	settings_help(out);
}

static int act(enum action action, const char *file, const char *const *sets)
{
	struct settings *settings;
	char *error;
	if (!settings_load(&settings, file, sets, &error)) {
		fprintf(stderr, "pgcast: %s\n", error);
		free(error);
		return EXIT_SETTINGS;
	}
	int status = EXIT_SUCCESS;
	if (action == PRINT_CONFIG)
		settings_print(settings, stdout, conninfo_print_masked);
	else
		status = run(settings, action == CHECK);
	if (action == CHECK && status == EXIT_SUCCESS)
		puts("settings, connection, schema and rights are fine");
	settings_destroy(&settings);
	return status;
}

int main(int argc, char **argv)
{
	enum { SET = 256, CHECK_ONLY, PRINT, EXAMPLE, VERSION, HELP };
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"set", required_argument, NULL, SET}, {"check", no_argument, NULL, CHECK_ONLY},
		{"print-config", no_argument, NULL, PRINT},
		{"example-config", no_argument, NULL, EXAMPLE},
		{"version", no_argument, NULL, VERSION}, {"help", no_argument, NULL, HELP}, {0}};
	const char **sets = xcalloc((size_t)argc + 1, sizeof(*sets));
	size_t n_sets = 0;
	const char *file = NULL;
	enum action action = RUN;
	int option, status = -1;
	while (status < 0 && (option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case SET:
			sets[n_sets++] = optarg;
			break;
		case CHECK_ONLY:
			action = CHECK;
			break;
		case PRINT:
			action = PRINT_CONFIG;
			break;
		case EXAMPLE:
			settings_example(stdout);
			status = EXIT_SUCCESS;
			break;
		case VERSION:
			puts("pgcast " PGCAST_VERSION);
			status = EXIT_SUCCESS;
			break;
		case HELP:
			help(stdout);
			status = EXIT_SUCCESS;
			break;
		default:
			status = EXIT_USAGE;
		}
	}
	if (status < 0 && optind < argc) {
		fprintf(stderr, "pgcast: unexpected argument: %s\n", argv[optind]);
		status = EXIT_USAGE;
	}
	if (status < 0)
		status = act(action, file, sets);
	free(sets);
	return status;
}
