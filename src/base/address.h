/* Addresses to listen on, as settings write them: HOST:PORT, [V6]:PORT or unix:/PATH. Names are not
 * resolved here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct address {
	char *path; /* of a unix socket, else NULL */
	char *host; /* empty: all interfaces */
	char *port; /* decimal */
};

/* Parses the next address of a comma-separated list and advances *list. False at the end of the
 * list (*error is NULL) and on a syntax error (*error is static text). The caller clears the
 * address. */
bool address_next(struct address *address, const char **list, const char **error);
void address_clear(struct address *address);

/* True if no other machine can reach it. */
bool address_is_local(const struct address *address);
