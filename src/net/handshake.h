/* The query parameters of a client's handshake. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* All zero before the first parameter; NULL: absent. */
struct handshake {
	char *uid, *types, *since, *init;
	bool malformed; /* a value has a NUL or is not UTF-8 */
};

/* Takes one "name=value" of the query, percent-decoded. The first value of a name counts, as in
 * URLSearchParams.get; unknown names are ignored. */
void handshake_parameter(struct handshake *handshake, const char *pair, size_t len);
void handshake_clear(struct handshake *handshake);
