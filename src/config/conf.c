#include "conf.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

#define SPACE " \t\r\n"
#define NAME "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

static const char *skip_space(const char *at)
{
	return at + strspn(at, SPACE);
}

static bool at_end(const char *at)
{
	return *at == '\0' || *at == '#';
}

/* Returns what follows the closing quote; NULL when there is none. */
static const char *take_quoted(const char *at, char **value)
{
	char *out = *value = xmalloc(strlen(at) + 1);
	for (at++; *at; at++) {
		if (*at == '\'' && *++at != '\'') {
			*out = '\0';
			return at;
		}
		*out++ = *at;
	}
	free(*value);
	*value = NULL;
	return NULL;
}

static const char *take_bare(const char *at, char **value)
{
	size_t len = strcspn(at, SPACE "#'");
	*value = xstrndup(at, len);
	return at + len;
}

/* What is wrong with the line from the value on, or NULL. */
static const char *take_value(const char *at, char **value)
{
	if (at_end(at))
		return "the value is missing (write '' for an empty one)";
	at = *at == '\'' ? take_quoted(at, value) : take_bare(at, value);
	if (!at)
		return "the closing quote is missing";
	if (!at_end(skip_space(at)))
		return "more than one value (put one with spaces in it in 'quotes')";
	return NULL;
}

bool conf_line(const char *line, char **key, char **value, const char **error)
{
	*key = *value = NULL;
	line = skip_space(line);
	if (at_end(line))
		return true;
	size_t len = strspn(line, NAME);
	const char *rest = skip_space(line + len);
	if (len == 0 || (rest == line + len && *rest != '=' && !at_end(rest))) {
		*error = "not of the form key = value";
		return false;
	}
	if (*rest == '=')
		rest = skip_space(rest + 1);
	*error = take_value(rest, value);
	if (*error) {
		free(*value);
		*value = NULL;
		return false;
	}
	*key = xstrndup(line, len);
	return true;
}
