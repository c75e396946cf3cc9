/* Two vhosts share lws's context. lws never listens: sockets come from our listeners. Its two
 * constants for "no port" are given to one vhost each, since lws picks a vhost by the Host header
 * among those of equal port, and clients must not reach the admin pages that way.
 *
 * The end, in 4.1.6 and 4.3, with a loop that is not lws's: lws_context_destroy closes the
 * connections (CLOSED and WSI_DESTROY come at once) and asks libuv to close their handles; only
 * when libuv has done so does another call go on. How many calls it takes differs, but the last one
 * sets our pointer to the context to NULL (info.pcontext). */
#include "server.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "alloc.h"
#include "conn.h"
#include "handshake.h"
#include "http.h"
#include "listener.h"
#include "log.h"
#include "metrics.h"
#include "origin.h"

/* Seconds that an HTTP client has for each step: sending its headers, taking an answer. */
#define HTTP_TIMEOUT 10
/* Longest set of headers: a cursor, types and a token fit. */
#define HEADERS_MAX 8192
/* lws copies the offered subprotocols into 128 bytes, and hangs up when they don't fit. */
#define PROTOCOLS_MAX 127
/* Descriptors for all but clients. */
#define SPARE_FILES 512

struct server {
	struct server_config config;
	struct conns *conns;
	struct admin admin;
	struct lws_http_mount pages;
	struct lws_context *context;
	struct lws_vhost *clients_vhost, *admin_vhost;
	struct listener *listener, *admin_listener;
	size_t arriving; /* connections without a request yet; their opaque data is not NULL */
};

/* ---- the handshake ---- */

static void arriving(struct server *server, struct lws *wsi)
{
	lws_set_opaque_user_data(wsi, server);
	server->arriving++;
}

/* It is a client, or a page's reader, or gone. */
static void arrived(struct server *server, struct lws *wsi)
{
	if (!lws_get_opaque_user_data(wsi))
		return;
	lws_set_opaque_user_data(wsi, NULL);
	server->arriving--;
}

/* A header's text; NULL when there is none, or it is longer than the room. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *room, int size)
{
	return lws_hdr_copy(wsi, room, size, token) > 0 ? room : NULL;
}

static bool page_allowed(struct server *server, struct lws *wsi)
{
	char origin[512], host[512];
	if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) == 0)
		return true;
	return header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin) &&
	       origin_allowed(origin, header(wsi, WSI_TOKEN_HOST, host, sizeof host),
		       server->config.settings->allowed_origins);
}

/* lws takes the first offered subprotocol that it knows, and hangs up when it knows none. */
static bool protocol_offered(struct lws *wsi)
{
	char offered[PROTOCOLS_MAX + 1];
	if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) == 0)
		return true;
	return header(wsi, WSI_TOKEN_PROTOCOL, offered, sizeof offered) &&
	       header_list_has(offered, "pgcast.v1");
}

static int refuse(struct lws *wsi, unsigned status, const char *extra, const char *text)
{
	metric_add(METRIC_HANDSHAKES_REFUSED, 1);
	return http_refuse(wsi, status, extra, text);
}

/* lws would also upgrade POST requests, old versions, and to HTTP/2. */
static int confirm_upgrade(struct server *server, struct lws *wsi, const char *to)
{
	char version[8];
	if (strcasecmp(to, "websocket") != 0 || !lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI))
		return refuse(wsi, 400, NULL, "Only GET with Upgrade: websocket.");
	if (!header(wsi, WSI_TOKEN_VERSION, version, sizeof version) || strcmp(version, "13") != 0)
		return refuse(wsi, 426, "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
			"Only Sec-WebSocket-Version: 13.");
	if (!protocol_offered(wsi))
		return refuse(wsi, 400, NULL,
			"Offer the subprotocol pgcast.v1 or none, in 127 characters at most.");
	if (!page_allowed(server, wsi))
		return refuse(wsi, 403, NULL, "Pages of this origin may not connect.");
	if (hub_clients(server->config.hub) >= (size_t)server->config.settings->max_clients)
		return refuse(wsi, 503, "Retry-After: 10\r\n", "Too many clients.");
	return 0;
}

