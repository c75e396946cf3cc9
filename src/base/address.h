/* Where to listen, as settings write it: HOST:PORT, [V6]:PORT, unix:/PATH. Nothing is resolved
 * here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct address {
	char *path; /* of a unix socket, else NULL */
	char *host; /* empty: every interface */
	char *port; /* decimal */
};

/* Reads the next of a comma-separated list and moves *list behind it. False at the end of the list,
 * and when it is malformed: then *error, else NULL, says why (static text). The caller clears an
 * address that was read. */
bool address_next(struct address *address, const char **list, const char **error);
void address_clear(struct address *address);

/* True when nobody but this machine's own programs can get there. */
bool address_is_local(const struct address *address);
