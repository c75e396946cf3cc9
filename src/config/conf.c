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

/* Returns the text after the closing quote, or NULL if that is missing. */
static const char *parse_quoted(const char *at, char **value)
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

/* Returns an error text or NULL. */
static const char *parse_value(const char *at, char **value)
{
	if (at_end(at))
		return "missing value (write '' for an empty one)";
	if (*at == '\'') {
		at = parse_quoted(at, value);
		if (!at)
			return "unterminated quoted value";
	} else {
		size_t len = strcspn(at, SPACE "#'");
		*value = xstrndup(at, len);
		at += len;
	}
	return at_end(skip_space(at))
		       ? NULL
		       : "more than one value (put a value that contains spaces in 'quotes')";
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
		*error = "expected key = value";
		return false;
	}
	if (*rest == '=')
		rest = skip_space(rest + 1);
	*error = parse_value(rest, value);
	if (*error) {
		free(*value);
		*value = NULL;
		return false;
	}
	*key = xstrndup(line, len);
	return true;
}
