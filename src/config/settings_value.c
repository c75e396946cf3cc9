#include "settings_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "alloc.h"

/* Longest file that a value is read from; keys and lists of them are far shorter. */
#define VALUE_FILE_MAX (1 << 20)

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
	unsigned int value = 0;
	size_t wanted = strlen(text);
	for (const char *at = words; *at; value++) {
		size_t len = strcspn(at, " ");
		if (len == wanted && strncmp(at, text, len) == 0) {
			static_assert(
				sizeof(enum source) == sizeof value, "an enum is an unsigned");
			memcpy(choice, &value, sizeof value);
			return true;
		}
		at += len + strspn(at + len, " ");
	}
	return false;
}

/* Returns what is wrong, or NULL. */
static char *parse_number(const struct setting_row *row, const char *text, int64_t *number)
{
	int64_t value, least = 0, most = 0;
	if (!units_parse(row->units, text, &value))
		return xasprintf("needs %s", units_form(row->units));
	units_parse(row->units, row->least, &least);
	units_parse(row->units, row->most, &most);
	if (value < least || value > most)
		return xasprintf("can be %s to %s", row->least, row->most);
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
		return parse_flag(text, at) ? NULL : xstrdup("can be on or off");
	case TYPE_NUMBER:
		return parse_number(row, text, at);
	case TYPE_CHOICE:
		return parse_choice(row->words, text, at)
			       ? NULL
			       : xasprintf("can be one of: %s", row->words);
	}
	abort();
}

char *settings_read_value(const char *path, char **problem)
{
	FILE *in = fopen(path, "re");
	if (!in) {
		*problem = xasprintf("can't read %s: %s", path, strerror(errno));
		return NULL;
	}
	char *text = xmalloc(VALUE_FILE_MAX + 1);
	size_t len = fread(text, 1, VALUE_FILE_MAX + 1, in);
	if (ferror(in))
		*problem = xasprintf("can't read %s: %s", path, strerror(errno));
	else if (len > VALUE_FILE_MAX || memchr(text, '\0', len))
		*problem = xasprintf("%s is not a text of at most 1MB", path);
	fclose(in);
	if (*problem) {
		free(text);
		return NULL;
	}
	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	text[len] = '\0';
	return xrealloc(text, len + 1);
}
