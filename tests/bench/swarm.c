/* A swarm of WebSocket clients in one thread, to see whether all of them get all.
 *
 * Client i has the uid "u<i % uids>". Every row it is sent has a number n in its data, counting
 * from 1 per uid, and maybe a time t (microseconds since 1970) at which it was written. It prints
 * {"connected":N} once all are in, and at the end what was lost, repeated or out of order.
 *
 *     swarm HOST PORT CLIENTS UIDS EVENTS_PER_CLIENT TIMEOUT_SECONDS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (4U << 20) /* longest run of bytes looked at in one piece */
#define MAX_SAMPLES 2000000
/* Per socket. With the kernel's own megabytes, times thousands, in front of this one thread, a
 * ping is read minutes after it has come. */
#define RECEIVE_BUFFER (64 << 10)

struct member {
	int fd;
	bool upgraded, done;
	unsigned char *rest; /* the beginning of a frame whose end has not come */
	size_t rest_len;
	int64_t next; /* the n that is to come */
	int64_t last_id;
};

static struct {
	int64_t received, gaps, repeats, disorder, closed;
	unsigned close_code; /* the latest */
	size_t done, n_samples;
	uint32_t *samples;
} seen;

static int64_t wanted;
static unsigned char room[ROOM + 1];

static int64_t now_us(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "swarm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The whole number behind a key, or -1. */
static int64_t number(const char *text, size_t len, const char *key)
{
	const char *at = memmem(text, len, key, strlen(key));
	return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

static void sample(int64_t written)
{
	int64_t late = now_us(CLOCK_REALTIME) - written;
	if (written >= 0 && seen.n_samples < MAX_SAMPLES)
		seen.samples[seen.n_samples++] = late > 0 ? (uint32_t)late : 0;
}

static void take_message(struct member *member, const char *text, size_t len)
{
	const char *data = memmem(text, len, "\"data\":", 7);
	if (!data)
		return;
	size_t data_len = len - (size_t)(data - text);
	int64_t id = number(text, len, "\"id\":");
	int64_t n = number(data, data_len, "\"n\":");
	if (n < 0)
		return;
	sample(number(data, data_len, "\"t\":"));
	seen.received++;
	seen.disorder += id <= member->last_id;
	member->last_id = id;
	if (n < member->next) {
		seen.repeats++;
		return;
	}
	seen.gaps += n - member->next;
	member->next = n + 1;
	if (!member->done && n >= wanted) {
		member->done = true;
		seen.done++;
	}
}

/* An all-zero mask leaves the payload as it is. */
static void pong(const struct member *member, const unsigned char *payload, size_t len)
{
	unsigned char frame[6 + 125] = {0x8a, (unsigned char)(0x80 | len)};
	memcpy(frame + 6, payload, len);
	if (write(member->fd, frame, 6 + len) < 0)
		seen.closed++;
}

/* Takes one frame; returns its length, or 0 when its end has not come yet. */
static size_t take_frame(struct member *member, unsigned char *bytes, size_t len)
{
	if (len < 2)
		return 0;
	size_t head = 2, size = bytes[1] & 0x7f;
	if (size == 126) {
		if (len < 4)
			return 0;
		head = 4;
		size = (size_t)bytes[2] << 8 | bytes[3];
	}
	if (len < head + size)
		return 0;
	unsigned opcode = bytes[0] & 0x0f;
	if (opcode == 1) {
		/* Numbers are read up to the first byte that is no digit: end the text with one. */
		unsigned char after = bytes[head + size];
		bytes[head + size] = '\0';
		take_message(member, (char *)bytes + head, size);
		bytes[head + size] = after;
	} else if (opcode == 9) {
		pong(member, bytes + head, size);
	} else if (opcode == 8 && size >= 2) {
		seen.close_code = (unsigned)bytes[head] << 8 | bytes[head + 1];
	}
	return head + size;
}

static size_t take_bytes(struct member *member, unsigned char *bytes, size_t len)
{
	size_t taken = 0, frame;
	if (!member->upgraded) {
		unsigned char *end = memmem(bytes, len, "\r\n\r\n", 4);
		if (!end)
			return 0;
		if (memcmp(bytes, "HTTP/1.1 101", 12) != 0) {
			fprintf(stderr, "swarm: refused: %.*s\n", (int)(end - bytes),
				(char *)bytes);
			exit(1);
		}
		member->upgraded = true;
		taken = (size_t)(end - bytes) + 4;
	}
	while ((frame = take_frame(member, bytes + taken, len - taken)) > 0)
		taken += frame;
	return taken;
}

static void readable(struct member *member)
{
	size_t len = member->rest_len;
	if (len > 0)
		memcpy(room, member->rest, len);
	ssize_t got = recv(member->fd, room + len, ROOM - len, MSG_DONTWAIT);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		seen.closed++;
		close(member->fd);
		member->fd = -1;
		return;
	}
	len += (size_t)got;
	size_t taken = take_bytes(member, room, len);
	free(member->rest);
	member->rest_len = len - taken;
	member->rest = member->rest_len ? malloc(member->rest_len) : NULL;
	if (member->rest)
		memcpy(member->rest, room + taken, member->rest_len);
}

static void dial(struct member *member, const struct sockaddr_in *to, size_t uid)
{
	char asked[512];
	int unread = RECEIVE_BUFFER;
	member->next = 1;
	member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(member->fd, SOL_SOCKET, SO_RCVBUF, &unread, sizeof(unread));
	if (member->fd < 0 || connect(member->fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		die("connect");
	int len = snprintf(asked, sizeof(asked),
		"GET /?uid=u%zu HTTP/1.1\r\nHost: swarm\r\nConnection: Upgrade\r\n"
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		uid);
	if (write(member->fd, asked, (size_t)len) != len)
		die("write");
	while (!member->upgraded) {
		ssize_t got = recv(member->fd, room + member->rest_len, 1, 0);
		if (got <= 0)
			die("handshake");
		member->rest_len += (size_t)got;
		if (take_bytes(member, room, member->rest_len) > 0)
			member->rest_len = 0;
	}
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static uint32_t quantile(double q)
{
	return seen.n_samples ? seen.samples[(size_t)((double)(seen.n_samples - 1) * q)] : 0;
}

static void report(const struct member *members, size_t n, int64_t began)
{
	int64_t missing = 0;
	for (size_t i = 0; i < n; i++)
		missing += members[i].next <= wanted ? wanted + 1 - members[i].next : 0;
	qsort(seen.samples, seen.n_samples, sizeof(*seen.samples), by_size);
	printf("{\"clients\":%zu,\"received\":%" PRId64 ",\"missing\":%" PRId64 ",\"gaps\":%" PRId64
	       ",\"repeats\":%" PRId64 ",\"disorder\":%" PRId64 ",\"closed\":%" PRId64
	       ",\"close_code\":%u"
	       ",\"seconds\":%.3f,\"p50_us\":%u,\"p99_us\":%u}\n",
		n, seen.received, missing, seen.gaps, seen.repeats, seen.disorder, seen.closed,
		seen.close_code, (double)(now_us(CLOCK_MONOTONIC) - began) / 1e6, quantile(0.5),
		quantile(0.99));
}

static void listen_all(int epoll, size_t n, int64_t deadline)
{
	struct epoll_event events[256];
	while (seen.done < n && now_us(CLOCK_MONOTONIC) < deadline) {
		int ready = epoll_wait(epoll, events, 256, 100);
		for (int i = 0; i < ready; i++)
			readable(events[i].data.ptr);
	}
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fputs("usage: swarm HOST PORT CLIENTS UIDS EVENTS_PER_CLIENT TIMEOUT_SECONDS\n",
			stderr);
		return 64;
	}
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
	size_t n = strtoul(argv[3], NULL, 10), uids = strtoul(argv[4], NULL, 10);
	wanted = strtoll(argv[5], NULL, 10);
	if (inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || n == 0 || uids == 0)
		die("arguments");
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	struct member *members = calloc(n, sizeof(*members));
	seen.samples = malloc(MAX_SAMPLES * sizeof(*seen.samples));
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!members || !seen.samples || epoll < 0)
		die("start");
	for (size_t i = 0; i < n; i++) {
		dial(&members[i], &to, i % uids);
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &members[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, members[i].fd, &event);
	}
	printf("{\"connected\":%zu}\n", n);
	fflush(stdout);
	int64_t began = now_us(CLOCK_MONOTONIC);
	listen_all(epoll, n, began + strtoll(argv[6], NULL, 10) * 1000000);
	report(members, n, began);
	return 0;
}
