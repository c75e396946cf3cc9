#include "wsclient.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"

/* Longest run of bytes looked at in one piece; any frame fits. One for all, since one is read at a
 * time, and the smaller it is the more of it stays in the cache. */
#define ROOM (128U << 10)

#define OPCODE_TEXT 0x1
#define OPCODE_PING 0x9
#define PONG 0x8a
#define LENGTH_16 126
#define LENGTH_64 127
#define CONTROL_MAX 125

static unsigned char room[ROOM];

/* ---- connecting ---- */

bool wsclient_dial(struct wsclient *client, const struct wsclient_manner *manner)
{
	const struct linger reset = {.l_onoff = manner->reset};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		crowd_die("socket");
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (manner->receive_buffer)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &manner->receive_buffer,
			sizeof(manner->receive_buffer));
	*client = (struct wsclient){.fd = fd};
	if (!connect(fd, (const struct sockaddr *)&manner->to, sizeof(manner->to)) ||
		errno == EINPROGRESS)
		return true;
	int why = errno;
	wsclient_close(client);
	errno = why;
	return false;
}

bool wsclient_ask(struct wsclient *client, const char *query, const char *protocol)
{
	char asked[1024];
	int len = snprintf(asked, sizeof(asked),
		"GET /?%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%s\r\n",
		query, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "",
		protocol ? "\r\n" : "");
	return len < (int)sizeof(asked) &&
	       send(client->fd, asked, (size_t)len, MSG_NOSIGNAL) == len;
}

void wsclient_close(struct wsclient *client)
{
	if (client->fd >= 0)
		close(client->fd);
	free(client->rest);
	*client = (struct wsclient){.fd = -1};
}

/* ---- reading ---- */

/* An all-zero mask leaves the payload as it is. If it can't be sent, the end is near anyway. */
static void pong(const struct wsclient *client, const unsigned char *payload, size_t len)
{
	unsigned char frame[6 + CONTROL_MAX] = {PONG, (unsigned char)(0x80 | len)};
	memcpy(frame + 6, payload, len);
	if (send(client->fd, frame, 6 + len, MSG_NOSIGNAL) < 0)
		fprintf(stderr, "%s: pong: %s\n", program_invocation_short_name, strerror(errno));
}

/* Takes one frame; returns its length, or 0 when its end has not come yet. */
static size_t take_frame(struct wsclient *client, const struct wsclient_events *events,
	void *member, const unsigned char *bytes, size_t len)
{
	if (len < 2)
		return 0;
	size_t head = 2, size = bytes[1] & 0x7f;
	if (size == LENGTH_16) {
		if (len < 4)
			return 0;
		head = 4;
		size = (size_t)bytes[2] << 8 | bytes[3];
	} else if (size == LENGTH_64) {
		errno = EMSGSIZE;
		crowd_die("frame");
	}
	if (len < head + size)
		return 0;
	unsigned opcode = bytes[0] & 0x0f;
	if (opcode == OPCODE_TEXT)
		events->text(member, (const char *)bytes + head, size);
	else if (opcode == OPCODE_PING && size <= CONTROL_MAX)
		pong(client, bytes + head, size);
	return head + size;
}

/* Returns the answer's length, or 0 when its end has not come yet. */
static size_t take_answer(struct wsclient *client, const struct wsclient_events *events,
	void *member, const unsigned char *bytes, size_t len)
{
	const unsigned char *end = memmem(bytes, len, "\r\n\r\n", 4);
	if (!end)
		return 0;
	client->upgraded = memcmp(bytes, "HTTP/1.1 101", 12) == 0;
	if (!client->upgraded)
		fprintf(stderr, "%s: refused: %.*s\n", program_invocation_short_name,
			(int)(end - bytes), (const char *)bytes);
	else if (events->upgraded)
		events->upgraded(member);
	return (size_t)(end - bytes) + 4;
}

static void keep_rest(struct wsclient *client, const unsigned char *bytes, size_t len)
{
	free(client->rest);
	client->rest = NULL;
	client->rest_len = len;
	if (!len)
		return;
	client->rest = malloc(len);
	if (!client->rest)
		crowd_die("rest");
	memcpy(client->rest, bytes, len);
}

enum wsclient_state wsclient_read(
	struct wsclient *client, const struct wsclient_events *events, void *member)
{
	size_t len = client->rest_len, taken = 0, frame;
	if (len > 0)
		memcpy(room, client->rest, len);
	ssize_t got = recv(client->fd, room + len, ROOM - len, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return WSCLIENT_OPEN;
	if (got <= 0)
		return WSCLIENT_ENDED;
	if (events->arrived)
		events->arrived(member);
	len += (size_t)got;
	if (!client->upgraded) {
		taken = take_answer(client, events, member, room, len);
		if (taken && !client->upgraded)
			return WSCLIENT_REFUSED;
	}
	while (client->upgraded &&
		(frame = take_frame(client, events, member, room + taken, len - taken)) > 0)
		taken += frame;
	keep_rest(client, room + taken, len - taken);
	return WSCLIENT_OPEN;
}
