#include "fake_conn.h"

#include <stdio.h>

#include "alloc.h"
#include "hub.h"
#include "state.h"

#define ALL ((size_t)1 << 40)

/* ---- decoding ---- */

static struct got *next_got(struct fake_conn *conn)
{
	if (conn->n_got == conn->got_room) {
		conn->got_room = conn->got_room ? 2 * conn->got_room : 16;
		conn->got = xrealloc(conn->got, conn->got_room * sizeof(*conn->got));
	}
	struct got *got = &conn->got[conn->n_got];
	*got = (struct got){0};
	return got;
}

static void take_payload(struct got *got, const unsigned char *bytes, size_t len)
{
	if (got->len < GOT_HEAD - 1) {
		size_t room = GOT_HEAD - 1 - got->len;
		memcpy(got->head + got->len, bytes, len < room ? len : room);
	}
	got->len += len;
}

/* Takes the frame at the beginning of the bytes, returns its length. */
static size_t take_frame(struct fake_conn *conn, const unsigned char *bytes, size_t len)
{
	assert_true(len >= 2);
	assert_true(bytes[1] < 127); /* not masked, and short */
	size_t header = bytes[1] == 126 ? 4 : 2;
	size_t payload = bytes[1] == 126 ? (size_t)bytes[2] << 8 | bytes[3] : bytes[1];
	assert_true(header + payload <= len);
	assert_int_equal(bytes[0] & 0x7F, conn->in_message ? 0x0 : 0x1);

	struct got *got = conn->in_message ? &conn->got[conn->n_got] : next_got(conn);
	take_payload(got, bytes + header, payload);
	conn->in_message = !(bytes[0] & 0x80);
	conn->n_got += !conn->in_message;
	return header + payload;
}

/* ---- the transport ---- */

static bool fake_write(void *ctx, const unsigned char *bytes, size_t len)
{
	struct fake_conn *conn = ctx;
	assert_false(conn->closed);
	if (conn->broken)
		return false;
	assert_false(conn->congested);
	if (conn->client && conn->most)
		assert_true(conn->client->reader.queued <= conn->most);
	conn->congested = len >= conn->room;
	conn->room -= conn->congested ? conn->room : len;
	for (size_t at = 0; at < len;)
		at += take_frame(conn, bytes + at, len - at);
	return true;
}

static bool fake_congested(void *ctx)
{
	struct fake_conn *conn = ctx;
	return conn->congested;
}

static void fake_wake(void *ctx)
{
	struct fake_conn *conn = ctx;
	assert_false(conn->closed);
	conn->woken = true;
}

static void fake_close(void *ctx, uint16_t code, const char *reason)
{
	struct fake_conn *conn = ctx;
	assert_false(conn->closed);
	assert_non_null(reason);
	conn->closed = code;
}

static const struct transport transport = {
	.write = fake_write,
	.congested = fake_congested,
	.wake = fake_wake,
	.close = fake_close,
};

/* ---- what a test does with it ---- */

void fake_conn_join(struct fake_conn *conn, struct hub *hub, const char *uid, const char *types,
	const struct protocol *protocol)
{
	const struct client_config request = {.uid = uid, .types = types, .protocol = protocol};
	fake_conn_request(conn, hub, &request);
}

void fake_conn_request(struct fake_conn *conn, struct hub *hub, const struct client_config *request)
{
	struct refusal refusal = {0};
	*conn = (struct fake_conn){.room = ALL};
	conn->client = hub_join(hub, request, &transport, conn, &refusal);
	if (conn->client)
		return;
	assert_non_null(refusal.reason);
	conn->closed = refusal.code;
}

void fake_conn_clog(struct fake_conn *conn, size_t room)
{
	conn->room = room;
	conn->congested = !room;
}

void fake_conn_drain(struct fake_conn *conn, size_t room)
{
	conn->room = room ? room : ALL;
	conn->congested = false;
	if (!conn->woken || !conn->client)
		return;
	conn->woken = false;
	client_writable(conn->client);
}

void fake_conn_leave(struct fake_conn *conn)
{
	client_gone(&conn->client);
}

void fake_conn_clear(struct fake_conn *conn)
{
	fake_conn_leave(conn);
	free(conn->got);
	*conn = (struct fake_conn){0};
}

void fake_conn_say(struct fake_conn *conn, const char *text)
{
	client_received(conn->client, text, strlen(text));
}

void assert_got(struct fake_conn *conn, ...)
{
	va_list list;
	const char *want;
	size_t i = 0;
	va_start(list, conn);
	while ((want = va_arg(list, const char *))) {
		if (i == conn->n_got)
			fail_msg("\"%s\" did not arrive", want);
		if (strncmp(conn->got[i].head, want, strlen(want)) != 0)
			fail_msg("\"%s\" arrived instead of \"%s\"", conn->got[i].head, want);
		i++;
	}
	va_end(list);
	if (i < conn->n_got)
		fail_msg("\"%s\" arrived too", conn->got[i].head);
	conn->n_got = 0;
}
