#include "address.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alloc.h"

#define UNIX "unix:"

static bool valid_port(const char *port)
{
	size_t digits = strspn(port, "0123456789");
	return digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) <= 65535;
}

static const char *parse_unix(struct address *address, const char *item)
{
	if (item[strlen(UNIX)] != '/')
		return "the path of a unix socket must start with /";
	address->path = xstrdup(item + strlen(UNIX));
	return NULL;
}

static const char *parse_tcp(struct address *address, const char *item)
{
	const char *colon = strrchr(item, ':');
	bool bracketed = *item == '[';
	if (!colon || (bracketed && (colon - item < 2 || colon[-1] != ']')))
		return "must be HOST:PORT, [V6]:PORT or unix:/PATH";
	address->host = bracketed ? xstrndup(item + 1, (size_t)(colon - item) - 2)
				  : xstrndup(item, (size_t)(colon - item));
	address->port = xstrdup(colon + 1);
	if (!bracketed && strchr(address->host, ':'))
		return "an IPv6 address must be in brackets, as in [::1]:8081";
	if (strcmp(address->host, "*") == 0)
		address->host[0] = '\0';
	return valid_port(address->port) ? NULL : "the port must be a number from 0 to 65535";
}

/* Returns the next item that is not empty, without surrounding space; NULL at the end. */
static char *next_item(const char **list)
{
	const char *start = *list + strspn(*list, ", \t\n");
	size_t len = strcspn(start, ",");
	*list = start + len;
	while (len && strchr(" \t\n", start[len - 1]))
		len--;
	return len ? xstrndup(start, len) : NULL;
}

bool address_next(struct address *address, const char **list, const char **error)
{
	*address = (struct address){0};
	*error = NULL;
	char *item = next_item(list);
	if (!item)
		return false;
	*error = strncmp(item, UNIX, strlen(UNIX)) == 0 ? parse_unix(address, item)
							: parse_tcp(address, item);
	free(item);
	if (*error)
		address_clear(address);
	return !*error;
}

void address_clear(struct address *address)
{
	free(address->path);
	free(address->host);
	free(address->port);
	*address = (struct address){0};
}

bool address_is_local(const struct address *address)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (address->path || strcasecmp(address->host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, address->host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, address->host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}
