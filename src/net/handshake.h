/* What a handshake asks for, and whether it may: the query's parameters, and the page's origin. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Longest uid, in bytes. */
#define ACCESS_UID_MAX 255

/* All zero before the first parameter; NULL: not asked for. */
struct access {
	char *uid, *types, *since;
	bool malformed; /* a parameter's value is not text */
};

/* Takes one "name=value" of the query, percent-decoded. Of a name that comes twice the first
 * counts, as in URLSearchParams.get; names that are not ours are ignored. */
void access_take(struct access *access, const char *pair, size_t len);
/* NULL, or why the query is refused (static text). */
const char *access_refusal(const struct access *access);
void access_clear(struct access *access);

/* Whether pages from `origin` (the header, NULL: no browser) may connect to `host` (the header).
 * `allowed` is a list of globs, separated by commas or spaces, in which * is anything within one of
 * scheme, host and port; one without "://" is compared with the host alone. An empty list stands
 * for pages from the same host, whichever their scheme and port. */
bool access_origin_allowed(const char *origin, const char *host, const char *allowed);

/* Whether a comma-separated header (Sec-WebSocket-Protocol) has the token. */
bool access_list_has(const char *list, const char *token);
