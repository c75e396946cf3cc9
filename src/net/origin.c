#include "origin.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

/* A part of a text that somebody else owns. */
struct slice {
	const char *at;
	size_t len;
};

static bool same(struct slice a, struct slice b)
{
	return a.len == b.len && strncasecmp(a.at, b.at, a.len) == 0;
}

/* The host of "host", "host:port", "[v6]:port". */
static struct slice without_port(struct slice authority)
{
	const char *bracket = memchr(authority.at, ']', authority.len);
	size_t from = bracket ? (size_t)(bracket - authority.at) : 0;
	const char *colon = memchr(authority.at + from, ':', authority.len - from);
	if (colon)
		authority.len = (size_t)(colon - authority.at);
	return authority;
}

/* The host of "scheme://host:port"; empty when it is not of that form, as "null" is. */
static struct slice origin_host(const char *origin)
{
	const char *authority = strstr(origin, "://");
	if (!authority)
		return (struct slice){origin, 0};
	return without_port((struct slice){authority + 3, strlen(authority + 3)});
}

static bool glob(struct slice pattern, struct slice text)
{
	while (pattern.len && *pattern.at != '*') {
		if (!text.len || strncasecmp(pattern.at, text.at, 1) != 0)
			return false;
		pattern = (struct slice){pattern.at + 1, pattern.len - 1};
		text = (struct slice){text.at + 1, text.len - 1};
	}
	if (!pattern.len)
		return !text.len;

	struct slice rest = {pattern.at + 1, pattern.len - 1};
	for (size_t i = 0; i <= text.len; i++) {
		if (glob(rest, (struct slice){text.at + i, text.len - i}))
			return true;
		if (i < text.len && strchr(":/", text.at[i]))
			return false;
	}
	return false;
}

static bool entry_allows(struct slice entry, const char *origin)
{
	if (entry.len == 1 && *entry.at == '*')
		return true;
	if (memmem(entry.at, entry.len, "://", 3) || strcasecmp(origin, "null") == 0)
		return glob(entry, (struct slice){origin, strlen(origin)});
	return glob(entry, origin_host(origin));
}

/* The next entry of a list; false at its end. */
static bool next_entry(const char **list, const char *separators, struct slice *entry)
{
	*list += strspn(*list, separators);
	*entry = (struct slice){*list, strcspn(*list, separators)};
	*list += entry->len;
	return entry->len > 0;
}

bool origin_allowed(const char *origin, const char *host, const char *allowed)
{
	if (!origin)
		return true;

	struct slice entry;
	bool listed = false;
	while (next_entry(&allowed, ", \t", &entry)) {
		if (entry_allows(entry, origin))
			return true;
		listed = true;
	}
	if (listed || !host)
		return false;
	struct slice own = origin_host(origin);
	return own.len && same(own, without_port((struct slice){host, strlen(host)}));
}

bool header_list_has(const char *list, const char *token)
{
	struct slice entry;
	while (next_entry(&list, ", \t", &entry))
		if (entry.len == strlen(token) && memcmp(entry.at, token, entry.len) == 0)
			return true;
	return false;
}
