/* Thousands of clients on pgcast.v1 that come back at once, with their cursors, when they lose
 * their connection: how long until all are live again, and did they get all.
 *
 *     storm HOST PORT CLIENTS UIDS
 *
 * Client i has the uid "u<i % uids>"; the rows of a uid are numbered from 1, in their data, as n.
 * It prints a line of JSON each time that all are live, and a last one when all have got a message
 * of type "end". A client is live when a cursor has come behind its hello. */
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

#define ROOM (1U << 20) /* longest run of bytes looked at in one piece */
#define IN_FLIGHT 512	/* handshakes at a time: a listener's queue is short */
#define CURSOR 513
#define PAUSE_US 20000 /* before a refused connection is tried again */

enum state { AWAY, DIALING, ASKING, GREETED, LIVE };

struct member {
	int fd;
	enum state state;
	bool ended, connected; /* connected: was live once */
	char cursor[CURSOR];
	int64_t next, again_us; /* the n that is to come; not to be tried before */
	unsigned char *rest;
	size_t rest_len;
};

static struct {
	struct sockaddr_in to;
	struct member *members;
	size_t n, uids, live, in_flight, ended;
	int64_t lost_us; /* when the first one lost its connection; 0: none has */
	int64_t received, gaps, repeats, resumed, resets;
	int epoll;
} storm;

static unsigned char room[ROOM + 1];

static int64_t now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- one client's states ---- */

static bool in_flight(enum state state)
{
	return state == DIALING || state == ASKING || state == GREETED;
}

static void report_live(void)
{
	if (storm.live < storm.n)
		return;
	printf("{\"live\":%zu,\"ms\":%" PRId64 ",\"resumed\":%" PRId64 ",\"resets\":%" PRId64 "}\n",
		storm.live, storm.lost_us ? (now_us() - storm.lost_us) / 1000 : 0, storm.resumed,
		storm.resets);
	fflush(stdout);
	storm.lost_us = storm.resumed = 0;
}

static void move(struct member *member, enum state to)
{
	enum state from = member->state;
	member->state = to;
	storm.in_flight += (size_t)in_flight(to) - (size_t)in_flight(from);
	storm.live += (size_t)(to == LIVE) - (size_t)(from == LIVE);
	if (from == LIVE && !storm.lost_us)
		storm.lost_us = now_us();
	if (to == LIVE && from != LIVE)
		report_live();
}

static void lose(struct member *member)
{
	close(member->fd);
	member->fd = -1;
	free(member->rest);
	member->rest = NULL;
	member->rest_len = 0;
	member->again_us = now_us() + PAUSE_US;
	move(member, AWAY);
}

static void watch(struct member *member, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = member};
	if (epoll_ctl(storm.epoll, operation, member->fd, &event) < 0)
		die("epoll_ctl");
}

