#include "handshake.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "utf8.h"

static void take(struct handshake *handshake, char **to, const char *value, size_t len)
{
	if (*to)
		return;
	if (memchr(value, '\0', len) || !utf8_valid(value, len))
		handshake->malformed = true;
	*to = xstrndup(value, len);
}

void handshake_parameter(struct handshake *handshake, const char *pair, size_t len)
{
	const char *equals = memchr(pair, '=', len);
	if (!equals)
		return;
	size_t name = (size_t)(equals - pair);
	const struct {
		const char *name;
		char **to;
	} ours[] = {{"uid", &handshake->uid}, {"types", &handshake->types},
		{"since", &handshake->since}, {"init", &handshake->init}};
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (strlen(ours[i].name) == name && memcmp(ours[i].name, pair, name) == 0)
			take(handshake, ours[i].to, equals + 1, len - name - 1);
}

void handshake_clear(struct handshake *handshake)
{
	free(handshake->uid);
	free(handshake->types);
	free(handshake->since);
	free(handshake->init);
	*handshake = (struct handshake){0};
}