/* The query's parameters come as fragments, percent-decoded. */
static void read_query(struct lws *wsi, struct handshake *handshake)
{
	char pair[HEADERS_MAX];
	for (int i = 0; lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i) > 0; i++) {
		int len = lws_hdr_copy_fragment(wsi, pair, sizeof pair, WSI_TOKEN_HTTP_URI_ARGS, i);
		if (len > 0)
			handshake_parameter(handshake, pair, (size_t)len);
	}
}

static int established(struct server *server, struct lws *wsi, struct conn *conn)
{
	struct handshake handshake = {0};
	arrived(server, wsi);
	read_query(wsi, &handshake);
	conn_open(conn, server->conns, wsi, &protocols[lws_get_protocol(wsi)->id], &handshake);
	handshake_clear(&handshake);
	return 0;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct server *server = lws_context_user(lws_get_context(wsi));

	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return confirm_upgrade(server, wsi, in);
	case LWS_CALLBACK_ESTABLISHED:
		return established(server, wsi, user);
	case LWS_CALLBACK_RECEIVE:
		conn_receive(user, in, len);
		return 0;
	case LWS_CALLBACK_RECEIVE_PONG:
		conn_answered(user);
		return 0;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		conn_writable(user);
		return 0;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		return conn_closing(user) ? -1 : 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		arrived(server, wsi);
		if (user)
			conn_gone(user);
		return 0;
	case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
		conns_woken(server->conns);
		return 0;
	case LWS_CALLBACK_FILTER_HTTP_CONNECTION:
		arrived(server, wsi);
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

#define CLIENT_PROTOCOL(number)                                                                    \
	{                                                                                          \
		.name = protocols[number].name, .callback = on_event,                              \
		.per_session_data_size = conn_size(),                                              \
		.rx_buffer_size = 128, /* least that takes a control frame in one */               \
			.id = (number), .tx_packet_size = 1 << 20,                                 \
	}

static void forward_log(int level, const char *line)
{
	(void)level;
	log_debug("lws: %.*s", (int)strcspn(line, "\n"), line);
}

/* lws keeps tables as long as there may be descriptors: no more than are of use, and if the hard
 * limit lets us, as many as there may be clients. */
static void limit_files(int64_t max_clients)
{
	struct rlimit limit;
	rlim_t want = (rlim_t)max_clients + SPARE_FILES;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warning("can't set the limit of open files: %s", strerror(errno));
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
		.max_http_header_data2 = HEADERS_MAX,
		.server_string = "pgcast",
	};
	server->context = lws_create_context(&info);
	return server->context;
}

static bool create_clients_vhost(struct server *server)
{
	const struct lws_protocols client_protocols[] = {
		CLIENT_PROTOCOL(PROTOCOL_PLAIN),
		CLIENT_PROTOCOL(PROTOCOL_V1),
		{0},
	};
	const char *www = server->config.settings->www;
	if (*www && access(www, R_OK | X_OK) != 0)
		log_warning("there are no pages: `www` = %s: %s", www, strerror(errno));
	server->pages = http_pages(www);
	/* lws's own watch for silent peers is a sorted list that every frame received is a walk of:
	 * at 10,000 clients 60 % of our idle time. conn.c has a wheel. */
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
	log_error("libwebsockets does not start; log_level = debug shows what it says");
	return false;
}

/* ---- listening ---- */

/* lws closes the descriptor when it can't take it. */
static void accepted_client(void *ctx, int fd)
{
	struct server *server = ctx;
	struct lws *wsi = lws_adopt_socket_vhost(server->clients_vhost, fd);
	if (wsi)
		arriving(server, wsi);
}

static void accepted_admin(void *ctx, int fd)
{
	lws_adopt_socket_vhost(((struct server *)ctx)->admin_vhost, fd);
}

/* The one that shares its port comes last: what fails before costs no client. */
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

bool server_quiet(const struct server *server)
{
	return listener_stopped(server->listener) && !server->arriving;
}

/* ---- life ---- */

struct server *server_create(const struct server_config *config)
{
	struct server *server = xcalloc(1, sizeof *server);
	server->config = *config;
	server->admin = (struct admin){config->ready, config->ctx};
	server->conns = conns_create(config->loop, config->settings, config->hub);
	limit_files(config->settings->max_clients);
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
