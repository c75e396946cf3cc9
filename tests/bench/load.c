/* The benches' client: thousands of WebSocket connections in one thread, which must cost far less
 * than any server, and which trusts none: every row's number must be the one that is to come.
 *
 *     load HOST PORT CLIENTS UIDS [RECEIVE_BUFFER [CURSOR]]
 *
 * Client i has the uid "u<i % uids>", and its kernel buffer so many bytes (0: as the system sets
 * it). With a cursor, clients resume from there. Rows have a number n in
 * their data, which counts from 1 per uid, and a time t (microseconds since 1970) at which they
 * were written. When all are connected it says so, and then reads commands from standard input, a
 * line each:
 *
 *     expect EVENTS SECONDS     waits until each client has so many more, and reports
 *     arrivals EVENTS SECONDS   the same, with the time at which each came, for one client
 *     first EVENTS SECONDS      waits for the first client only; the others are to get nothing
 *
 * It prints a line of JSON for each, and ends with its standard input.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "crowd.h"
#include "wsclient.h"

#define SAMPLES 4	     /* latencies noted per read */
#define IN_FLIGHT 128	     /* handshakes at a time */
#define LATENCIES (4U << 20) /* buckets of a microsecond; the last one has all later ones */
#define ARRIVALS 100000
#define SILENCE 8000000 /* microseconds */

struct member {
	struct wsclient socket;
	uint32_t uid;
	int64_t next;	/* the n that is to come */
	int64_t wanted; /* the n at which it has all; 0 at first */
	size_t hint;	/* where in a message n was last time */
};

static struct {
	int64_t received, sampled, gaps, repeats, done, first_us, last_us;
	uint32_t *latencies;
	size_t buckets; /* of them, that are in use */
} seen;

static struct {
	struct wsclient_manner manner;
	const char *cursor;
	struct member *members;
	size_t n, uids, dialed, open, closed;
	size_t awaited; /* so many members, from the first on, are to get something */
	int64_t deadline, cpu_us;
	bool expecting, list_arrivals;
	int64_t *arrivals;
	int epoll;
} load;

static int64_t read_us; /* when the bytes that are looked at had come */
static int to_sample;	/* of them, whose latency is noted */

/* ---- messages ---- */

/* Where n is. Rows look alike: nearly always it is where it was the last time. */
static const char *find_n(struct member *member, const char *text, size_t len)
{
	if (member->hint + 4 <= len && !memcmp(text + member->hint, "\"n\":", 4))
		return text + member->hint + 4;
	const char *at = memmem(text, len, "\"n\":", 4);
	if (!at)
		return NULL;
	member->hint = (size_t)(at - text);
	return at + 4;
}

/* t stands behind n. */
static void note_latency(const char *at, const char *end)
{
	int64_t written;
	if (end - at < 5 || memcmp(at, ",\"t\":", 5) != 0)
		return;
	crowd_digits(at + 5, end, &written);
	int64_t late = read_us - written;
	late = late < 0 ? 0 : late;
	size_t bucket = late < LATENCIES ? (size_t)late : LATENCIES - 1;
	seen.latencies[bucket]++;
	seen.buckets = bucket < seen.buckets ? seen.buckets : bucket + 1;
	seen.sampled++;
}

static void take_message(void *taker, const char *text, size_t len)
{
	struct member *member = taker;
	int64_t n;
	const char *at = find_n(member, text, len);
	if (!at)
		return;
	at = crowd_digits(at, text + len, &n);
	if (to_sample > 0) {
		to_sample--;
		note_latency(at, text + len);
	}
	seen.received++;
	if (n < member->next) {
		seen.repeats++;
		return;
	}
	seen.gaps += n - member->next;
	if (member->next <= member->wanted && n >= member->wanted)
		seen.done++;
	member->next = n + 1;
	if (load.list_arrivals && seen.received <= ARRIVALS)
		load.arrivals[seen.received - 1] = read_us;
}

