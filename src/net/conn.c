#include "conn.h"

#include <assert.h>
#include <libwebsockets.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "alloc.h"
#include "inbox.h"
#include "log.h"
#include "metrics.h"
#include "utf8.h"
#include "wheel.h"

/* Deadlines are looked at so many times in the shorter of ping_interval and ping_timeout: each look
 * wakes a processor with nothing in its caches. */
#define TICKS 20
/* How long the peer has to answer our Close, in seconds. */
#define CLOSE_WAIT 5

struct conns {
	const struct settings *settings;
	struct hub *hub;
	struct lws_context *context;
	uv_timer_t ticker; /* runs while there are connections */
	struct wheel wheel;
	uint64_t tick_ms;
	size_t count, opened; /* now, ever */
	bool waking;	      /* lws_cancel_service was called and has not come through yet */
};

/* Whether the peer is read from. */
enum ear {
	EAR_OPEN,
	EAR_SHUT,    /* lws keeps a rest: it would take a Close for the end, at once */
	EAR_OPENING, /* it does not any more; we write when we have heard what came meanwhile */
};

struct conn {
	struct lws *wsi; /* NULL: not open */
	struct conns *conns;
	struct client *client;
	struct wheel_entry deadline; /* of the next ping, or of the answer to the last one */
	struct inbox inbox;
	uint64_t since_ping; /* bytes written behind the last ping */
	uint32_t untaken;    /* bytes up to its end that the peer had not taken at the last look */
	uint32_t heard;	     /* when something last came, loop time in ms */
	uint8_t ear;
	uint8_t protocol; /* index of protocols */
	uint8_t ping_len;
	bool closing; /* our Close is out, or the connection is broken */
	bool woken;   /* the client wants to hear when it can write */
	bool pinged;
};

static uint64_t choose_tick(const struct settings *settings)
{
	int64_t interval = settings->ping_interval, timeout = settings->ping_timeout;
	return (uint64_t)(interval < timeout ? interval : timeout) / TICKS;
}

struct conns *conns_create(uv_loop_t *loop, const struct settings *settings, struct hub *hub)
{
	struct conns *conns = xcalloc(1, sizeof *conns);
	conns->settings = settings;
	conns->hub = hub;
	conns->tick_ms = choose_tick(settings);
	uv_timer_init(loop, &conns->ticker);
	conns->ticker.data = conns;
	wheel_init(&conns->wheel, uv_now(loop) / conns->tick_ms);
	return conns;
}

static void free_conns(uv_handle_t *handle)
{
	free(handle->data);
}

void conns_destroy(struct conns **conns)
{
	if (!*conns)
		return;
	assert((*conns)->count == 0);
	uv_close((uv_handle_t *)&(*conns)->ticker, free_conns);
	*conns = NULL;
}

void conns_use_context(struct conns *conns, struct lws_context *context)
{
	conns->context = context;
}

void conns_woken(struct conns *conns)
{
	conns->waking = false;
}

static uint64_t now_ms(const struct conns *conns)
{
	return uv_now(conns->ticker.loop);
}

/* A connection keeps times in 32 bits, good for differences of less than seven weeks. */
static uint32_t ms_since(const struct conns *conns, uint32_t then)
{
	return (uint32_t)now_ms(conns) - then;
}

/* Ends the connection on behalf of lws's timeouts, wherever we are called from. */
static void end_after(struct conn *conn, enum pending_timeout why, int seconds)
{
	struct conns *conns = conn->conns;
	conn->closing = true;
	wheel_remove(&conn->deadline);
	lws_set_timeout(conn->wsi, why, seconds);
	if (!conns->waking) {
		conns->waking = true;
		lws_cancel_service(conns->context);
	}
}

