/* WebSocket over libwebsockets: the upgrade, and messages from clients. */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>

#include "conn.h"

/* Longest head of a request, in bytes: a cursor, types and a token fit. */
#define WS_MAX_HEAD 8192

/* A row of the list of subprotocols that lws is given; number: an index of protocols. */
struct lws_protocols ws_protocol(size_t number, lws_callback_function *callback);

/* lws asks before it upgrades a request; returns nonzero when it was refused. */
int ws_confirm_upgrade(struct lws *wsi, const struct settings *settings, bool full);
/* The upgrade is done. */
void ws_open(struct conn *conn, struct conns *conns, struct lws *wsi);
/* A piece of a message. */
void ws_receive(struct conn *conn, struct lws *wsi, const char *piece, size_t len);
/* A Close came; returns nonzero when lws need not answer it. */
int ws_peer_closes(struct conn *conn, const unsigned char *payload, size_t len);
