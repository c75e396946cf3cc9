/* A swarm of WebSocket clients in one thread, to see whether all of them get all.
 *
 * Client i has the uid "u<i % uids>". Every row it is sent has a number n in its data, counting
 * from 1 per uid, and maybe a time t (microseconds since 1970) at which it was written. It prints
 * {"connected":N} once all are in, and at the end what was lost, repeated or out of order.
 *
 *     swarm HOST PORT CLIENTS UIDS EVENTS_PER_CLIENT TIMEOUT_SECONDS
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "crowd.h"
#include "wsclient.h"

#define MAX_SAMPLES 2000000
/* Per socket. With the kernel's own megabytes, times thousands, in front of this one thread, a
 * ping is read minutes after it has come. */
#define RECEIVE_BUFFER (64 << 10)

struct member {
	struct wsclient socket;
	bool done;
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

static void sample(int64_t written)
{
	int64_t late = crowd_now_us(CLOCK_REALTIME) - written;
	if (written >= 0 && seen.n_samples < MAX_SAMPLES)
		seen.samples[seen.n_samples++] = late > 0 ? (uint32_t)late : 0;
}

static void take_message(void *taker, const char *text, size_t len)
{
	struct member *member = taker;
	const char *data = memmem(text, len, "\"data\":", 7);
	if (!data)
		return;
	size_t data_len = len - (size_t)(data - text);
	int64_t id = crowd_number(text, len, "\"id\":");
	int64_t n = crowd_number(data, data_len, "\"n\":");
	if (n < 0)
		return;
	sample(crowd_number(data, data_len, "\"t\":"));
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

static void note_code(void *member, unsigned code)
{
	(void)member;
	seen.close_code = code;
}

static void readable(struct member *member)
{
	static const struct wsclient_events events = {
		.text = take_message,
		.closing = note_code,
	};
	enum wsclient_state state = wsclient_read(&member->socket, &events, member);
	if (state == WSCLIENT_REFUSED)
		exit(1);
	if (state == WSCLIENT_ENDED) {
		seen.closed++;
		wsclient_close(&member->socket);
	}
}

static void await(const struct member *member, short what)
{
	struct pollfd fd = {.fd = member->socket.fd, .events = what};
	poll(&fd, 1, -1);
}

static void enter(struct member *member, const struct wsclient_manner *manner, size_t uid)
{
	char query[32];
	member->next = 1;
	if (!wsclient_dial(&member->socket, manner))
		crowd_die("connect");
	await(member, POLLOUT);
	snprintf(query, sizeof(query), "uid=u%zu", uid);
	if (!wsclient_ask(&member->socket, query, NULL))
		crowd_die("handshake");
	while (!member->socket.upgraded && member->socket.fd >= 0) {
		await(member, POLLIN);
		readable(member);
	}
	if (!member->socket.upgraded)
		crowd_die("handshake");
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
		seen.close_code, (double)(crowd_now_us(CLOCK_MONOTONIC) - began) / 1e6,
		quantile(0.5), quantile(0.99));
}

static void listen_all(int epoll, size_t n, int64_t deadline)
{
	struct epoll_event events[256];
	while (seen.done < n && crowd_now_us(CLOCK_MONOTONIC) < deadline) {
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
	const struct wsclient_manner manner = {
		.to = crowd_address(argv[1], argv[2]),
		.receive_buffer = RECEIVE_BUFFER,
	};
	size_t n = strtoul(argv[3], NULL, 10), uids = strtoul(argv[4], NULL, 10);
	wanted = strtoll(argv[5], NULL, 10);
	if (n == 0 || uids == 0)
		crowd_die("arguments");
	crowd_raise_files();

	struct member *members = calloc(n, sizeof(*members));
	seen.samples = malloc(MAX_SAMPLES * sizeof(*seen.samples));
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!members || !seen.samples || epoll < 0)
		crowd_die("start");
	for (size_t i = 0; i < n; i++) {
		enter(&members[i], &manner, i % uids);
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &members[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, members[i].socket.fd, &event);
	}
	printf("{\"connected\":%zu}\n", n);
	fflush(stdout);
	int64_t began = crowd_now_us(CLOCK_MONOTONIC);
	listen_all(epoll, n, began + strtoll(argv[6], NULL, 10) * 1000000);
	report(members, n, began);
	return 0;
}
