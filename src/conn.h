/* WebSocket connections: the transport of a client, over libwebsockets.
 *
 * What is sent is framed already, and goes out by raw writes that end on a frame boundary: from a
 * turn, not only when lws says that the socket is writable. Measured and read in lws 4.1.6 and 4.3;
 * this stands and falls with:
 *   - A raw write takes everything: what the kernel does not take, lws copies and sends before
 *     anything else, and lws_partial_buffered tells. So bytes of two writes never mix, and lws's
 * own frames (pongs, the answer to a Close) go between two of ours. This does not hold for
 * WebSocket over HTTP/2, which wsd does not offer, nor with extensions, which see framed writes
 * only.
 *   - Close frames are ours: one that is left to lws does not reach the peer on libuv. Behind it
 *     stands lws's timeout for the answer.
 *   - Timeouts that are set outside of lws's callbacks start to count when lws runs next: hence
 *     lws_cancel_service after them.
 *   - The per-session memory stays until WSI_DESTROY, which follows every end, whereas CLOSED comes
 *     only to connections that were established. */
#pragma once

#include <stddef.h>
#include <uv.h>

#include "access.h"
#include "hub.h"
#include "settings.h"

struct lws;
struct lws_context;

/* All connections. */
struct conns;

struct conns *conns_create(uv_loop_t *loop, const struct settings *settings, struct hub *hub);
/* After the last connection has ended; the loop has to run once more. */
void conns_destroy(struct conns **conns);
void conns_use_context(struct conns *conns, struct lws_context *context);
/* The wake-up that lws_cancel_service asked for has come. */
void conns_woken(struct conns *conns);

/* A connection; lives in lws's per-session memory, all zero before it is opened. */
struct conn;

size_t conn_size(void);
/* The handshake is through: registers the client, or closes. */
void conn_open(struct conn *conn, struct conns *conns, struct lws *wsi, enum kind kind,
	const struct access *access);
/* A piece of a message. */
void conn_receive(struct conn *conn, const char *piece, size_t len);
/* A pong came: the peer is there, and has taken all up to the ping. */
void conn_answered(struct conn *conn);
/* True when lws need not answer the peer's Close: it is the answer to ours. */
bool conn_closing(const struct conn *conn);
void conn_writable(struct conn *conn);
/* It has ended; harmless when it was never opened or is gone already. */
void conn_gone(struct conn *conn);
