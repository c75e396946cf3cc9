/* Connections: the transport of a client, over libwebsockets, and the states of its connection.
 *
 * What is sent is framed already, and goes out by raw writes that end on a frame boundary: from a
 * turn, not only when lws says that the socket is writable. Measured and read in lws 4.1.6 and 4.3;
 * this stands and falls with what follows, each with its tests in tests/e2e/test_raw_writes.py.
 *
 * A raw write takes everything: what the kernel does not take, lws copies and sends before anything
 * else, and lws_partial_buffered tells. So bytes of two writes never mix.
 *     test_what_the_kernel_does_not_take_comes_whole_and_in_order
 *     test_our_close_goes_behind_what_is_kept_and_nothing_follows
 * It leaves the buffer alone, and what is before it (no LWS_PRE), so that one run serves everybody.
 *     test_one_run_serves_all_and_stays_as_it_was
 * Pings of ours are raw writes as well. lws's own frames (pongs, the answer to a Close) go between
 * two of ours.
 *     test_pings_go_between_our_frames
 *     test_pongs_go_between_our_frames
 *     test_the_answer_to_a_close_goes_behind_whole_frames
 *
 * A Close that lws reads while it keeps a rest is the end, with neither the rest nor an answer, and
 * we are not asked (lws_ws_rx_sm, LWSWSOPC_CLOSE). So a peer is not read from while there is a
 * rest of what we wrote; then all is heard that came meanwhile, and only then we write more. What
 * remains is a rest of a pong, of which we don't know.
 *     test_who_closes_while_lws_keeps_a_rest_gets_that_and_an_answer
 *     test_who_reads_slowly_is_heard_between_two_writes
 *     test_who_reads_slowly_may_have_sent_as_much_as_others
 *     test_who_vanishes_while_lws_keeps_a_rest_is_gone
 *
 * None of this holds for WebSocket over HTTP/2, nor with extensions, which see framed writes only.
 *     test_there_are_no_extensions_and_no_http2
 *
 * Close frames are ours: one that is left to lws does not reach the peer on libuv. We send nothing
 * behind it, and the end comes with the peer's answer, or with lws's timeout for that.
 *     test_our_close_goes_behind_what_is_kept_and_nothing_follows
 *     test_a_close_that_is_answered_is_followed_by_the_end_at_once
 *     test_a_close_that_is_not_answered_is_followed_by_the_end
 *
 * Timeouts that are set outside of lws's callbacks start to count when lws runs next: hence
 * lws_cancel_service after them.
 *     test_a_close_from_a_timer_of_ours_is_followed_by_the_end
 *     test_a_drop_from_a_timer_of_ours_is_the_end_at_once
 *
 * The per-session memory stays until WSI_DESTROY, which follows every end, whereas CLOSED comes
 * only to connections that were established.
 *     test_ends_of_all_kinds_are_ends (with sanitizers) */
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
