/* The floor: the cost of an epoll loop that only writes to sockets. It knows no database and no
 * protocol; its data comes framed and joined on standard input, as
 *
 *     u<number> <bytes>\n<that many bytes>
 *
 * and is written to every connection of that uid in one write, or in as many as the socket takes.
 * No server can be faster over the same sockets. Clients are pinged one after the other, as often
 * as by pgcast; their answers are read and ignored.
 *
 *     floor          prints the port that it listens on
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define INPUT (1U << 20)      /* looked at in one piece, and longest batch for a uid */
#define RUN_BYTES (32U << 20) /* limit for a uid */
#define MAX_UIDS 20000
#define MAX_CLIENTS 65536
#define TICK_MS 100
#define PING_TICKS 250 /* all are pinged in as many */

/* All bytes for a uid; its clients are offsets into them. */
struct user {
	unsigned char *run;
	size_t len, room;
	struct client *clients;
	struct user *next_dirty;
	bool dirty;
};

struct client {
	int fd;
	struct user *user;
	struct client *next;
	size_t sent;
	size_t place; /* in clients */
	bool waiting; /* for the socket to take more */
};

static struct user users[MAX_UIDS];
static struct user *dirty;
static unsigned char input[INPUT];
static size_t input_len;
static struct client *clients[MAX_CLIENTS];
static size_t clients_count;
static int epoll_fd, timer_fd;
static struct client listener, feed, timer; /* only their addresses mean something */

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int fd, void *what, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = what};
	if (epoll_ctl(epoll_fd, how, fd, &event) < 0)
		die("epoll_ctl");
}

/* ---- writing ---- */

