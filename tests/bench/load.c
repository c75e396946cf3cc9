/* The benches' client: thousands of WebSocket connections in one thread, which must cost far less
 * than any server, and which trusts none: every row's number must be the one that is to come.
 *
 *     load HOST PORT CLIENTS UIDS
 *
 * Client i has the uid "u<i % uids>". Rows have a number n in their data, which counts from 1 per
 * uid, and a time t (microseconds since 1970) at which they were written. When all are connected it
 * says so, and then does what it is told on standard input, a line each:
 *
 *     expect EVENTS SECONDS     waits until each client has so many more, and reports
 *     arrivals EVENTS SECONDS   the same, with the time at which each came, for one client
 *
 * It prints a line of JSON for each, and ends with its standard input.
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

#define ROOM (128U << 10)    /* longest run of bytes looked at in one piece */
#define SAMPLES 4	     /* latencies noted of what comes in one piece */
#define IN_FLIGHT 128	     /* handshakes at a time */
#define LATENCIES (4U << 20) /* buckets of a microsecond; what is later is in the last one */
#define ARRIVALS 100000
#define SILENCE 8000000 /* microseconds */

struct member {
	int fd; /* -1: closed */
	uint32_t uid;
	bool upgraded;
	unsigned char *rest; /* the beginning of a frame whose end has not come */
	size_t rest_len;
	int64_t next; /* the n that is to come */
	size_t hint;  /* where in a message n was last time */
};

static struct {
	int64_t received, sampled, gaps, repeats, done, first_us, last_us;
	uint32_t *latencies;
} seen;

static struct {
	struct sockaddr_in to;
	struct member *members;
	size_t n, uids, dialed, open, closed;
	int64_t wanted; /* the n at which a member has all; 0 at first */
	int64_t deadline, cpu_us;
	bool expecting, list_arrivals;
	int64_t *arrivals;
	int epoll;
} load;

static unsigned char room[ROOM + 1];
static int64_t read_us; /* when the bytes in the room had come */
static int to_sample;	/* of them, whose latency is noted */

static int64_t now_us(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000;
}

static void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- messages ---- */

static const char *digits(const char *at, const char *end, int64_t *value)
{
	int64_t sum = 0;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		sum = sum * 10 + (*at - '0');
	*value = sum;
	return at;
}

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
	digits(at + 5, end, &written);
	int64_t late = read_us - written;
	late = late < 0 ? 0 : late;
	seen.latencies[late < LATENCIES ? late : LATENCIES - 1]++;
	seen.sampled++;
}

static void take_message(struct member *member, const char *text, size_t len)
{
	int64_t n;
	const char *at = find_n(member, text, len);
	if (!at)
		return;
	at = digits(at, text + len, &n);
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
	if (member->next <= load.wanted && n >= load.wanted)
		seen.done++;
	member->next = n + 1;
	if (load.list_arrivals && seen.received <= ARRIVALS)
		load.arrivals[seen.received - 1] = read_us;
}

/* An all-zero mask leaves the payload as it is. */
static void pong(const struct member *member, const unsigned char *payload, size_t len)
{
	unsigned char frame[6 + 125] = {0x8a, (unsigned char)(0x80 | len)};
	memcpy(frame + 6, payload, len);
	if (write(member->fd, frame, 6 + len) < 0)
		fprintf(stderr, "load: pong: %s\n", strerror(errno));
}

/* ---- bytes ---- */

/* Takes one frame; returns its length, or 0 when its end has not come yet. */
static size_t take_frame(struct member *member, const unsigned char *bytes, size_t len)
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
	if (opcode == 1)
		take_message(member, (const char *)bytes + head, size);
	else if (opcode == 9 && size <= 125)
		pong(member, bytes + head, size);
	return head + size;
}

static size_t take_handshake(struct member *member, const unsigned char *bytes, size_t len)
{
	const unsigned char *end = memmem(bytes, len, "\r\n\r\n", 4);
	if (!end)
		return 0;
	if (memcmp(bytes, "HTTP/1.1 101", 12) != 0) {
		fprintf(stderr, "load: refused: %.*s\n", (int)(end - bytes), (const char *)bytes);
		exit(1);
	}
	member->upgraded = true;
	load.open++;
	return (size_t)(end - bytes) + 4;
}

static size_t take_bytes(struct member *member, const unsigned char *bytes, size_t len)
{
	size_t taken = 0, frame;
	if (!member->upgraded)
		taken = take_handshake(member, bytes, len);
	while (member->upgraded && (frame = take_frame(member, bytes + taken, len - taken)) > 0)
		taken += frame;
	return taken;
}

static void keep_rest(struct member *member, const unsigned char *bytes, size_t len)
{
	free(member->rest);
	member->rest = NULL;
	member->rest_len = len;
	if (!len)
		return;
	member->rest = malloc(len);
	if (!member->rest)
		die("rest");
	memcpy(member->rest, bytes, len);
}

