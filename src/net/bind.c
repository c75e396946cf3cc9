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

static bool fail(const struct bind_config *config, const char *address, int error)
{
	if (error == EADDRINUSE)
		log_error("%s: address in use: %s (%s)", config->setting, address, config->if_busy);
	else
		log_error("%s: could not listen on %s: %s", config->setting, address,
			strerror(error));
	return false;
}

/* Returns -1 and sets errno on failure. */
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
	if (bind(fd, address, len) == 0 && (shared || listen(fd, SOMAXCONN) == 0))
		return fd;

	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

/* A socket file whose process was killed refuses connections. */
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

static bool open_unix(const struct bind_config *config, const char *text, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return fail(config, text, ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path));

	int fd = open_socket((struct sockaddr *)&address, sizeof address, false);
	if (fd < 0 && errno == EADDRINUSE && is_stale(&address) && unlink(path) == 0)
		fd = open_socket((struct sockaddr *)&address, sizeof address, false);
	if (fd < 0)
		return fail(config, text, errno);
	config->opened(config->ctx, fd, path);
	return true;
}

/* A name may have several addresses; those that this machine lacks are skipped. */
static bool open_all(
	const struct bind_config *config, const char *text, const struct addrinfo *found)
{
	int error = 0;
	bool any = false;
	for (; found; found = found->ai_next) {
		int fd = open_socket(found->ai_addr, found->ai_addrlen, config->shared);
		if (fd >= 0) {
			config->opened(config->ctx, fd, NULL);
			any = true;
			continue;
		}
		error = errno;
		if (error != EADDRNOTAVAIL && error != EAFNOSUPPORT)
			return fail(config, text, error);
	}
	return any || fail(config, text, error);
}

static bool open_tcp(
	const struct bind_config *config, const char *text, const struct address *address)
{
	const struct addrinfo hints = {
		.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM,
	};
	struct addrinfo *found = NULL;
	const char *host = *address->host ? address->host : NULL;
	int error = getaddrinfo(host, address->port, &hints, &found);
	if (error) {
		log_error("%s: could not listen on %s: %s", config->setting, text,
			gai_strerror(error));
		return false;
	}
	bool ok = open_all(config, text, found);
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

static bool open_address(const struct bind_config *config, const struct address *address)
{
	char *text = address_name(address);
	bool ok = address->path ? open_unix(config, text, address->path)
				: open_tcp(config, text, address);
	free(text);
	return ok;
}

bool bind_all(const struct bind_config *config)
{
	const char *list = config->addresses, *error = NULL;
	struct address address;
	bool ok = true;
	while (ok && address_next(&address, &list, &error)) {
		ok = open_address(config, &address);
		address_clear(&address);
	}
	if (error)
		log_error("%s = %s: %s", config->setting, config->addresses, error);
	return ok && !error;
}