static void drop(struct conn *conn, const char *why)
{
	log_debug("dropping a connection: %s", why);
	end_after(conn, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

/* ---- when the peer is heard ---- */

static void top_up(struct conn *conn)
{
	struct conns *conns = conn->conns;
	inbox_top_up(&conn->inbox, (uint32_t)now_ms(conns), (uint64_t)conns->settings->message_rate,
		conn->ear == EAR_OPEN);
}

static void shut_ear(struct conn *conn)
{
	top_up(conn);
	conn->ear = EAR_SHUT;
	lws_rx_flow_control(conn->wsi, 0);
}

static bool unread(const struct conn *conn)
{
	int bytes = 0;
	return ioctl(lws_get_socket_fd(conn->wsi), FIONREAD, &bytes) == 0 && bytes > 0;
}

/* lws has sent what it kept. First it comes round once more, since it may also keep something that
 * it has read; and then again and again, with a piece read each time, as long as there are any. */
static void open_ear(struct conn *conn)
{
	if (conn->ear == EAR_SHUT) {
		conn->ear = EAR_OPENING;
		lws_rx_flow_control(conn->wsi, 1);
	} else if (conn->closing || !unread(conn)) {
		conn->ear = EAR_OPEN;
		return;
	}
	lws_callback_on_writable(conn->wsi);
}

/* ---- the transport ---- */

static bool write_raw(struct conn *conn, const unsigned char *bytes, size_t len)
{
	/* lws takes no const, but does not write into what is sent raw. */
	if (lws_write(conn->wsi, (unsigned char *)(uintptr_t)bytes, len, LWS_WRITE_RAW) < 0) {
		drop(conn, "the peer is gone");
		return false;
	}
	conn->since_ping += len;
	metric_add(METRIC_SENT_BYTES, len);
	if (conn->ear != EAR_SHUT && lws_partial_buffered(conn->wsi))
		shut_ear(conn);
	return true;
}

static bool transport_write(void *ctx, const unsigned char *bytes, size_t len)
{
	struct conn *conn = ctx;
	return !conn->closing && write_raw(conn, bytes, len);
}

static bool transport_congested(void *ctx)
{
	struct conn *conn = ctx;
	return conn->closing || conn->ear != EAR_OPEN;
}

static void transport_wake(void *ctx)
{
	struct conn *conn = ctx;
	if (conn->closing)
		return;
	conn->woken = true;
	lws_callback_on_writable(conn->wsi);
}

static void transport_close(void *ctx, uint16_t code, const char *reason)
{
	struct conn *conn = ctx;
	if (conn->closing)
		return;

	log_debug("closing a connection: %u %s", code, reason);
	unsigned char frame[PROTOCOL_CONTROL_MAX];
	if (write_raw(conn, frame, protocols[conn->protocol].close(frame, code, reason)))
		end_after(conn, PENDING_TIMEOUT_CLOSE_ACK, CLOSE_WAIT);
}

static const struct transport transport = {
	.write = transport_write,
	.congested = transport_congested,
	.wake = transport_wake,
	.close = transport_close,
};

/* ---- pings ---- */

static void set_deadline(struct conn *conn, uint64_t ms)
{
	struct conns *conns = conn->conns;
	uint64_t ticks = (ms + conns->tick_ms - 1) / conns->tick_ms;
	wheel_set(&conns->wheel, &conn->deadline, conns->wheel.now + ticks);
}

/* Bytes up to the ping's end that the peer's kernel has not acknowledged; counts right while
 * nothing is kept by lws. */
static uint32_t count_untaken(const struct conn *conn)
{
	int queued = 0;
	if (ioctl(lws_get_socket_fd(conn->wsi), SIOCOUTQ, &queued) != 0 || queued < 0)
		return 0;
	uint64_t unacknowledged = (uint64_t)queued;
	if (unacknowledged <= conn->since_ping)
		return 0;
	return (uint32_t)(unacknowledged - conn->since_ping);
}

static void send_ping(struct conn *conn)
{
	/* With nothing written since a ping that was answered, the kernel need not be asked. */
	bool alone = !conn->untaken && !conn->since_ping;
	unsigned char ping[PROTOCOL_CONTROL_MAX];
	size_t len = protocols[conn->protocol].ping(ping);
	if (!write_raw(conn, ping, len))
		return;
	conn->ping_len = (uint8_t)len;
	conn->pinged = true;
	conn->since_ping = 0;
	conn->untaken = alone ? (uint32_t)len : count_untaken(conn);
	set_deadline(conn, (uint64_t)conn->conns->settings->ping_timeout);
}

/* The answer may be late since the ping stood behind much that a slow peer was still taking at the
 * last look. From when it does not any more, the peer has the whole timeout to answer. */
static bool still_taking(struct conn *conn)
{
	uint32_t before = conn->untaken;
	conn->untaken = count_untaken(conn);
	return before > conn->ping_len && conn->untaken < before;
}

static void drop_silent(struct conn *conn)
{
	metric_add(METRIC_PING_TIMEOUTS, 1);
	drop(conn, "no answer to a ping");
}

static void on_deadline(void *ctx, struct wheel_entry *entry)
{
	struct conn *conn = LIST_OF(entry, struct conn, deadline);
	const struct conns *conns = ctx;
	const struct settings *settings = conns->settings;
	uint64_t silent = ms_since(conns, conn->heard);
	uint64_t interval = (uint64_t)settings->ping_interval;

	/* With bytes waiting here already, the hub sees to it that they move. */
	if (transport_congested(conn) || (conn->pinged && still_taking(conn)))
		set_deadline(conn, (uint64_t)settings->ping_timeout);
	else if (conn->pinged)
		drop_silent(conn);
	else if (silent + conns->tick_ms < interval)
		set_deadline(conn, interval - silent);
	else
		send_ping(conn);
}

static void on_tick(uv_timer_t *timer)
{
	struct conns *conns = timer->data;
	wheel_advance(&conns->wheel, now_ms(conns) / conns->tick_ms, on_deadline, conns);
	if (conns->count == 0)
		uv_timer_stop(timer);
}

static void heard(struct conn *conn)
{
	conn->heard = (uint32_t)now_ms(conn->conns);
	if (!conn->pinged || conn->closing)
		return;
	conn->pinged = false;
	set_deadline(conn, (uint64_t)conn->conns->settings->ping_interval);
}

void conn_answered(struct conn *conn)
{
	conn->untaken = 0;
	heard(conn);
}

/* The first ping comes after half to all of the interval, as if the peer had been silent for a
 * while already, so that clients which came together do not stay together. */
static void start_pings(struct conn *conn)
{
	struct conns *conns = conn->conns;
	uint64_t interval = (uint64_t)conns->settings->ping_interval;
	if (!uv_is_active((uv_handle_t *)&conns->ticker)) {
		wheel_advance(&conns->wheel, now_ms(conns) / conns->tick_ms, on_deadline, conns);
		uv_timer_start(&conns->ticker, on_tick, conns->tick_ms, conns->tick_ms);
	}
	uint64_t silent = conns->opened++ * 7919 % (interval / 2 + 1);
	conn->heard -= (uint32_t)silent;
	set_deadline(conn, interval - silent);
}

/* ---- life ---- */

size_t conn_size(void)
{
	return sizeof(struct conn);
}

void conn_open(struct conn *conn, struct conns *conns, struct lws *wsi,
	const struct protocol *protocol, const struct handshake *handshake)
{
	*conn = (struct conn){
		.wsi = wsi,
		.protocol = (uint8_t)(protocol - protocols),
		.conns = conns,
		.heard = (uint32_t)now_ms(conns),
	};
	inbox_init(&conn->inbox, conn->heard, (uint64_t)conns->settings->message_rate);
	conns->count++;
	start_pings(conn);

	uint16_t code = CLOSE_BAD_REQUEST;
	const char *reason = handshake_refusal(handshake);
	if (!reason) {
		const struct client_config config = {
			.uid = handshake->uid,
			.types = handshake->types,
			.since = handshake->since,
			.protocol = protocol,
		};
		conn->client = hub_join(conns->hub, &config, &transport, conn, &code, &reason);
	}
	if (!conn->client)
		transport_close(conn, code, reason);
}

bool conn_closing(const struct conn *conn)
{
	return conn->closing;
}

void conn_writable(struct conn *conn)
{
	if (conn->ear != EAR_OPEN)
		open_ear(conn);
	if (conn->ear != EAR_OPEN)
		return;
	/* lws also calls when it has sent what it kept. */
	if (!conn->woken || !conn->client || conn->closing)
		return;
	conn->woken = false;
	client_writable(conn->client);
}

void conn_gone(struct conn *conn)
{
	if (!conn->wsi)
		return;
	conn->closing = true;
	client_gone(&conn->client);
	wheel_remove(&conn->deadline);
	inbox_finish(&conn->inbox);
	conn->conns->count--;
	conn->wsi = NULL;
}

/* ---- receiving ---- */

static void take_message(struct conn *conn, const char *text, size_t len)
{
	top_up(conn);
	if (!inbox_take(&conn->inbox))
		transport_close(conn, CLOSE_TOO_MANY_MESSAGES, "too many messages");
	else if (!utf8_valid(text, len))
		transport_close(conn, CLOSE_BAD_UTF8, "not UTF-8");
	else if (conn->client)
		client_received(conn->client, text, len);
}

void conn_receive(struct conn *conn, const char *piece, size_t len)
{
	heard(conn);
	if (conn->closing)
		return;
	if (lws_frame_is_binary(conn->wsi)) {
		transport_close(conn, CLOSE_BINARY, "text only");
		return;
	}
	if (inbox_len(&conn->inbox) + len > (size_t)conn->conns->settings->max_message) {
		transport_close(conn, CLOSE_TOO_BIG, "message too big");
		inbox_forget(&conn->inbox);
		return;
	}

	bool last = lws_is_final_fragment(conn->wsi);
	if (last && !inbox_len(&conn->inbox)) {
		take_message(conn, piece, len);
		return;
	}
	inbox_gather(&conn->inbox, piece, len);
	if (!last)
		return;
	take_message(conn, inbox_text(&conn->inbox), inbox_len(&conn->inbox));
	inbox_forget(&conn->inbox);
}