/* ---- the connection ---- */

static void note_upgraded(void *member)
{
	(void)member;
	load.open++;
}

static void note_arrival(void *member)
{
	(void)member;
	read_us = crowd_now_us(CLOCK_REALTIME);
	to_sample = SAMPLES;
}

static void readable(struct member *member)
{
	static const struct wsclient_events events = {
		.upgraded = note_upgraded,
		.arrived = note_arrival,
		.text = take_message,
	};
	int64_t before = seen.received;
	enum wsclient_state state = wsclient_read(&member->socket, &events, member);
	if (state == WSCLIENT_REFUSED)
		exit(1);
	if (state == WSCLIENT_ENDED) {
		load.closed++;
		wsclient_close(&member->socket);
	}
	if (seen.received == before)
		return;
	seen.last_us = read_us;
	seen.first_us = seen.first_us ? seen.first_us : read_us;
}

/* ---- connecting ---- */

static void watch(struct member *member, int operation, uint32_t what)
{
	struct epoll_event event = {.events = what, .data.ptr = member};
	epoll_ctl(load.epoll, operation, member->socket.fd, &event);
}

static void dial(struct member *member, size_t uid)
{
	*member = (struct member){.uid = (uint32_t)uid, .next = 1};
	if (!wsclient_dial(&member->socket, &load.manner))
		crowd_die("connect");
	watch(member, EPOLL_CTL_ADD, EPOLLOUT);
}

static void dial_more(void)
{
	for (; load.dialed < load.n && load.dialed - load.open < IN_FLIGHT; load.dialed++)
		dial(&load.members[load.dialed], load.dialed % load.uids);
}

static void ask(struct member *member)
{
	char query[1024];
	snprintf(query, sizeof(query), "uid=u%" PRIu32 "%s%s", member->uid,
		load.cursor ? "&since=" : "", load.cursor ? load.cursor : "");
	if (!wsclient_ask(&member->socket, query, NULL))
		crowd_die("handshake");
	watch(member, EPOLL_CTL_MOD, EPOLLIN);
}

/* ---- reports ---- */

static int64_t quantile(double q)
{
	int64_t left = (int64_t)((double)seen.sampled * q);
	for (size_t i = 0; i < seen.buckets; i++)
		if ((left -= seen.latencies[i]) < 0)
			return (int64_t)i;
	return 0;
}

static void print_arrivals(void)
{
	printf(",\"arrivals\":[");
	for (int64_t i = 0; i < seen.received && i < ARRIVALS; i++)
		printf("%s%" PRId64, i ? "," : "", load.arrivals[i]);
	printf("]");
}

static void report(void)
{
	int64_t missing = 0;
	for (size_t i = 0; i < load.n; i++)
		if (load.members[i].next <= load.members[i].wanted)
			missing += load.members[i].wanted + 1 - load.members[i].next;
	printf("{\"received\":%" PRId64 ",\"missing\":%" PRId64 ",\"gaps\":%" PRId64
	       ",\"repeats\":%" PRId64 ",\"closed\":%zu,\"first_us\":%" PRId64
	       ",\"last_us\":%" PRId64 ",\"p50_us\":%" PRId64 ",\"p99_us\":%" PRId64
	       ",\"cpu_us\":%" PRId64,
		seen.received, missing, seen.gaps, seen.repeats, load.closed, seen.first_us,
		seen.last_us, quantile(0.5), quantile(0.99),
		crowd_now_us(CLOCK_PROCESS_CPUTIME_ID) - load.cpu_us);
	if (load.list_arrivals)
		print_arrivals();
	printf("}\n");
	fflush(stdout);
	load.expecting = load.list_arrivals = false;
}

static void reset_seen(void)
{
	uint32_t *latencies = seen.latencies;
	memset(latencies, 0, seen.buckets * sizeof(*latencies));
	memset(&seen, 0, sizeof(seen));
	seen.latencies = latencies;
}

