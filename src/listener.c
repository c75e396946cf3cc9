#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "alloc.h"
#include "log.h"
#include "stats.h"

/* Connections accepted before others get their turn. */
#define ACCEPT_AT_ONCE 64
/* How long to leave new connections waiting when descriptors have run out. */
#define PAUSE_MS 500
/* The first of the sockets that systemd hands over. */
#define INHERITED_FIRST 3

struct endpoint {
	struct endpoint *next;
	struct listener *listener;
	uv_poll_t poll;
	int fd;
	char *path; /* of a Unix socket that we made */
};

struct listener {
	struct listener_config config;
	struct endpoint *endpoints;
	uv_timer_t pause;
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
	stats_add(STAT_ACCEPT_PAUSES, 1);
	for (struct endpoint *e = listener->endpoints; e; e = e->next)
		uv_poll_stop(&e->poll);
	uv_timer_start(&listener->pause, resume, PAUSE_MS, 0);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	struct endpoint *endpoint = poll->data;
	struct listener *listener = endpoint->listener;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int fd = accept4(endpoint->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
			return;
		if (fd < 0) {
			pause_accepting(listener);
			return;
		}
		/* Fails on a Unix socket, which sends at once anyway. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		listener->config.accepted(listener->config.ctx, fd);
	}
}

/* ---- life of the handles ---- */

static void free_when_closed(struct listener *listener)
{
	if (--listener->handles == 0)
		free(listener);
}

static void on_pause_closed(uv_handle_t *handle)
{
	free_when_closed(handle->data);
}

static void on_endpoint_closed(uv_handle_t *handle)
{
	struct endpoint *endpoint = handle->data;
	free_when_closed(endpoint->listener);
	close(endpoint->fd);
	free(endpoint->path);
	free(endpoint);
}

void listener_stop(struct listener *listener)
{
	while (listener->endpoints) {
		struct endpoint *endpoint = listener->endpoints;
		listener->endpoints = endpoint->next;
		if (endpoint->path)
			unlink(endpoint->path);
		uv_close((uv_handle_t *)&endpoint->poll, on_endpoint_closed);
	}
	uv_timer_stop(&listener->pause);
}

void listener_destroy(struct listener **listener)
{
	if (!*listener)
		return;
	listener_stop(*listener);
	uv_close((uv_handle_t *)&(*listener)->pause, on_pause_closed);
	*listener = NULL;
}

/* ---- addresses ---- */

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

static void add_endpoint(struct listener *listener, int fd, const char *path)
{
	struct endpoint *endpoint = xcalloc(1, sizeof *endpoint);
	endpoint->fd = fd;
	endpoint->path = path ? xstrdup(path) : NULL;
	endpoint->listener = listener;
	endpoint->next = listener->endpoints;
	listener->endpoints = endpoint;
	listener->handles++;
	uv_poll_init(listener->config.loop, &endpoint->poll, fd);
	endpoint->poll.data = endpoint;
	say_listening(listener, fd);
}

static bool refused(const struct listener *listener, const char *address, int error)
{
	const char *setting = listener->config.setting;
	if (error == EADDRINUSE)
		log_error("%s is in use: stop the other program or change `%s`", address, setting);
	else
		log_error("can't listen on %s: %s; change `%s`", address, strerror(error), setting);
	return false;
}

/* Returns the listening socket, or -1 and errno. */
static int bind_socket(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (address->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
	if (bind(fd, address, len) == 0 && listen(fd, SOMAXCONN) == 0)
		return fd;

	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* A socket that a program left behind when it was killed: nobody answers on it. */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
		     errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static bool listen_unix(struct listener *listener, const char *text, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return refused(listener, text, ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path));

	int fd = bind_socket((struct sockaddr *)&address, sizeof address);
	if (fd < 0 && errno == EADDRINUSE && is_stale(&address) && unlink(path) == 0)
		fd = bind_socket((struct sockaddr *)&address, sizeof address);
	if (fd < 0)
		return refused(listener, text, errno);
	add_endpoint(listener, fd, path);
	return true;
}

/* A name may stand for several addresses; those that this machine does not have are left out. */
static bool listen_all(struct listener *listener, const char *text, const struct addrinfo *found)
{
	int error = 0;
	bool any = false;
	for (; found; found = found->ai_next) {
		int fd = bind_socket(found->ai_addr, found->ai_addrlen);
		if (fd >= 0) {
			add_endpoint(listener, fd, NULL);
			any = true;
			continue;
		}
		error = errno;
		if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT)
			return refused(listener, text, error);
	}
	return any || refused(listener, text, error);
}

static bool listen_tcp(struct listener *listener, const char *text, const struct address *address)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *found = NULL;
	const char *host = *address->host ? address->host : NULL;
	int error = getaddrinfo(host, address->port, &hints, &found);
	if (error) {
		log_error("can't listen on %s: %s; change `%s`", text, gai_strerror(error),
			listener->config.setting);
		return false;
	}
	bool ok = listen_all(listener, text, found);
	freeaddrinfo(found);
	return ok;
}

static char *address_name(const struct address *address)
{
	if (address->path)
		return xasprintf("unix:%s", address->path);
	const char *host = *address->host ? address->host : "*";
	return xasprintf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, address->port);
}

static bool listen_address(struct listener *listener, const struct address *address)
{
	char *text = address_name(address);
	bool ok = address->path ? listen_unix(listener, text, address->path)
				: listen_tcp(listener, text, address);
	free(text);
	return ok;
}

static bool listen_list(struct listener *listener)
{
	const char *list = listener->config.addresses, *error = NULL;
	struct address address;
	bool ok = true;
	while (ok && address_next(&address, &list, &error)) {
		ok = listen_address(listener, &address);
		address_clear(&address);
	}
	if (error)
		log_error("`%s` = %s: %s", listener->config.setting, listener->config.addresses,
			error);
	return ok && !error;
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
	add_endpoint(listener, fd, NULL);
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
	uv_timer_init(config->loop, &listener->pause);
	listener->pause.data = listener;
	listener->handles = 1;

	inherit_all(listener);
	if (!listener->endpoints && !listen_list(listener))
		listener_destroy(&listener);
	return listener;
}
