#include "bind.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "alloc.h"
#include "log.h"

static bool refused(const struct bind_request *request, const char *address, int error)
{
	if (error == EADDRINUSE)
		log_error("%s is in use: %s", address, request->if_busy);
	else
		log_error("can't listen on %s: %s; change `%s`", address, strerror(error),
			request->setting);
	return false;
}

bool bind_listen(int fd)
{
	return listen(fd, SOMAXCONN) == 0;
}

/* Returns the socket, or -1 and errno. */
static int open_socket(const struct sockaddr *address, socklen_t len, bool shared)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (address->sa_family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (shared)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
	if (address->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
	if (bind(fd, address, len) == 0 && (shared || bind_listen(fd)))
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

static bool open_unix(const struct bind_request *request, const char *text, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return refused(request, text, ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path));

	int fd = open_socket((struct sockaddr *)&address, sizeof address, false);
	if (fd < 0 && errno == EADDRINUSE && is_stale(&address) && unlink(path) == 0)
		fd = open_socket((struct sockaddr *)&address, sizeof address, false);
	if (fd < 0)
		return refused(request, text, errno);
	request->opened(request->ctx, fd, path);
	return true;
}

/* A name may stand for several addresses; those that this machine does not have are left out. */
static bool open_all(
	const struct bind_request *request, const char *text, const struct addrinfo *found)
{
	int error = 0;
	bool any = false;
	for (; found; found = found->ai_next) {
		int fd = open_socket(found->ai_addr, found->ai_addrlen, request->shared);
		if (fd >= 0) {
			request->opened(request->ctx, fd, NULL);
			any = true;
			continue;
		}
		error = errno;
		if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT)
			return refused(request, text, error);
	}
	return any || refused(request, text, error);
}

static bool open_tcp(
	const struct bind_request *request, const char *text, const struct address *address)
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
			request->setting);
		return false;
	}
	bool ok = open_all(request, text, found);
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

static bool open_address(const struct bind_request *request, const struct address *address)
{
	char *text = address_name(address);
	bool ok = address->path ? open_unix(request, text, address->path)
				: open_tcp(request, text, address);
	free(text);
	return ok;
}

bool bind_all(const struct bind_request *request)
{
	const char *list = request->addresses, *error = NULL;
	struct address address;
	bool ok = true;
	while (ok && address_next(&address, &list, &error)) {
		ok = open_address(request, &address);
		address_clear(&address);
	}
	if (error)
		log_error("`%s` = %s: %s", request->setting, request->addresses, error);
	return ok && !error;
}
