/* WebSocket over libwebsockets: the upgrade, and messages from clients. */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>

#include "conn.h"

/* Longest head of a request, in bytes: a cursor, types and a token fit. */
#define WS_MAX_HEAD 8192

/* A row of the list of subprotocols that lws is given; number: an index of protocols. */
struct lws_protocols ws_protocol(size_t number, lws_callback_function *callback);

/* lws asks before it upgrades a request to the protocol `to`; returns nonzero when it was refused.
 */
int ws_confirm_upgrade(
	struct lws *wsi, const char *to, const struct settings *settings, size_t clients);
/* The upgrade is done. */
void ws_open(struct conn *conn, struct conns *conns, struct lws *wsi);
/* A piece of a message. */
void ws_receive(struct conn *conn, struct lws *wsi, const char *piece, size_t len);
