#include "conn.h"

#include <assert.h>
#include <libwebsockets.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "alloc.h"
#include "auth.h"
#include "inbox.h"
#include "log.h"
#include "metrics.h"
#include "wheel.h"

/* Deadlines are checked so many times in the shorter of ping_interval and ping_timeout: each check
 * wakes a processor with cold caches. */
#define TICKS 20
/* Milliseconds for a client to authenticate. */
#define AUTH_TIMEOUT 5000
/* Seconds for the peer to answer our close. */
#define CLOSE_TIMEOUT 5

struct conns {
	const struct settings *settings;
	struct hub *hub;
	struct lws_context *context;
	uv_timer_t ticker; /* runs while there are connections */
	struct wheel wheel;
	uint64_t tick_ms;
	size_t count, opened; /* now, ever */
	bool cancelling;      /* lws_cancel_service was called and has not come through yet */
};

/* The handshake has no memory of ours: lws limits its time. */
enum state { HANDSHAKE, AUTHENTICATING, JOINED, CLOSING };

/* Whether the peer is read from. */
enum rx_state {
	RX_ON,
	RX_PAUSED,   /* lws keeps a rest: it would take a Close for the end, at once */
	RX_RESUMING, /* the rest is sent; nothing is written until everything unread is read */
};

struct conn {
	struct lws *wsi; /* NULL: not open */
	struct conns *conns;
	struct client *client; /* NULL unless JOINED */
	struct wheel_entry deadline;
	struct inbox inbox;
	uint64_t bytes_since_ping; /* written behind the last ping */
	uint32_t unacked_bytes;	   /* up to the end of the last ping, at the last look */
	uint32_t last_rx_ms;	   /* loop time */
	uint16_t close_code;	   /* of the first close, ours or the peer's; 0: none */
	uint8_t state;
	uint8_t rx_state;
	uint8_t protocol; /* index of protocols */
	bool wake_wanted; /* by the client */
	bool ping_sent;	  /* and not answered */
};

static void on_deadline(void *ctx, struct wheel_entry *entry);

/* ---- all connections ---- */

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

void conns_cancelled(struct conns *conns)
{
	conns->cancelling = false;
}

static uint64_t now_ms(const struct conns *conns)
{
	return uv_now(conns->ticker.loop);
}

static void advance(struct conns *conns)
{
	wheel_advance(&conns->wheel, now_ms(conns) / conns->tick_ms, on_deadline, conns);
}

static void on_tick(uv_timer_t *timer)
{
	struct conns *conns = timer->data;
	advance(conns);
	if (conns->count == 0)
		uv_timer_stop(timer);
}

/* ---- states ---- */

static void move(struct conn *conn, enum state to)
{
	static const char *const names[] = {"handshake", "authenticating", "joined", "closing"};
	log_debug("connection: %s -> %s", names[conn->state], names[to]);
	conn->state = (uint8_t)to;
}

/* Counts from the present, since the wheel is behind it while it advances after a pause. */
static void set_deadline(struct conn *conn, uint64_t ms)
{
	struct conns *conns = conn->conns;
	uint64_t ticks = (ms + conns->tick_ms - 1) / conns->tick_ms;
	wheel_set(&conns->wheel, &conn->deadline, now_ms(conns) / conns->tick_ms + ticks);
}

/* Leaves the end to a timeout of lws, which works wherever we are called from. */
static void end_after(struct conn *conn, enum pending_timeout why, int seconds)
{
	struct conns *conns = conn->conns;
	move(conn, CLOSING);
	wheel_remove(&conn->deadline);
	lws_set_timeout(conn->wsi, why, seconds);
	if (!conns->cancelling) {
		conns->cancelling = true;
		lws_cancel_service(conns->context);
	}
}

static void note_close(struct conn *conn, uint16_t code)
{
	if (!conn->close_code)
		conn->close_code = code;
}

/* Codes by choice of peers are counted as one. */
static void count_close(const struct conn *conn)
{
	char label[8] = "other";
	uint16_t code = conn->close_code ? conn->close_code : CLOSE_ABNORMAL;
	if ((code >= 1000 && code <= 1015) || (code >= 4400 && code <= 4599))
		snprintf(label, sizeof label, "%u", code);
	metric_add_labelled(METRIC_CLOSES, label, 1);
}

