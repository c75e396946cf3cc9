#include "ws.h"

#include <string.h>
#include <strings.h>

#include "http.h"
#include "inbox.h"
#include "log.h"
#include "metrics.h"
#include "origin.h"
#include "utf8.h"

/* lws copies the offered subprotocols into 128 bytes, and hangs up when they do not fit. */
#define MAX_OFFERED 127
/* The smallest buffer that receives every control frame in one piece. */
#define RX_BUFFER_SIZE 128

struct lws_protocols ws_protocol(size_t number, lws_callback_function *callback)
{
	return (struct lws_protocols){
		.name = protocols[number].name,
		.callback = callback,
		.per_session_data_size = conn_size(),
		.rx_buffer_size = RX_BUFFER_SIZE,
		.id = (unsigned)number,
		.tx_packet_size = 1 << 20,
	};
}

/* ---- the upgrade ---- */

/* A header's text; NULL when it is absent or does not fit. */
static const char *header(struct lws *wsi, enum lws_token_indexes token, char *buffer, int size)
{
	return lws_hdr_copy(wsi, buffer, size, token) > 0 ? buffer : NULL;
}

static bool is_origin_allowed(struct lws *wsi, const char *allowed)
{
	char origin[512], host[512];
	if (lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) == 0)
		return true;
	return header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof origin) &&
	       origin_allowed(origin, header(wsi, WSI_TOKEN_HOST, host, sizeof host), allowed);
}

/* lws selects the first offered subprotocol that it knows, and hangs up when it knows none. */
static bool is_protocol_offered(struct lws *wsi)
{
	char offered[MAX_OFFERED + 1];
	if (lws_hdr_total_length(wsi, WSI_TOKEN_PROTOCOL) == 0)
		return true;
	if (!header(wsi, WSI_TOKEN_PROTOCOL, offered, sizeof offered))
		return false;
	for (size_t i = 0; i < PROTOCOLS; i++)
		if (header_list_has(offered, protocols[i].name))
			return true;
	return false;
}

struct refusal_kind {
	unsigned status;
	const char *reason; /* label of the metric */
	const char *extra;  /* headers, or NULL */
	const char *text;
	struct log_limit limit;
};

static struct refusal_kind bad_upgrade = {
	400, "upgrade", NULL, "Only GET with Upgrade: websocket.", {0}};
static struct refusal_kind bad_version = {426, "version",
	"Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n", "Only Sec-WebSocket-Version: 13.",
	{0}};
static struct refusal_kind bad_subprotocol = {400, "subprotocol", NULL,
	"Offer the subprotocol pgcast.v1 or none, in 127 characters at most.", {0}};
static struct refusal_kind bad_origin = {
	403, "origin", NULL, "Pages of this origin may not connect.", {0}};
static struct refusal_kind too_many_clients = {
	503, "max_clients", "Retry-After: 10\r\n", "Too many clients.", {0}};

static int refuse(struct lws *wsi, struct refusal_kind *kind)
{
	char peer[64] = "", from[256] = "", offered[256] = "";
	lws_get_peer_simple(wsi, peer, sizeof peer);
	header(wsi, WSI_TOKEN_ORIGIN, from, sizeof from);
	header(wsi, WSI_TOKEN_PROTOCOL, offered, sizeof offered);
	log_write_limited(&kind->limit, LOG_LEVEL_INFO,
		"handshake refused: %s: %s (peer %s, origin \"%s\", subprotocols \"%s\")",
		kind->reason, kind->text, peer, from, offered);
	metric_add(METRIC_HANDSHAKES_REFUSED, 1);
	metric_add_labelled(METRIC_REFUSED, kind->reason, 1);
	return http_refuse(wsi, kind->status, kind->extra, kind->text);
}

/* lws would also upgrade POST requests, old versions, and to HTTP/2. It answers other protocols
 * itself, and asks all the same when the request's headers are gone. */
int ws_confirm_upgrade(struct lws *wsi, const struct settings *settings, bool full)
{
	char to[16], number[8];
	if (!lws_hdr_total_length(wsi, WSI_TOKEN_UPGRADE))
		return -1;
	if (!header(wsi, WSI_TOKEN_UPGRADE, to, sizeof to) || strcasecmp(to, "websocket") != 0 ||
		!lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI))
		return refuse(wsi, &bad_upgrade);
	if (!header(wsi, WSI_TOKEN_VERSION, number, sizeof number) || strcmp(number, "13") != 0)
		return refuse(wsi, &bad_version);
	if (!is_protocol_offered(wsi))
		return refuse(wsi, &bad_subprotocol);
	if (!is_origin_allowed(wsi, settings->allowed_origins))
		return refuse(wsi, &bad_origin);
	if (full)
		return refuse(wsi, &too_many_clients);
	return 0;
}

/* lws has split the query and decoded its percent signs. */
static void read_query(struct lws *wsi, struct handshake *handshake)
{
	char pair[WS_MAX_HEAD];
	for (int i = 0; lws_hdr_fragment_length(wsi, WSI_TOKEN_HTTP_URI_ARGS, i) > 0; i++) {
		int len = lws_hdr_copy_fragment(wsi, pair, sizeof pair, WSI_TOKEN_HTTP_URI_ARGS, i);
		if (len > 0)
			handshake_parameter(handshake, pair, (size_t)len);
	}
}

void ws_open(struct conn *conn, struct conns *conns, struct lws *wsi)
{
	struct handshake handshake = {0};
	read_query(wsi, &handshake);
	conn_open(conn, conns, wsi, &protocols[lws_get_protocol(wsi)->id]);
	if (handshake.malformed)
		conn_close(conn, CLOSE_BAD_REQUEST, "query is not UTF-8");
	else
		conn_join(conn, &handshake);
	handshake_clear(&handshake);
}

/* ---- messages ---- */

static void receive_message(struct conn *conn, const char *text, size_t len)
{
	if (!conn_spend_message(conn))
		conn_close(conn, CLOSE_TOO_MANY_MESSAGES, "too many messages");
	else if (!utf8_valid(text, len))
		conn_close(conn, CLOSE_BAD_UTF8, "not UTF-8");
	else if (conn_client(conn))
		client_received(conn_client(conn), text, len);
}

void ws_receive(struct conn *conn, struct lws *wsi, const char *piece, size_t len)
{
	struct inbox *inbox = conn_inbox(conn);
	conn_note_rx(conn);
	if (conn_is_closing(conn))
		return;
	if (lws_frame_is_binary(wsi)) {
		conn_close(conn, CLOSE_BINARY, "text only");
		return;
	}
	if (inbox_len(inbox) + len > conn_max_message(conn)) {
		conn_close(conn, CLOSE_TOO_BIG, "message too big");
		inbox_clear(inbox);
		return;
	}
	bool last = lws_is_final_fragment(wsi);
	if (last && !inbox_len(inbox)) {
		receive_message(conn, piece, len);
		return;
	}
	inbox_append(inbox, piece, len);
	if (!last)
		return;
	receive_message(conn, inbox_text(inbox), inbox_len(inbox));
	inbox_clear(inbox);
}

int ws_peer_closes(struct conn *conn, const unsigned char *payload, size_t len)
{
	uint16_t code = CLOSE_NO_CODE;
	if (len >= 2)
		code = (uint16_t)(payload[0] << 8 | payload[1]);
	bool closed_by_us = conn_is_closing(conn);
	conn_note_peer_close(conn, code);
	return closed_by_us ? -1 : 0;
}
