#include "settings_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alloc.h"

/* Bytes; keys and lists of keys are far shorter. */
#define MAX_VALUE_FILE (1 << 20)

static bool parse_flag(const char *text, bool *flag)
{
	static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*flag = i % 2;
			return true;
		}
	}
	return false;
}

static bool parse_choice(const char *words, const char *text, void *choice)
{
	static_assert(sizeof(enum source) == sizeof(unsigned int), "an enum is an unsigned int");
	unsigned int value = 0;
	for (const char *at = words; *at; value++) {
		size_t len = strcspn(at, ",");
		if (len == strlen(text) && strncmp(at, text, len) == 0) {
			memcpy(choice, &value, sizeof value);
			return true;
		}
		at += len + strspn(at + len, ", ");
	}
	return false;
}

/* Returns an error text or NULL. */
static char *parse_number(const struct setting_row *row, const char *text, int64_t *number)
{
	int64_t value, min = 0, max = 0;
	if (!units_parse(row->units, text, &value))
		return xasprintf("must be %s", units_form(row->units));
	units_parse(row->units, row->min, &min);
	units_parse(row->units, row->max, &max);
	if (value < min || value > max)
		return xasprintf("must be between %s and %s", row->min, row->max);
	*number = value;
	return NULL;
}

char *settings_parse(struct settings *settings, const struct setting_row *row, const char *text)
{
	void *at = (char *)settings + row->offset;
	switch (row->type) {
	case TYPE_TEXT:
		memcpy(at, &text, sizeof text);
		return NULL;
	case TYPE_FLAG:
		return parse_flag(text, at) ? NULL : xstrdup("must be on or off");
	case TYPE_NUMBER:
		return parse_number(row, text, at);
	case TYPE_CHOICE:
		return parse_choice(row->words, text, at)
			       ? NULL
			       : xasprintf("must be one of: %s", row->words);
	}
	abort();
}

char *settings_read_value(const char *path, char **error)
{
	FILE *in = fopen(path, "re");
	if (!in) {
		*error = xasprintf("could not read %s: %s", path, strerror(errno));
		return NULL;
	}
	char *text = xmalloc(MAX_VALUE_FILE + 1);
	size_t len = fread(text, 1, MAX_VALUE_FILE + 1, in);
	if (ferror(in))
		*error = xasprintf("could not read %s: %s", path, strerror(errno));
	else if (len > MAX_VALUE_FILE || memchr(text, '\0', len))
		*error = xasprintf("%s must be a text of at most 1MB", path);
	fclose(in);
	if (*error) {
		free(text);
		return NULL;
	}
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	text[len] = '\0';
	return xrealloc(text, len + 1);
}
