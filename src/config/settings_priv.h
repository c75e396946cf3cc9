/* The rows of settings.def as data; private to settings*.c. */
#pragma once

#include <stddef.h>

#include "settings.h"
#include "units.h"

enum setting_type { TYPE_TEXT, TYPE_FLAG, TYPE_NUMBER, TYPE_CHOICE };
enum setting_secrecy { PUBLIC, SECRET, CONNINFO };

struct setting_row {
	const char *name, *default_value, *help;
	size_t offset; /* of the field in struct settings */
	enum setting_type type;
	enum setting_secrecy secrecy; /* of a text */
	enum unit_family units;	      /* of a number */
	const char *min, *max;	      /* of a number, in the file's syntax */
	const char *words;	      /* of a choice: "auto, text, json" in the order of its enum */
};

enum {
#define SETTING_TEXT(name, ...) SETTING_INDEX_##name,
#define SETTING_FLAG SETTING_TEXT
#define SETTING_COUNT SETTING_TEXT
#define SETTING_BYTES SETTING_TEXT
#define SETTING_DURATION SETTING_TEXT
#define SETTING_RATE SETTING_TEXT
#define SETTING_CHOICE SETTING_TEXT
#include "settings.def"
	SETTINGS_COUNT,
};

extern const struct setting_row settings_rows[SETTINGS_COUNT];

struct setting_value {
	char *written; /* as given, "@/path" included */
	char *text;    /* after reading that file */
	char *origin;
};

/* Stores a value in its field; a text is not copied. Returns an error text, which the caller frees,
 * or NULL. */
char *settings_parse(struct settings *settings, const struct setting_row *row, const char *text);

/* The contents of a file without trailing line breaks; on failure NULL and *error. The caller frees
 * both. */
char *settings_read_value(const char *path, char **error);
