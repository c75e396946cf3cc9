#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "alloc.h"
#include "bind.h"
#include "log.h"
#include "metrics.h"

/* Connections accepted before others get their turn. */
#define ACCEPT_AT_ONCE 64
/* How long to leave new connections waiting when descriptors have run out. */
#define PAUSE_MS 500
/* How long handshakes that have begun may take, when a shared port is given up: a long way's round
 * trip. Less than the second after which a client asks again that was not heard. */
#define LAST_CALL_MS 250
/* The first of the sockets that systemd hands over. */
#define INHERITED_FIRST 3

struct endpoint {
	struct endpoint *next;
	struct listener *listener;
	uv_poll_t poll;
	int fd;
	bool ours;  /* not handed over */
	char *path; /* of a Unix socket that we made */
};

struct listener {
	struct listener_config config;
	struct endpoint *endpoints;
	uv_timer_t timer; /* until accepting goes on, or ends */
	bool stopping;
	size_t handles; /* not closed yet */
};

/* ---- accepting ---- */

static void on_readable(uv_poll_t *poll, int status, int events);

void listener_accept(struct listener *listener)
{
	for (struct endpoint *e = listener->endpoints; e; e = e->next)
		uv_poll_start(&e->poll, UV_READABLE, on_readable);
}

static void resume(uv_timer_t *timer)
{
	listener_accept(timer->data);
}

/* What can't be accepted stays in the kernel's queue: looking at it again and again helps nobody.
 */
static void pause_accepting(struct listener *listener)
{
	log_warning("can't accept connections: %s; raise LimitNOFILE or lower max_clients",
		strerror(errno));
	metric_add(METRIC_ACCEPT_PAUSES, 1);
	for (struct endpoint *e = listener->endpoints; e; e = e->next)
		uv_poll_stop(&e->poll);
	if (!listener->stopping)
		uv_timer_start(&listener->timer, resume, PAUSE_MS, 0);
}