static void drop(struct conn *conn, const char *why)
{
	log_debug("connection: dropped: %s", why);
	note_close(conn, CLOSE_ABNORMAL);
	end_after(conn, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

bool conn_is_closing(const struct conn *conn)
{
	return conn->state == CLOSING;
}

/* ---- reading ---- */

static void top_up_inbox(struct conn *conn)
{
	struct conns *conns = conn->conns;
	inbox_top_up(&conn->inbox, (uint32_t)now_ms(conns), (uint64_t)conns->settings->message_rate,
		conn->rx_state == RX_ON);
}

static void pause_rx(struct conn *conn)
{
	top_up_inbox(conn);
	conn->rx_state = RX_PAUSED;
	lws_rx_flow_control(conn->wsi, 0);
}

static bool has_pending_bytes(const struct conn *conn)
{
	int bytes = 0;
	return ioctl(lws_get_socket_fd(conn->wsi), FIONREAD, &bytes) == 0 && bytes > 0;
}

/* lws has sent its rest. It comes back once, because it may also keep bytes that it has read, and
 * then once per piece as long as there are unread bytes. */
static void resume_rx(struct conn *conn)
{
	if (conn->rx_state == RX_PAUSED) {
		conn->rx_state = RX_RESUMING;
		lws_rx_flow_control(conn->wsi, 1);
	} else if (conn->state == CLOSING || !has_pending_bytes(conn)) {
		conn->rx_state = RX_ON;
		return;
	}
	lws_callback_on_writable(conn->wsi);
}

struct inbox *conn_inbox(struct conn *conn)
{
	return &conn->inbox;
}

bool conn_spend_message(struct conn *conn)
{
	top_up_inbox(conn);
	return inbox_spend(&conn->inbox);
}

/* ---- writing ---- */

static bool write_raw(struct conn *conn, const unsigned char *bytes, size_t len)
{
	/* lws takes no const, but does not write into raw bytes. */
	if (lws_write(conn->wsi, (unsigned char *)(uintptr_t)bytes, len, LWS_WRITE_RAW) < 0) {
		drop(conn, "the peer is gone");
		return false;
	}
	conn->bytes_since_ping += len;
	metric_add(METRIC_SENT_BYTES, len);
	if (conn->rx_state != RX_PAUSED && lws_partial_buffered(conn->wsi))
		pause_rx(conn);
	return true;
}

/* Limited per code; the close of a whole server is one event, which is logged elsewhere. */
static void log_close(const struct conn *conn, uint16_t code, const char *reason)
{
	static struct log_limit limits[32];
	char peer[64] = "";
	if (code == CLOSE_RESTART)
		return;
	lws_get_peer_simple(conn->wsi, peer, sizeof peer);
	log_write_limited(&limits[code % 32], LOG_LEVEL_INFO, "connection closed: %u: %s (peer %s)",
		code, reason, peer);
}

void conn_close(struct conn *conn, uint16_t code, const char *reason)
{
	if (conn->state == CLOSING)
		return;
	log_close(conn, code, reason);
	note_close(conn, code);
	unsigned char frame[PROTOCOL_CONTROL_MAX];
	if (write_raw(conn, frame, protocols[conn->protocol].close(frame, code, reason)))
		end_after(conn, PENDING_TIMEOUT_CLOSE_ACK, CLOSE_TIMEOUT);
}

static bool transport_write(void *ctx, const unsigned char *bytes, size_t len)
{
	struct conn *conn = ctx;
	return conn->state != CLOSING && write_raw(conn, bytes, len);
}

static bool transport_congested(void *ctx)
{
	struct conn *conn = ctx;
	return conn->state == CLOSING || conn->rx_state != RX_ON;
}

static void transport_wake(void *ctx)
{
	struct conn *conn = ctx;
	if (conn->state == CLOSING)
		return;
	conn->wake_wanted = true;
	lws_callback_on_writable(conn->wsi);
}

static void transport_close(void *ctx, uint16_t code, const char *reason)
{
	conn_close(ctx, code, reason);
}

static const struct transport transport = {
	.write = transport_write,
	.congested = transport_congested,
	.wake = transport_wake,
	.close = transport_close,
};

void conn_writable(struct conn *conn)
{
	if (conn->rx_state != RX_ON)
		resume_rx(conn);
	/* lws also calls when it has sent its rest. */
	if (conn->rx_state != RX_ON || !conn->wake_wanted || conn->state != JOINED)
		return;
	conn->wake_wanted = false;
	client_writable(conn->client);
}

/* ---- pings ---- */

/* Bytes up to the end of the ping that the peer's kernel has not acknowledged; right while lws
 * keeps no rest. */
static uint32_t count_unacked_bytes(const struct conn *conn)
{
	int queued = 0;
	if (ioctl(lws_get_socket_fd(conn->wsi), SIOCOUTQ, &queued) != 0 || queued < 0)
		return 0;
	uint64_t unacked = (uint64_t)queued;
	if (unacked <= conn->bytes_since_ping)
		return 0;
	return (uint32_t)(unacked - conn->bytes_since_ping);
}

static void send_ping(struct conn *conn)
{
	/* When nothing was written since a ping that was answered, the kernel need not be asked. */
	bool alone = !conn->unacked_bytes && !conn->bytes_since_ping;
	unsigned char ping[PROTOCOL_CONTROL_MAX];
	size_t len = protocols[conn->protocol].ping(ping);
	if (!write_raw(conn, ping, len))
		return;
	conn->ping_sent = true;
	conn->bytes_since_ping = 0;
	conn->unacked_bytes = alone ? (uint32_t)len : count_unacked_bytes(conn);
	set_deadline(conn, (uint64_t)conn->conns->settings->ping_timeout);
}

/* The answer may be late because the ping stands behind bytes that a slow peer is still taking.
 * When it has stopped, it has the whole timeout to answer. */
static bool peer_is_draining(struct conn *conn)
{
	unsigned char ping[PROTOCOL_CONTROL_MAX];
	uint32_t before = conn->unacked_bytes;
	conn->unacked_bytes = count_unacked_bytes(conn);
	return before > protocols[conn->protocol].ping(ping) && conn->unacked_bytes < before;
}

/* In 32 bits, which is right for less than seven weeks. */
static uint64_t silent_ms(const struct conn *conn)
{
	return (uint32_t)now_ms(conn->conns) - conn->last_rx_ms;
}

/* The hub limits how long bytes that wait already may wait. */
static void check_ping(struct conn *conn)
{
	const struct conns *conns = conn->conns;
	uint64_t interval = (uint64_t)conns->settings->ping_interval, silent = silent_ms(conn);
	if (transport_congested(conn) || (conn->ping_sent && peer_is_draining(conn))) {
		set_deadline(conn, (uint64_t)conns->settings->ping_timeout);
	} else if (conn->ping_sent && has_pending_bytes(conn)) {
		set_deadline(conn, conns->tick_ms); /* we were late, and the pong may be there */
	} else if (conn->ping_sent) {
		metric_add(METRIC_PING_TIMEOUTS, 1);
		drop(conn, "ping not answered");
	} else if (silent + conns->tick_ms < interval) {
		set_deadline(conn, interval - silent);
	} else {
		send_ping(conn);
	}
}

static void on_deadline(void *ctx, struct wheel_entry *entry)
{
	struct conn *conn = LIST_OF(entry, struct conn, deadline);
	(void)ctx;
	if (conn->state == AUTHENTICATING)
		conn_close(conn, CLOSE_AUTH_TIMEOUT, "authentication took too long");
	else if (conn->state == JOINED)
		check_ping(conn);
}

void conn_note_rx(struct conn *conn)
{
	conn->last_rx_ms = (uint32_t)now_ms(conn->conns);
	if (!conn->ping_sent || conn->state != JOINED)
		return;
	conn->ping_sent = false;
	set_deadline(conn, (uint64_t)conn->conns->settings->ping_interval);
}

void conn_note_pong(struct conn *conn)
{
	conn->unacked_bytes = 0;
	conn_note_rx(conn);
}

/* The first ping comes after half to all of the interval, as if the peer had been silent for a
 * while, so that clients that came together are not pinged together. */
static void start_pings(struct conn *conn)
{
	struct conns *conns = conn->conns;
	uint64_t interval = (uint64_t)conns->settings->ping_interval;
	uint64_t silent = conns->opened++ * 7919 % (interval / 2 + 1);
	conn->last_rx_ms -= (uint32_t)silent;
	set_deadline(conn, interval - silent);
}

/* ---- from open to gone ---- */

size_t conn_size(void)
{
	return sizeof(struct conn);
}

void conn_open(
	struct conn *conn, struct conns *conns, struct lws *wsi, const struct protocol *protocol)
{
	*conn = (struct conn){
		.wsi = wsi,
		.conns = conns,
		.protocol = (uint8_t)(protocol - protocols),
		.last_rx_ms = (uint32_t)now_ms(conns),
	};
	inbox_init(&conn->inbox, conn->last_rx_ms, (uint64_t)conns->settings->message_rate);
	conns->count++;
	if (!uv_is_active((uv_handle_t *)&conns->ticker)) {
		advance(conns);
		uv_timer_start(&conns->ticker, on_tick, conns->tick_ms, conns->tick_ms);
	}
	move(conn, AUTHENTICATING);
	set_deadline(conn, AUTH_TIMEOUT);
}

void conn_join(struct conn *conn, const struct handshake *handshake)
{
	struct conns *conns = conn->conns;
	const struct credentials credentials = {.uid = handshake->uid};
	struct client_config config = {
		.types = handshake->types,
		.since = handshake->since,
		.init = handshake->init,
		.protocol = &protocols[conn->protocol],
	};
	struct refusal refusal;
	if (auth_methods[conns->settings->auth].identify(&credentials, &config.uid, &refusal)) {
		move(conn, JOINED);
		start_pings(conn);
		conn->client = hub_join(conns->hub, &config, &transport, conn, &refusal);
	}
	if (!conn->client)
		conn_close(conn, refusal.code, refusal.reason);
}

void conn_note_peer_close(struct conn *conn, uint16_t code)
{
	note_close(conn, code);
}

void conn_gone(struct conn *conn)
{
	if (!conn->wsi)
		return;
	count_close(conn);
	conn->state = CLOSING;
	client_gone(&conn->client);
	wheel_remove(&conn->deadline);
	inbox_clear(&conn->inbox);
	conn->conns->count--;
	conn->wsi = NULL;
}

struct client *conn_client(struct conn *conn)
{
	return conn->client;
}

size_t conn_max_message(const struct conn *conn)
{
	return (size_t)conn->conns->settings->max_message;
}
