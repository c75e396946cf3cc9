/* Two vhosts share the lws context. lws never listens: sockets come from our listeners. Each vhost
 * has one of lws's two constants for "no port", because lws selects among vhosts of equal port by
 * the Host header, and clients must not reach the admin pages that way.
 *
 * The end, in 4.1.6 and 4.3, with a foreign loop: lws_context_destroy closes the connections
 * (CLOSED and WSI_DESTROY come at once) and asks libuv to close their handles; another call
 * continues only when libuv has done so. The number of calls differs, and the last one sets our
 * pointer to the context to NULL (info.pcontext). */
#include "server.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "alloc.h"
#include "conn.h"
#include "http.h"
#include "listener.h"
#include "log.h"
#include "ws.h"

/* Seconds for each step of an HTTP client: sending its head, reading an answer. */
#define HTTP_TIMEOUT 10
/* Descriptors besides those of clients. */
#define SPARE_FILES 512

struct server {
	struct server_config config;
	struct conns *conns;
	struct admin admin;
	struct lws_http_mount pages;
	struct lws_context *context;
	struct lws_vhost *clients_vhost, *admin_vhost;
	struct listener *listener, *admin_listener;
	size_t max_clients; /* as the limit of descriptors allows */
	size_t handshaking; /* connections without a request yet; their opaque data is not NULL */
};

/* ---- connections ---- */

static void begin_handshake(struct server *server, struct lws *wsi)
{
	lws_set_opaque_user_data(wsi, server);
	server->handshaking++;
}

/* Its request came, or it is gone. */
static void end_handshake(struct server *server, struct lws *wsi)
{
	if (!lws_get_opaque_user_data(wsi))
		return;
	lws_set_opaque_user_data(wsi, NULL);
	server->handshaking--;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct server *server = lws_context_user(lws_get_context(wsi));

	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return ws_confirm_upgrade(wsi, server->config.settings,
			hub_clients(server->config.hub) >= server->max_clients);
	case LWS_CALLBACK_ESTABLISHED:
		end_handshake(server, wsi);
		ws_open(user, server->conns, wsi);
		return 0;
	case LWS_CALLBACK_RECEIVE:
		ws_receive(user, wsi, in, len);
		return 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		conn_note_pong(user);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		conn_writable(user);
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return ws_peer_closes(user, in, len);
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		end_handshake(server, wsi);
		if (user)
			conn_gone(user);
		return 0;
	case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
		conns_cancelled(server->conns);
		return 0;
	case LWS_CALLBACK_FILTER_HTTP_CONNECTION:
		end_handshake(server, wsi);
		return http_filter(wsi);
	case LWS_CALLBACK_HTTP: /* no file of that name */
		return http_not_found(wsi);
	case LWS_CALLBACK_RAW_ADOPT: /* the method CONNECT */
		return -1;
	default:
		return lws_callback_http_dummy(wsi, reason, user, in, len);
	}
}

/* ---- lws ---- */

static void forward_log(int level, const char *line)
{
	(void)level;
	log_debug("lws: %.*s", (int)strcspn(line, "\n"), line);
}

/* lws scans tables of as many entries as descriptors may be open: no more than max_clients needs,
 * if the hard limit allows that many. Some are kept for the database, the admin port and handshakes
 * that are refused. Returns the number of clients that fit. */
static size_t limit_files(size_t max_clients)
{
	struct rlimit limit;
	rlim_t want = (rlim_t)max_clients + SPARE_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return max_clients;
	limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warning("open files: cannot set the limit: %s", strerror(errno));
	size_t files = (size_t)limit.rlim_cur;
	size_t spare = files / 4 < SPARE_FILES ? files / 4 : SPARE_FILES;
	if (files - spare >= max_clients)
		return max_clients;
	log_info("open files: the limit of %zu allows %zu clients, not max_clients = %zu"
		 " (raise LimitNOFILE)",
		files, files - spare, max_clients);
	return files - spare;
}

static bool create_context(struct server *server)
{
	void *loops[] = {server->config.loop};
	lws_set_log_level(LLL_ERR | LLL_WARN, forward_log);
	const struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.pcontext = &server->context,
		.user = server,
		.timeout_secs = HTTP_TIMEOUT,
		.max_http_header_data2 = WS_MAX_HEAD,
		.server_string = "pgcast",
	};
	server->context = lws_create_context(&info);
	return server->context;
}

