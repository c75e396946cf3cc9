/* Which pages may connect, by the Origin header that browsers send. */
#pragma once

#include <stdbool.h>

/* True when pages from `origin` (NULL: not a browser) may connect to `host`, both as their headers
 * are. `allowed` is a list of globs, separated by commas or spaces, in which * matches within one
 * of scheme, host and port; a glob without "://" is compared with the host alone. An empty list
 * allows pages of the same host, with any scheme and port. */
bool origin_allowed(const char *origin, const char *host, const char *allowed);

/* True when a comma-separated header (Sec-WebSocket-Protocol) has the token. */
bool header_list_has(const char *list, const char *token);