static void pump(struct client *client)
{
	struct user *user = client->user;
	bool full = false;
	if (client->sent < user->len) {
		ssize_t sent = send(client->fd, user->run + client->sent, user->len - client->sent,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		client->sent += sent > 0 ? (size_t)sent : 0;
		full = client->sent < user->len;
	}
	if (full != client->waiting)
		watch(client->fd, client, EPOLL_CTL_MOD, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
	client->waiting = full;
}

static void flush(void)
{
	for (; dirty; dirty = dirty->next_dirty) {
		dirty->dirty = false;
		for (struct client *client = dirty->clients; client; client = client->next)
			if (!client->waiting)
				pump(client);
	}
}

/* ---- pings ---- */

/* A client with unsent bytes may be in the middle of a frame. */
static void ping(struct client *client)
{
	static const unsigned char frame[] = {0x89, 1, '.'};
	if (!client->user || client->waiting)
		return;
	ssize_t sent = send(client->fd, frame, sizeof(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0 && sent != sizeof(frame))
		die("half a ping");
}

static void tick(void)
{
	static size_t next, owed; /* owed: in parts of a ping, PING_TICKS of which are one */
	uint64_t ticks;
	if (read(timer_fd, &ticks, sizeof(ticks)) != sizeof(ticks))
		return;
	owed += ticks * clients_count;
	for (; owed >= PING_TICKS && clients_count > 0; owed -= PING_TICKS) {
		next = next + 1 < clients_count ? next + 1 : 0;
		ping(clients[next]);
	}
}

/* ---- batches ---- */

static void append(struct user *user, const unsigned char *bytes, size_t len)
{
	if (user->len + len > user->room) {
		user->room = 2 * (user->len + len);
		if (user->room > RUN_BYTES)
			die("too much for one uid");
		user->run = realloc(user->run, user->room);
		if (!user->run)
			die("run");
	}
	memcpy(user->run + user->len, bytes, len);
	user->len += len;
	if (user->dirty)
		return;
	user->dirty = true;
	user->next_dirty = dirty;
	dirty = user;
}

/* Takes one batch; returns how long it was, or 0 when its end has not come yet. */
static size_t take_batch(unsigned char *bytes, size_t len)
{
	unsigned char *end = memchr(bytes, '\n', len);
	if (!end)
		return 0;
	*end = '\0'; /* for sscanf; put back below, should the rest be missing */
	unsigned uid;
	size_t size;
	if (sscanf((char *)bytes, "u%u %zu", &uid, &size) != 2 || uid >= MAX_UIDS)
		die("input");
	size_t all = (size_t)(end + 1 - bytes) + size;
	if (all > len) {
		*end = '\n';
		return 0;
	}
	append(&users[uid], end + 1, size);
	return all;
}

static bool feed_readable(void)
{
	ssize_t got = read(STDIN_FILENO, input + input_len, INPUT - input_len);
	if (got <= 0)
		return false;
	input_len += (size_t)got;
	size_t taken = 0, batch;
	while ((batch = take_batch(input + taken, input_len - taken)) > 0)
		taken += batch;
	input_len -= taken;
	memmove(input, input + taken, input_len);
	flush();
	return true;
}

/* ---- clients ---- */

static void accept_all(int fd)
{
	int client_fd;
	while ((client_fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct client *client = calloc(1, sizeof(*client));
		if (!client)
			die("client");
		client->fd = client_fd;
		if (clients_count == MAX_CLIENTS)
			die("too many clients");
		client->place = clients_count;
		clients[clients_count++] = client;
		watch(client_fd, client, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static void leave(struct client *client)
{
	if (client->user) {
		struct client **at = &client->user->clients;
		while (*at != client)
			at = &(*at)->next;
		*at = client->next;
	}
	clients[client->place] = clients[--clients_count];
	clients[client->place]->place = client->place;
	close(client->fd);
	free(client);
}

/* The load client has always the same key, so the answer is always the same. */
static void join(struct client *client, const char *asked)
{
	static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
				     "Connection: Upgrade\r\n"
				     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
	unsigned uid;
	if (sscanf(asked, "GET /?uid=u%u ", &uid) != 1 || uid >= MAX_UIDS)
		die("handshake");
	client->user = &users[uid];
	client->sent = client->user->len;
	client->next = client->user->clients;
	client->user->clients = client;
	if (write(client->fd, answer, sizeof(answer) - 1) != sizeof(answer) - 1)
		die("answer");
}

static void client_ready(struct client *client, uint32_t events)
{
	char bytes[1024];
	if (events & EPOLLOUT)
		pump(client);
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	ssize_t got = read(client->fd, bytes, sizeof(bytes) - 1);
	if (got <= 0) {
		leave(client);
		return;
	}
	bytes[got] = '\0';
	if (!client->user)
		join(client, bytes);
}

/* ---- the loop ---- */

static int listen_anywhere(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, SOMAXCONN) < 0 || getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("listen");
	printf("%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static int start_timer(void)
{
	const struct timespec period = {.tv_nsec = TICK_MS * 1000000L};
	const struct itimerspec ticks = {.it_interval = period, .it_value = period};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0 || timerfd_settime(fd, 0, &ticks, NULL) < 0)
		die("timer");
	return fd;
}

static void serve(int fd)
{
	struct epoll_event events[512];
	for (;;) {
		int n = epoll_wait(epoll_fd, events, 512, -1);
		for (int i = 0; i < n; i++) {
			struct client *ready = events[i].data.ptr;
			if (ready == &listener)
				accept_all(fd);
			else if (ready == &timer)
				tick();
			else if (ready != &feed)
				client_ready(ready, events[i].events);
			else if (!feed_readable())
				return;
		}
	}
}

int main(void)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int fd = listen_anywhere();
	watch(fd, &listener, EPOLL_CTL_ADD, EPOLLIN);
	timer_fd = start_timer();
	watch(timer_fd, &timer, EPOLL_CTL_ADD, EPOLLIN);
	watch(STDIN_FILENO, &feed, EPOLL_CTL_ADD, EPOLLIN);
	(void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, INPUT);
	serve(fd);
	return 0;
}
