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

/* Connections accepted per callback, so that other handles are served. */
#define ACCEPT_BATCH 64
/* Time for which accepting is paused when descriptors run out. */
#define PAUSE_MS 500
/* Time for pending TCP handshakes when a shared port is closed: above a long round trip, below the
 * second after which a client retransmits an ignored SYN. */
#define HANDSHAKE_MS 250
/* systemd's SD_LISTEN_FDS_START. */
#define FIRST_INHERITED_FD 3

struct endpoint {
	struct endpoint *next;
	struct listener *listener;
	uv_poll_t poll;
	int fd;
	bool inherited;
	char *path; /* of a unix socket opened here, else NULL */
};

struct listener {
	struct listener_config config;
	struct endpoint *endpoints;
	uv_timer_t timer; /* ends a pause or HANDSHAKE_MS */
	bool stopping;
	size_t handles; /* still open; the last one frees the listener */
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

/* Waiting connections keep the socket readable, so polling on would busy-loop. */
static void pause_accepting(struct listener *listener)
{
	log_warning("%s: could not accept connections: %s (raise LimitNOFILE or lower max_clients)",
		listener->config.setting, strerror(errno));
	metric_add(METRIC_ACCEPT_PAUSES, 1);
	for (struct endpoint *e = listener->endpoints; e; e = e->next)
		uv_poll_stop(&e->poll);
	if (!listener->stopping)
		uv_timer_start(&listener->timer, resume, PAUSE_MS, 0);
}

/* False if no connection is waiting; another process with the same socket may have accepted it. */
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
	/* Fails on a unix socket, which needs no such option. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	listener->config.accepted(listener->config.ctx, fd);
	return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_BATCH && accept_one(poll->data); i++)
		;
}

/* ---- closing ---- */

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

static void close_all(struct listener *listener)
{
	while (listener->endpoints) {
		struct endpoint *endpoint = listener->endpoints;
		listener->endpoints = endpoint->next;
		if (endpoint->path)
			unlink(endpoint->path);
		uv_close((uv_handle_t *)&endpoint->poll, on_endpoint_closed);
		/* Not in the callback: an open socket would still receive connections. */
		close(endpoint->fd);
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

/* ---- stopping ---- */

/* Closing a socket resets the connections waiting in it, so they are accepted first, but those in
 * an inherited socket are left to the other processes that have it. */
static void finish_stop(uv_timer_t *timer)
{
	struct listener *listener = timer->data;
	for (struct endpoint *e = listener->endpoints; e; e = e->next) {
		if (e->path)
			unlink(e->path);
		while (!e->inherited && accept_one(e))
			;
	}
	close_all(listener);
}

/* Drops each SYN; the client retransmits it a second later and the kernel gives it to another
 * process. Accepted sockets inherit the filter but receive no SYN. */
static void drop_syns(const struct endpoint *endpoint)
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
		log_warning("%s: could not filter new connections, which may be reset: %s",
			endpoint->listener->config.setting, strerror(errno));
}

/* A shared port is closed in two steps: the kernel gives it clients until it is closed, and closing
 * it resets those whose TCP handshake is incomplete. */
void listener_stop(struct listener *listener)
{
	bool wait = false;
	if (listener->stopping)
		return;
	listener->stopping = true;
	for (struct endpoint *e = listener->endpoints; e && listener->config.shared; e = e->next) {
		if (e->inherited)
			continue;
		drop_syns(e);
		wait = true;
	}
	if (!wait) {
		finish_stop(&listener->timer);
		return;
	}
	listener_accept(listener);
	uv_timer_start(&listener->timer, finish_stop, HANDSHAKE_MS, 0);
}

bool listener_stopped(const struct listener *listener)
{
	return !listener->endpoints;
}

/* ---- opening ---- */

static char *bound_address(int fd)
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

static struct endpoint *add_endpoint(struct listener *listener, int fd)
{
	char *address = bound_address(fd);
	const char *what = listener->config.what;
	log_info("%s%slistening on %s", what, *what ? " " : "", address);
	free(address);

	struct endpoint *endpoint = xcalloc(1, sizeof *endpoint);
	endpoint->fd = fd;
	endpoint->listener = listener;
	endpoint->next = listener->endpoints;
	listener->endpoints = endpoint;
	listener->handles++;
	uv_poll_init(listener->config.loop, &endpoint->poll, fd);
	endpoint->poll.data = endpoint;
	return endpoint;
}

static void opened(void *ctx, int fd, const char *path)
{
	struct endpoint *endpoint = add_endpoint(ctx, fd);
	endpoint->path = path ? xstrdup(path) : NULL;
}

/* Shared ports listen after all of them are bound, see bind.h. */
static bool open_sockets(struct listener *listener)
{
	const struct bind_config config = {
		.addresses = listener->config.addresses,
		.setting = listener->config.setting,
		.if_busy = listener->config.if_busy,
		.shared = listener->config.shared,
		.opened = opened,
		.ctx = listener,
	};
	if (!bind_all(&config))
		return false;
	for (struct endpoint *e = listener->endpoints; e && config.shared; e = e->next) {
		if (listen(e->fd, SOMAXCONN) == 0)
			continue;
		log_error("%s: could not listen: %s", config.setting, strerror(errno));
		return false;
	}
	return true;
}

static void inherit(struct listener *listener, int fd)
{
	int listening = 0;
	socklen_t len = sizeof listening;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) != 0 || !listening) {
		log_warning("socket activation: descriptor %d is not a listening socket", fd);
		return;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	add_endpoint(listener, fd)->inherited = true;
}

/* See sd_listen_fds(3). */
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
			inherit(listener, FIRST_INHERITED_FD + i);
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