static void hang_up(struct member *member)
{
	load.closed++;
	close(member->fd);
	member->fd = -1;
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
		hang_up(member);
		return;
	}
	read_us = now_us(CLOCK_REALTIME);
	to_sample = SAMPLES;
	int64_t before = seen.received;
	len += (size_t)got;
	size_t taken = take_bytes(member, room, len);
	keep_rest(member, room + taken, len - taken);
	if (seen.received == before)
		return;
	seen.last_us = read_us;
	seen.first_us = seen.first_us ? seen.first_us : read_us;
}

/* ---- connecting ---- */

/* Ends with a reset, so that thousands of ports are free at once. */
static void dial(struct member *member, size_t uid)
{
	const struct linger reset = {.l_onoff = 1};
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = member};
	*member = (struct member){.uid = (uint32_t)uid, .next = 1};
	member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (member->fd < 0)
		die("socket");
	setsockopt(member->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(member->fd, (const struct sockaddr *)&load.to, sizeof(load.to)) < 0 &&
		errno != EINPROGRESS)
		die("connect");
	epoll_ctl(load.epoll, EPOLL_CTL_ADD, member->fd, &event);
}

static void dial_more(void)
{
	for (; load.dialed < load.n && load.dialed - load.open < IN_FLIGHT; load.dialed++)
		dial(&load.members[load.dialed], load.dialed % load.uids);
}

static void ask(struct member *member)
{
	char text[512];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
	int len = snprintf(text, sizeof(text),
		"GET /?uid=u%" PRIu32 " HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\n"
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		member->uid);
	if (write(member->fd, text, (size_t)len) != len)
		die("handshake");
	epoll_ctl(load.epoll, EPOLL_CTL_MOD, member->fd, &event);
}

/* ---- what is told ---- */

static int64_t quantile(double q)
{
	int64_t left = (int64_t)((double)seen.sampled * q);
	for (size_t i = 0; i < LATENCIES; i++)
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
		if (load.members[i].next <= load.wanted)
			missing += load.wanted + 1 - load.members[i].next;
	printf("{\"received\":%" PRId64 ",\"missing\":%" PRId64 ",\"gaps\":%" PRId64
	       ",\"repeats\":%" PRId64 ",\"closed\":%zu,\"first_us\":%" PRId64
	       ",\"last_us\":%" PRId64 ",\"p50_us\":%" PRId64 ",\"p99_us\":%" PRId64
	       ",\"cpu_us\":%" PRId64,
		seen.received, missing, seen.gaps, seen.repeats, load.closed, seen.first_us,
		seen.last_us, quantile(0.5), quantile(0.99),
		now_us(CLOCK_PROCESS_CPUTIME_ID) - load.cpu_us);
	if (load.list_arrivals)
		print_arrivals();
	printf("}\n");
	fflush(stdout);
	load.expecting = load.list_arrivals = false;
}

static void expect(int64_t events, int64_t seconds, bool list)
{
	uint32_t *latencies = seen.latencies;
	memset(latencies, 0, LATENCIES * sizeof(*latencies));
	memset(&seen, 0, sizeof(seen));
	seen.latencies = latencies;
	load.wanted += events;
	load.deadline = now_us(CLOCK_MONOTONIC) + seconds * 1000000;
	load.cpu_us = now_us(CLOCK_PROCESS_CPUTIME_ID);
	load.expecting = true;
	load.list_arrivals = list;
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
		fprintf(stderr, "load: what is %s", line);
		exit(64);
	}
	expect(events, seconds, strcmp(verb, "arrivals") == 0);
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
		} else if (member->fd >= 0) {
			readable(member);
		}
	}
	return true;
}

static void connect_all(void)
{
	int64_t began = now_us(CLOCK_MONOTONIC);
	while (load.open < load.n && !load.closed) {
		dial_more();
		turn();
	}
	printf("{\"connected\":%zu,\"seconds\":%.6f,\"cpu_us\":%" PRId64 "}\n", load.open,
		(double)(now_us(CLOCK_MONOTONIC) - began) / 1e6, now_us(CLOCK_PROCESS_CPUTIME_ID));
	fflush(stdout);
}

/* What has not come by then will not come. */
static bool fell_silent(void)
{
	return seen.last_us && now_us(CLOCK_REALTIME) - seen.last_us > SILENCE;
}

static void serve(void)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(load.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	while (turn()) {
		bool over = seen.done + (int64_t)load.closed >= (int64_t)load.n ||
			    now_us(CLOCK_MONOTONIC) > load.deadline || fell_silent();
		if (load.expecting && over)
			report();
	}
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fputs("usage: load HOST PORT CLIENTS UIDS\n", stderr);
		return 64;
	}
	load.to = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
	load.n = strtoul(argv[3], NULL, 10);
	load.uids = strtoul(argv[4], NULL, 10);
	if (inet_pton(AF_INET, argv[1], &load.to.sin_addr) != 1 || !load.n || !load.uids)
		die("arguments");
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	load.members = calloc(load.n, sizeof(*load.members));
	load.arrivals = calloc(ARRIVALS, sizeof(*load.arrivals));
	seen.latencies = calloc(LATENCIES, sizeof(*seen.latencies));
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!load.members || !load.arrivals || !seen.latencies || load.epoll < 0)
		die("start");
	connect_all();
	serve();
	return 0;
}