static bool create_clients_vhost(struct server *server)
{
	struct lws_protocols client_protocols[PROTOCOLS + 1] = {0};
	for (size_t i = 0; i < PROTOCOLS; i++)
		client_protocols[i] = ws_protocol(i, on_event);
	const char *www = server->config.settings->www;
	if (*www && access(www, R_OK | X_OK) != 0)
		log_warning("pages: cannot read www = %s: %s", www, strerror(errno));
	server->pages = http_pages(www);
	/* lws watches for silent peers by a sorted list, which it walks for every frame received:
	 * at 10,000 clients 60 % of the idle time. conn.c has a wheel instead. */
	static const lws_retry_bo_t no_watch = {0};
	const struct lws_context_creation_info info = {
		.retry_and_idle_policy = &no_watch,
		.vhost_name = "clients",
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = client_protocols,
		.mounts = *www ? &server->pages : NULL,
		.headers = &http_page_headers,
		.alpn = "http/1.1",
		.keepalive_timeout = HTTP_TIMEOUT,
	};
	server->clients_vhost = lws_create_vhost(server->context, &info);
	return server->clients_vhost;
}

static bool create_admin_vhost(struct server *server)
{
	static const struct lws_protocols admin_protocols[] = {
		{.name = "admin", .callback = admin_callback, .tx_packet_size = 1 << 20},
		{0},
	};
	const struct lws_context_creation_info info = {
		.vhost_name = "admin",
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = admin_protocols,
		.user = &server->admin,
		.alpn = "http/1.1",
	};
	server->admin_vhost = lws_create_vhost(server->context, &info);
	return server->admin_vhost;
}

static bool create_lws(struct server *server)
{
	if (create_context(server) && create_clients_vhost(server) && create_admin_vhost(server))
		return true;
	log_error("libwebsockets: cannot start (set log_level = debug for its messages)");
	return false;
}

/* ---- listening ---- */

/* lws closes a descriptor that it cannot adopt. */
static void accepted_client(void *ctx, int fd)
{
	struct server *server = ctx;
	struct lws *wsi = lws_adopt_socket_vhost(server->clients_vhost, fd);
	if (wsi)
		begin_handshake(server, wsi);
}

static void accepted_admin(void *ctx, int fd)
{
	lws_adopt_socket_vhost(((struct server *)ctx)->admin_vhost, fd);
}

/* A shared port comes last, so that a failure before it costs no client. */
static bool create_listeners(struct server *server)
{
	const struct settings *settings = server->config.settings;
	const struct listener_config clients = {
		.loop = server->config.loop,
		.addresses = settings->listen,
		.setting = "listen",
		.if_busy = settings->reuse_port
				   ? "the other program is another user's, or does not share "
				     "it: stop it or change `listen`"
				   : "stop the other program or change `listen`; pgcast processes "
				     "share it when all have `reuse_port = on`",
		.shared = settings->reuse_port,
		.what = "",
		.accepted = accepted_client,
		.ctx = server,
	};
	struct listener_config admin = clients;
	admin.addresses = settings->admin_listen;
	admin.setting = "admin_listen";
	admin.if_busy = "stop the other program or change `admin_listen`, of which each process "
			"needs its own";
	admin.shared = false;
	admin.what = "admin";
	admin.accepted = accepted_admin;

	server->admin_listener = listener_create(&admin);
	server->listener = server->admin_listener ? listener_create(&clients) : NULL;
	if (server->listener)
		listener_accept(server->admin_listener);
	return server->listener;
}

void server_accept(struct server *server)
{
	listener_accept(server->listener);
}

void server_stop_listening(struct server *server)
{
	listener_stop(server->listener);
}

bool server_is_idle(const struct server *server)
{
	return listener_stopped(server->listener) && !server->handshaking;
}

/* ---- life ---- */

struct server *server_create(const struct server_config *config)
{
	struct server *server = xcalloc(1, sizeof *server);
	server->config = *config;
	server->admin = (struct admin){config->ready, config->ctx};
	server->conns = conns_create(config->loop, config->settings, config->hub);
	server->max_clients = limit_files((size_t)config->settings->max_clients);
	if (create_lws(server)) {
		conns_use_context(server->conns, server->context);
		if (create_listeners(server))
			return server;
	}
	server_destroy(&server);
	return NULL;
}

static void note_closing(uv_handle_t *handle, void *closing)
{
	*(bool *)closing |= uv_is_closing(handle);
}

static void let_handles_close(uv_loop_t *loop)
{
	bool closing = true;
	while (closing) {
		uv_run(loop, UV_RUN_NOWAIT);
		closing = false;
		uv_walk(loop, note_closing, &closing);
	}
}

void server_destroy(struct server **server)
{
	if (!*server)
		return;
	struct server *gone = *server;
	*server = NULL;
	listener_destroy(&gone->listener);
	listener_destroy(&gone->admin_listener);
	while (gone->context) {
		lws_context_destroy(gone->context);
		let_handles_close(gone->config.loop);
	}
	conns_destroy(&gone->conns);
	let_handles_close(gone->config.loop);
	free(gone);
}