static void dial(struct member *member)
{
	member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (member->fd < 0)
		die("socket");
	move(member, DIALING);
	if (connect(member->fd, (struct sockaddr *)&storm.to, sizeof(storm.to)) < 0 &&
		errno != EINPROGRESS) {
		lose(member);
		return;
	}
	watch(member, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ask(struct member *member)
{
	char asked[1024];
	size_t uid = (size_t)(member - storm.members) % storm.uids;
	int len = snprintf(asked, sizeof(asked),
		"GET /?uid=u%zu%s%s HTTP/1.1\r\nHost: storm\r\nConnection: Upgrade\r\n"
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Protocol: pgcast.v1\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		uid, *member->cursor ? "&since=" : "", member->cursor);
	if (write(member->fd, asked, (size_t)len) != len) {
		lose(member);
		return;
	}
	move(member, ASKING);
	watch(member, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- what arrives ---- */

static bool has(const char *text, size_t len, const char *what)
{
	return memmem(text, len, what, strlen(what));
}

static void keep_cursor(struct member *member, const char *text, size_t len)
{
	static const char key[] = "\"cursor\":\"";
	const char *at = memmem(text, len, key, strlen(key));
	if (!at)
		return;
	at += strlen(key);
	size_t size = strcspn(at, "\"");
	if (size >= CURSOR)
		die("cursor");
	memcpy(member->cursor, at, size);
	member->cursor[size] = '\0';
}

static void take_control(struct member *member, const char *text, size_t len)
{
	bool hello = has(text, len, "\"op\":\"hello\"");
	storm.resets += has(text, len, "\"op\":\"reset\"");
	keep_cursor(member, text, len);
	if (hello && has(text, len, "\"resumed\":true"))
		storm.resumed++;
	if (hello)
		move(member, GREETED);
	/* Who begins without a cursor is live at once. */
	bool at_once = hello && !has(text, len, "\"resumed\":true");
	if (at_once || (!hello && has(text, len, "\"op\":\"cursor\"")))
		move(member, LIVE);
}

static void take_row(struct member *member, const char *text, size_t len)
{
	const char *at = memmem(text, len, "\"n\":", 4);
	if (!at)
		return;
	int64_t n = strtoll(at + 4, NULL, 10);
	storm.received++;
	if (n < member->next) {
		storm.repeats++;
		return;
	}
	storm.gaps += n - member->next;
	member->next = n + 1;
}

static void take_text(struct member *member, const char *text, size_t len)
{
	if (has(text, len < 20 ? len : 20, "\"type\":\"pgcast\"")) {
		take_control(member, text, len);
	} else if (has(text, len < 20 ? len : 20, "\"type\":\"end\"")) {
		storm.ended += !member->ended;
		member->ended = true;
	} else {
		take_row(member, text, len);
	}
}

/* An all-zero mask leaves the payload as it is. */
static void pong(const struct member *member, const unsigned char *payload, size_t len)
{
	unsigned char frame[6 + 125] = {0x8a, (unsigned char)(0x80 | len)};
	memcpy(frame + 6, payload, len);
	if (write(member->fd, frame, 6 + len) < 0)
		perror("storm: pong");
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
	unsigned char *after = bytes + head + size, kept = *after;
	*after = '\0';
	if ((bytes[0] & 0x0f) == 1)
		take_text(member, (char *)bytes + head, size);
	else if ((bytes[0] & 0x0f) == 9)
		pong(member, bytes + head, size);
	*after = kept;
	return head + size;
}

static size_t take_bytes(struct member *member, unsigned char *bytes, size_t len)
{
	size_t taken = 0, frame;
	if (member->state == ASKING && len > 4 && memcmp(bytes, "HTTP", 4) == 0) {
		unsigned char *end = memmem(bytes, len, "\r\n\r\n", 4);
		if (!end)
			return 0;
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
		lose(member);
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

/* ---- all of them ---- */

static void dial_some(void)
{
	static size_t at;
	int64_t now = now_us();
	for (size_t i = 0; i < storm.n && storm.in_flight < IN_FLIGHT; i++) {
		struct member *member = &storm.members[at++ % storm.n];
		if (member->state == AWAY && member->again_us <= now)
			dial(member);
	}
}

static void run(void)
{
	struct epoll_event events[256];
	while (storm.ended < storm.n) {
		if (storm.live + storm.in_flight < storm.n)
			dial_some();
		int ready = epoll_wait(storm.epoll, events, 256, 10);
		for (int i = 0; i < ready; i++) {
			struct member *member = events[i].data.ptr;
			if (member->state == DIALING && (events[i].events & (EPOLLERR | EPOLLHUP)))
				lose(member);
			else if (member->state == DIALING)
				ask(member);
			else
				readable(member);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fputs("usage: storm HOST PORT CLIENTS UIDS\n", stderr);
		return 64;
	}
	storm.to = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
	storm.n = strtoul(argv[3], NULL, 10);
	storm.uids = strtoul(argv[4], NULL, 10);
	if (inet_pton(AF_INET, argv[1], &storm.to.sin_addr) != 1 || !storm.n || !storm.uids)
		die("arguments");
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	storm.members = calloc(storm.n, sizeof(*storm.members));
	storm.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!storm.members || storm.epoll < 0)
		die("start");
	for (size_t i = 0; i < storm.n; i++)
		storm.members[i] = (struct member){.fd = -1, .next = 1};
	run();
	printf("{\"received\":%" PRId64 ",\"gaps\":%" PRId64 ",\"repeats\":%" PRId64 "}\n",
		storm.received, storm.gaps, storm.repeats);
	return 0;
}
