/* Thousands of clients on pgcast.v1 that come back at once, with their cursors, when they lose
 * their connection: how long until all are live again, and did they get all.
 *
 *     storm HOST PORT CLIENTS UIDS
 *
 * Client i has the uid "u<i % uids>"; the rows of a uid are numbered from 1, in their data, as n.
 * It prints a line of JSON each time that all are live, and a last one when all have got a message
 * of type "end". A client is live when a cursor has come behind its hello. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "crowd.h"
#include "wsclient.h"

#define IN_FLIGHT 512 /* handshakes at a time: a listener's queue is short */
#define CURSOR 513
#define PAUSE_US 20000 /* before a refused connection is tried again */

enum state { AWAY, DIALING, ASKING, HELLO, LIVE };

struct member {
	struct wsclient socket;
	enum state state;
	bool ended;
	char cursor[CURSOR];
	int64_t next, again_us; /* the n that is to come; not to be tried before */
};

static struct {
	struct wsclient_manner manner;
	struct member *members;
	size_t n, uids, live, in_flight, ended;
	int64_t lost_us; /* when the first one lost its connection; 0: none has */
	int64_t received, gaps, repeats, resumed, resets;
	int epoll;
} storm;

static int64_t now_us(void)
{
	return crowd_now_us(CLOCK_MONOTONIC);
}

/* ---- one client's states ---- */

static bool in_flight(enum state state)
{
	return state == DIALING || state == ASKING || state == HELLO;
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
	wsclient_close(&member->socket);
	member->again_us = now_us() + PAUSE_US;
	move(member, AWAY);
}

static void watch(struct member *member, int operation, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = member};
	if (epoll_ctl(storm.epoll, operation, member->socket.fd, &event) < 0)
		crowd_die("epoll_ctl");
}

static void dial(struct member *member)
{
	move(member, DIALING);
	if (!wsclient_dial(&member->socket, &storm.manner)) {
		lose(member);
		return;
	}
	watch(member, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ask(struct member *member)
{
	char query[CURSOR + 64];
	size_t uid = (size_t)(member - storm.members) % storm.uids;
	snprintf(query, sizeof(query), "uid=u%zu%s%s", uid, *member->cursor ? "&since=" : "",
		member->cursor);
	if (!wsclient_ask(&member->socket, query, "pgcast.v1")) {
		lose(member);
		return;
	}
	move(member, ASKING);
	watch(member, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- messages ---- */

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
	const char *end = memchr(at, '"', len - (size_t)(at - text));
	size_t size = end ? (size_t)(end - at) : CURSOR;
	if (size >= CURSOR)
		crowd_die("cursor");
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
		move(member, HELLO);
	/* Without a cursor a client is live at once. */
	bool at_once = hello && !has(text, len, "\"resumed\":true");
	if (at_once || (!hello && has(text, len, "\"op\":\"cursor\"")))
		move(member, LIVE);
}

static void take_row(struct member *member, const char *text, size_t len)
{
	int64_t n = crowd_number(text, len, "\"n\":");
	if (n < 0)
		return;
	storm.received++;
	if (n < member->next) {
		storm.repeats++;
		return;
	}
	storm.gaps += n - member->next;
	member->next = n + 1;
}

static void take_text(void *taker, const char *text, size_t len)
{
	struct member *member = taker;
	if (has(text, len < 20 ? len : 20, "\"type\":\"pgcast\"")) {
		take_control(member, text, len);
	} else if (has(text, len < 20 ? len : 20, "\"type\":\"end\"")) {
		storm.ended += !member->ended;
		member->ended = true;
	} else {
		take_row(member, text, len);
	}
}

static void readable(struct member *member)
{
	static const struct wsclient_events events = {.text = take_text};
	if (wsclient_read(&member->socket, &events, member) != WSCLIENT_OPEN)
		lose(member);
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
	storm.manner.to = crowd_address(argv[1], argv[2]);
	storm.n = strtoul(argv[3], NULL, 10);
	storm.uids = strtoul(argv[4], NULL, 10);
	if (!storm.n || !storm.uids)
		crowd_die("arguments");
	crowd_raise_files();
	storm.members = calloc(storm.n, sizeof(*storm.members));
	storm.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!storm.members || storm.epoll < 0)
		crowd_die("start");
	for (size_t i = 0; i < storm.n; i++)
		storm.members[i] = (struct member){.socket.fd = -1, .next = 1};
	run();
	printf("{\"received\":%" PRId64 ",\"gaps\":%" PRId64 ",\"repeats\":%" PRId64 "}\n",
		storm.received, storm.gaps, storm.repeats);
	return 0;
}