/* False when none waits, which another process that has the same socket may have seen to. */
static bool accept_one(struct endpoint *endpoint)
{
	struct listener *listener = endpoint->listener;
	int fd = accept4(endpoint->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
		return true;
	if (fd < 0) {
		if (errno != EAGAIN)
			pause_accepting(listener);
		return false;
	}
	/* Fails on a Unix socket, which sends at once anyway. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	listener->config.accepted(listener->config.ctx, fd);
	return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_AT_ONCE && accept_one(poll->data); i++)
		;
}

/* ---- life of the handles ---- */

static void free_when_closed(struct listener *listener)
{
	if (--listener->handles == 0)
		free(listener);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free_when_closed(handle->data);
}

static void on_endpoint_closed(uv_handle_t *handle)
{
	struct endpoint *endpoint = handle->data;
	free_when_closed(endpoint->listener);
	free(endpoint->path);
	free(endpoint);
}

/* Not in the callback: until the socket is closed, the kernel gives it connections. */
static void close_endpoint(struct endpoint *endpoint)
{
	uv_close((uv_handle_t *)&endpoint->poll, on_endpoint_closed);
	close(endpoint->fd);
}

static void close_all(struct listener *listener)
{
	while (listener->endpoints) {
		struct endpoint *endpoint = listener->endpoints;
		listener->endpoints = endpoint->next;
		if (endpoint->path)
			unlink(endpoint->path);
		close_endpoint(endpoint);
	}
	uv_timer_stop(&listener->timer);
}

void listener_destroy(struct listener **listener)
{
	if (!*listener)
		return;
	close_all(*listener);
	uv_close((uv_handle_t *)&(*listener)->timer, on_timer_closed);
	*listener = NULL;
}

/* ---- the end ---- */

/* Connections that wait in a socket of ours are reset when it is closed, so they are taken first.
 * Those in a socket that was handed over are left to whoever else has it. */
static void close_when_empty(struct listener *listener)
{
	for (struct endpoint *e = listener->endpoints; e; e = e->next) {
		if (e->path)
			unlink(e->path);
		while (e->ours && accept_one(e))
			;
	}
	close_all(listener);
}

static void on_last_call(uv_timer_t *timer)
{
	close_when_empty(timer->data);
}

/* Lets no new handshake begin: a SYN is not heard, and its client sends another a second later,
 * which the kernel gives to one of the other processes. Accepted sockets inherit this, and never
 * see a SYN. */
static void ignore_new(const struct endpoint *endpoint)
{
	enum { TCP_FLAGS = 13, SYN = 2 };
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SYN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	const struct sock_fprog filter = {sizeof program / sizeof *program, program};
	if (setsockopt(endpoint->fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0)
		log_warning("clients that connect now may be reset: %s", strerror(errno));
}

/* A port that others share is given up in two steps. The kernel goes on dealing it clients until
 * it is closed, and closing it resets those whose handshake is not through. */
void listener_stop(struct listener *listener)
{
	bool last_call = false;
	if (listener->stopping)
		return;
	listener->stopping = true;
	for (struct endpoint *e = listener->endpoints; e; e = e->next) {
		if (!e->ours || !listener->config.shared)
			continue;
		ignore_new(e);
		last_call = true;
	}
	if (!last_call) {
		close_when_empty(listener);
		return;
	}
	listener_accept(listener);
	uv_timer_start(&listener->timer, on_last_call, LAST_CALL_MS, 0);
}

bool listener_stopped(const struct listener *listener)
{
	return !listener->endpoints;
}

/* ---- sockets ---- */

static char *bound_name(int fd)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof address;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	getsockname(fd, (struct sockaddr *)&address, &len);
	if (address.ss_family == AF_UNIX)
		return xasprintf("unix:%s", ((struct sockaddr_un *)&address)->sun_path);
	if (getnameinfo((struct sockaddr *)&address, len, host, sizeof host, port, sizeof port,
		    NI_NUMERICHOST | NI_NUMERICSERV))
		return xstrdup("an unknown address");
	return xasprintf(address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static void say_listening(const struct listener *listener, int fd)
{
	char *text = bound_name(fd);
	const char *what = listener->config.what;
	log_info("%s%slistening on %s", what, *what ? " " : "", text);
	free(text);
}

static struct endpoint *add_endpoint(struct listener *listener, int fd)
{
	struct endpoint *endpoint = xcalloc(1, sizeof *endpoint);
	endpoint->fd = fd;
	endpoint->listener = listener;
	endpoint->next = listener->endpoints;
	listener->endpoints = endpoint;
	listener->handles++;
	uv_poll_init(listener->config.loop, &endpoint->poll, fd);
	endpoint->poll.data = endpoint;
	say_listening(listener, fd);
	return endpoint;
}

static void opened(void *ctx, int fd, const char *path)
{
	struct endpoint *endpoint = add_endpoint(ctx, fd);
	endpoint->ours = true;
	endpoint->path = path ? xstrdup(path) : NULL;
}

/* Clients come as soon as a shared port listens, other processes or not: this is the last thing
 * that can fail. */
static bool listen_shared(struct listener *listener)
{
	for (struct endpoint *e = listener->endpoints; e; e = e->next) {
		if (bind_listen(e->fd))
			continue;
		log_error(
			"can't listen: %s; change `%s`", strerror(errno), listener->config.setting);
		return false;
	}
	return true;
}

static bool open_sockets(struct listener *listener)
{
	const struct bind_request request = {
		.addresses = listener->config.addresses,
		.setting = listener->config.setting,
		.if_busy = listener->config.if_busy,
		.shared = listener->config.shared,
		.opened = opened,
		.ctx = listener,
	};
	return bind_all(&request) && (!request.shared || listen_shared(listener));
}

/* ---- sockets handed over ---- */

static bool is_listening(int fd)
{
	int on = 0;
	socklen_t len = sizeof on;
	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static void inherit(struct listener *listener, int fd)
{
	if (!is_listening(fd)) {
		log_warning("descriptor %d was handed over, but is no listening socket", fd);
		return;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	add_endpoint(listener, fd);
}

/* Takes those that are named for us; clients' sockets need no name. */
static void inherit_all(struct listener *listener)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	if (!pid || !fds || strtol(pid, NULL, 10) != getpid())
		return;

	const char *set_names = getenv("LISTEN_FDNAMES");
	char *names = xstrdup(set_names ? set_names : ""), *rest = names;
	for (int i = 0; i < strtol(fds, NULL, 10); i++) {
		const char *name = rest ? strsep(&rest, ":") : "";
		bool admin = !strcmp(name, "admin");
		if (admin == (*listener->config.what != '\0'))
			inherit(listener, INHERITED_FIRST + i);
	}
	free(names);
}

struct listener *listener_create(const struct listener_config *config)
{
	struct listener *listener = xcalloc(1, sizeof *listener);
	listener->config = *config;
	uv_timer_init(config->loop, &listener->timer);
	listener->timer.data = listener;
	listener->handles = 1;

	inherit_all(listener);
	if (!listener->endpoints && !open_sockets(listener))
		listener_destroy(&listener);
	return listener;
}
