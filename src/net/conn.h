/* Connections: the transport of a client, over libwebsockets, and the states of its connection.
 *
 * Blocks are framed already. They are sent by raw writes that end on a frame boundary, at any time
 * and not only when lws reports that the socket is writable. This relies on the following
 * properties of lws 4.1.6 and 4.3, each with its tests in tests/e2e/test_raw_writes.py.
 *
 * A raw write takes all bytes: lws copies the rest that the kernel does not take, sends it before
 * anything else, and reports it by lws_partial_buffered. So the bytes of two writes do not mix.
 *     test_partial_write_arrives_whole_and_in_order
 *     test_close_frame_follows_partial_write
 * It does not modify the buffer, nor the bytes before it (no LWS_PRE), so that one block serves
 * all. test_shared_blocks_are_not_modified Our pings are raw writes, too. lws writes its own frames
 * (pongs, the answer to a Close) between two of ours. test_pings_come_between_frames
 *     test_pongs_come_between_frames
 *     test_close_answer_follows_whole_frame
 *
 * When lws reads a Close while it keeps a rest, it ends the connection without the rest or an
 * answer, and does not ask us (lws_ws_rx_sm, LWSWSOPC_CLOSE). So a peer is not read from while
 * there is a rest; then everything that came in the meantime is read before we write again. The
 * rest of a pong is not known to us. test_close_during_partial_write_is_answered
 *     test_slow_reader_is_read_between_writes
 *     test_slow_reader_keeps_its_message_rate
 *     test_disconnect_during_partial_write_is_noticed
 *
 * None of this holds for WebSocket over HTTP/2, nor with extensions, which see framed writes only.
 *     test_handshake_without_extensions_or_http2
 *
 * Close frames are ours, because one that is left to lws does not reach the peer on libuv. Nothing
 * is sent behind it; the connection ends with the peer's answer, or by a timeout of lws.
 *     test_close_frame_follows_partial_write
 *     test_close_with_answer_ends_connection_at_once
 *     test_close_without_answer_ends_connection
 *
 * Timeouts that are set outside of lws's callbacks start when lws runs next: hence
 * lws_cancel_service after them.
 *     test_close_from_timer_ends_connection
 *     test_drop_from_timer_ends_connection_at_once
 *
 * The per-session memory stays until WSI_DESTROY, which follows every end; CLOSED follows only the
 * end of established connections.
 *     test_disconnect_at_any_stage_releases_connection (with sanitizers) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "handshake.h"
#include "hub.h"
#include "settings.h"

struct lws;
struct lws_context;
struct inbox;

/* All connections. */
struct conns;

struct conns *conns_create(uv_loop_t *loop, const struct settings *settings, struct hub *hub);
/* After the last connection has ended; the loop has to run once more. */
void conns_destroy(struct conns **conns);
void conns_use_context(struct conns *conns, struct lws_context *context);
/* lws_cancel_service has come through. */
void conns_cancelled(struct conns *conns);

/* A connection; lives in lws's per-session memory, all zero before it is opened. */
struct conn;

size_t conn_size(void);
/* The handshake is complete. */
void conn_open(
	struct conn *conn, struct conns *conns, struct lws *wsi, const struct protocol *protocol);
/* Finds out who the client is and registers it, or closes. */
void conn_join(struct conn *conn, const struct handshake *handshake);
/* Bytes came from the peer. */
void conn_note_rx(struct conn *conn);
/* A pong came: the peer has taken everything up to the ping. */
void conn_note_pong(struct conn *conn);
/* lws can write. */
void conn_writable(struct conn *conn);
/* Sends a close behind everything written; a second one does nothing. */
void conn_close(struct conn *conn, uint16_t code, const char *reason);
/* True after our close. */
bool conn_is_closing(const struct conn *conn);
/* The peer closes with this code; 1005: without one. */
void conn_note_peer_close(struct conn *conn, uint16_t code);
/* It has ended; harmless when it was never opened or is gone already. */
void conn_gone(struct conn *conn);

/* For messages from the peer. */

struct inbox *conn_inbox(struct conn *conn);
/* Longest message, in bytes. */
size_t conn_max_message(const struct conn *conn);
/* Counts a message against message_rate; false: there are too many. */
bool conn_spend_message(struct conn *conn);
/* NULL unless registered. */
struct client *conn_client(struct conn *conn);
