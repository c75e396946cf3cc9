/* Authentication: a table of methods, one row per word of the setting `auth`, each of which turns
 * the credentials of a handshake into a uid. */
#pragma once

#include <stdbool.h>

#include "protocol.h"
#include "settings.h"

/* Longest uid, in bytes. */
#define AUTH_UID_MAX 255

/* Everything that a handshake offers; NULL: absent. */
struct credentials {
	const char *uid; /* of the query */
};

struct auth_method {
	/* Sets *uid, which lives as long as the credentials; false: *refusal says why. */
	bool (*identify)(
		const struct credentials *credentials, const char **uid, struct refusal *refusal);
};

/* Indexed by the setting. */
extern const struct auth_method auth_methods[];

/* The row of `trust`: the uid is the one that the query names. */
bool trust_identify(
	const struct credentials *credentials, const char **uid, struct refusal *refusal);
