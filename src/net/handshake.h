/* The query parameters of a client's handshake. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Longest uid, in bytes. */
#define HANDSHAKE_UID_MAX 255

/* All zero before the first parameter; NULL: absent. */
struct handshake {
	char *uid, *types, *since;
	bool malformed; /* a value has a NUL or is not UTF-8 */
};

/* Takes one "name=value" of the query, percent-decoded. The first value of a name counts, as in
 * URLSearchParams.get; unknown names are ignored. */
void handshake_parameter(struct handshake *handshake, const char *pair, size_t len);
/* NULL, or the reason why the handshake is refused (static text). */
const char *handshake_refusal(const struct handshake *handshake);
void handshake_clear(struct handshake *handshake);
