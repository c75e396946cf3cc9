#include "fake_conn.h"

#include "alloc.h"
#include "state.h"

#define UNLIMITED ((size_t)1 << 40)

/* ---- decoding ---- */

static struct received *new_message(struct fake_conn *conn)
{
	if (conn->n_received == conn->capacity) {
		conn->capacity = conn->capacity ? 2 * conn->capacity : 16;
		conn->received = xrealloc(conn->received, conn->capacity * sizeof(*conn->received));
	}
	struct received *message = &conn->received[conn->n_received];
	*message = (struct received){0};
	return message;
}

static void add_payload(struct received *message, const unsigned char *bytes, size_t len)
{
	if (message->len < RECEIVED_HEAD - 1) {
		size_t room = RECEIVED_HEAD - 1 - message->len;
		memcpy(message->head + message->len, bytes, len < room ? len : room);
	}
	message->len += len;
}

/* Decodes the frame at the beginning of the bytes and returns its length. */
static size_t decode_frame(struct fake_conn *conn, const unsigned char *bytes, size_t len)
{
	assert_true(len >= 2);
	assert_true(bytes[1] < 127); /* not masked, and short */
	size_t header = bytes[1] == 126 ? 4 : 2;
	size_t payload = bytes[1] == 126 ? (size_t)bytes[2] << 8 | bytes[3] : bytes[1];
	assert_true(header + payload <= len);
	assert_int_equal(bytes[0] & 0x7F, conn->in_message ? 0x0 : 0x1);

	struct received *message =
		conn->in_message ? &conn->received[conn->n_received] : new_message(conn);
	add_payload(message, bytes + header, payload);
	conn->in_message = !(bytes[0] & 0x80);
	conn->n_received += !conn->in_message;
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
	if (conn->client && conn->max_queued)
		assert_true(conn->client->reader.queued <= conn->max_queued);
	conn->congested = len >= conn->room;
	conn->room -= conn->congested ? conn->room : len;
	for (size_t at = 0; at < len;)
		at += decode_frame(conn, bytes + at, len - at);
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
	conn->wake_requested = true;
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

/* ---- for tests ---- */

void fake_conn_join(struct fake_conn *conn, struct hub *hub, const struct client_config *config)
{
	struct refusal refusal = {0};
	*conn = (struct fake_conn){.room = UNLIMITED};
	conn->client = hub_join(hub, config, &transport, conn, &refusal);
	conn->closed = refusal.code;
	assert_int_equal(!conn->client, refusal.reason != NULL);
}

void fake_conn_congest(struct fake_conn *conn, size_t room)
{
	conn->room = room;
	conn->congested = !room;
}

void fake_conn_drain(struct fake_conn *conn, size_t room)
{
	conn->room = room ? room : UNLIMITED;
	conn->congested = false;
	if (!conn->wake_requested || !conn->client)
		return;
	conn->wake_requested = false;
	client_writable(conn->client);
}

void fake_conn_leave(struct fake_conn *conn)
{
	client_gone(&conn->client);
}

void fake_conn_clear(struct fake_conn *conn)
{
	fake_conn_leave(conn);
	free(conn->received);
	*conn = (struct fake_conn){0};
}

void fake_conn_send(struct fake_conn *conn, const char *text)
{
	client_received(conn->client, text, strlen(text));
}

void assert_received(struct fake_conn *conn, ...)
{
	va_list list;
	const char *want;
	size_t i = 0;
	va_start(list, conn);
	while ((want = va_arg(list, const char *))) {
		if (i == conn->n_received)
			fail_msg("\"%s\" did not arrive", want);
		if (strncmp(conn->received[i].head, want, strlen(want)) != 0)
			fail_msg("\"%s\" arrived instead of \"%s\"", conn->received[i].head, want);
		i++;
	}
	va_end(list);
	if (i < conn->n_received)
		fail_msg("\"%s\" arrived, too", conn->received[i].head);
	conn->n_received = 0;
}