static void expect(size_t members, int64_t events, int64_t seconds)
{
	reset_seen();
	load.awaited = members;
	for (size_t i = 0; i < members; i++) {
		struct member *member = &load.members[i];
		member->wanted += events;
		seen.done += member->next > member->wanted; /* already before the command */
	}
	load.deadline = crowd_now_us(CLOCK_MONOTONIC) + seconds * 1000000;
	load.cpu_us = crowd_now_us(CLOCK_PROCESS_CPUTIME_ID);
	load.expecting = true;
	printf("{\"expecting\":%" PRId64 "}\n", events);
	fflush(stdout);
}

/* The bench sends one line, and waits for its answer before the next. */
static bool command(void)
{
	char line[128], verb[16];
	int64_t events, seconds;
	ssize_t got = read(STDIN_FILENO, line, sizeof(line) - 1);
	if (got <= 0)
		return false;
	line[got] = '\0';
	if (sscanf(line, "%15s %" SCNd64 " %" SCNd64, verb, &events, &seconds) != 3) {
		fprintf(stderr, "load: unknown command: %s", line);
		exit(64);
	}
	load.list_arrivals = strcmp(verb, "arrivals") == 0;
	expect(strcmp(verb, "first") == 0 ? 1 : load.n, events, seconds);
	return true;
}

/* ---- the loop ---- */

/* Returns false when standard input has ended. */
static bool turn(void)
{
	struct epoll_event events[256];
	int n = epoll_wait(load.epoll, events, 256, 100);
	for (int i = 0; i < n; i++) {
		struct member *member = events[i].data.ptr;
		if (!member) {
			if (!command())
				return false;
		} else if (events[i].events & EPOLLOUT) {
			ask(member);
		} else if (member->socket.fd >= 0) {
			readable(member);
		}
	}
	return true;
}

static void connect_all(void)
{
	int64_t began = crowd_now_us(CLOCK_MONOTONIC);
	while (load.open < load.n && !load.closed) {
		dial_more();
		turn();
	}
	printf("{\"connected\":%zu,\"seconds\":%.6f,\"cpu_us\":%" PRId64 "}\n", load.open,
		(double)(crowd_now_us(CLOCK_MONOTONIC) - began) / 1e6,
		crowd_now_us(CLOCK_PROCESS_CPUTIME_ID));
	fflush(stdout);
}

/* Later messages are not expected. */
static bool fell_silent(void)
{
	return seen.last_us && crowd_now_us(CLOCK_REALTIME) - seen.last_us > SILENCE;
}

static void serve(void)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(load.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	while (turn()) {
		bool over = seen.done + (int64_t)load.closed >= (int64_t)load.awaited ||
			    crowd_now_us(CLOCK_MONOTONIC) > load.deadline || fell_silent();
		if (load.expecting && over)
			report();
	}
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc > 7) {
		fputs("usage: load HOST PORT CLIENTS UIDS [RECEIVE_BUFFER [CURSOR]]\n", stderr);
		return 64;
	}
	/* Thousands of ports are free at once when it ends. */
	load.manner = (struct wsclient_manner){
		.to = crowd_address(argv[1], argv[2]),
		.receive_buffer = argc > 5 ? atoi(argv[5]) : 0,
		.reset = true,
	};
	load.cursor = argc > 6 ? argv[6] : NULL;
	load.n = strtoul(argv[3], NULL, 10);
	load.uids = strtoul(argv[4], NULL, 10);
	if (!load.n || !load.uids)
		crowd_die("arguments");
	crowd_raise_files();

	load.members = calloc(load.n, sizeof(*load.members));
	load.arrivals = calloc(ARRIVALS, sizeof(*load.arrivals));
	seen.latencies = calloc(LATENCIES, sizeof(*seen.latencies));
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!load.members || !load.arrivals || !seen.latencies || load.epoll < 0)
		crowd_die("start");
	connect_all();
	serve();
	return 0;
}
