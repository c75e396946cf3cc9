#include "conninfo.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "alloc.h"

#define MASK "********"
#define PASSWORD "password" /* ends sslpassword, too */

/* Where a keyword's value ends: at a space, or in an URI at the next parameter, but for what is
 * quoted or escaped. */
static const char *value_end(const char *at, bool uri)
{
	if (uri)
		return at + strcspn(at, "&");
	if (*at != '\'') {
		while (*at && !isspace((unsigned char)*at))
			at += *at == '\\' && at[1] ? 2 : 1;
		return at;
	}
	for (at++; *at && *at != '\''; at++) {
		if (*at == '\\' && at[1])
			at++;
	}
	return *at ? at + 1 : at;
}

static const char *skip_space(const char *at)
{
	while (isspace((unsigned char)*at))
		at++;
	return at;
}

/* Copies up to the next password's value and masks that; returns what follows it. */
static const char *mask_next(FILE *out, const char *at, bool uri)
{
	const char *found = strcasestr(at, PASSWORD);
	const char *sign = found ? skip_space(found + strlen(PASSWORD)) : at + strlen(at);
	if (*sign != '=') {
		fwrite(at, 1, (size_t)(sign - at), out);
		return sign;
	}
	const char *value = skip_space(sign + 1);
	fwrite(at, 1, (size_t)(value - at), out);
	fputs(MASK, out);
	return value_end(value, uri);
}

/* user:password@ of an URI. The last @ counts, since a password may have one by mistake. */
static const char *mask_authority(FILE *out, const char *at)
{
	const char *start = strstr(at, "://") + strlen("://");
	const char *host = strrchr(start, '@');
	const char *colon = strchr(start, ':');
	if (!host || !colon || colon > host)
		return at;
	fwrite(at, 1, (size_t)(colon + 1 - at), out);
	fputs(MASK, out);
	return host;
}

char *conninfo_masked(const char *conninfo)
{
	bool uri = strncmp(conninfo, "postgres://", strlen("postgres://")) == 0 ||
		   strncmp(conninfo, "postgresql://", strlen("postgresql://")) == 0;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return xstrdup(MASK);
	const char *at = uri ? mask_authority(out, conninfo) : conninfo;
	while (*at)
		at = mask_next(out, at, uri);
	fclose(out);
	return text;
}
