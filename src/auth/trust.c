#include <string.h>

#include "auth.h"

bool trust_identify(
	const struct credentials *credentials, const char **uid, struct refusal *refusal)
{
	*uid = credentials->uid;
	*refusal = (struct refusal){CLOSE_BAD_REQUEST, NULL};
	if (!*uid || !**uid)
		refusal->reason = "uid missing";
	else if (strlen(*uid) > AUTH_UID_MAX)
		refusal->reason = "uid too long";
	return !refusal->reason;
}
