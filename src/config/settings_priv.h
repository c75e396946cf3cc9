/* The rows of settings.def as data, for settings*.c alone. */
#pragma once

#include <stddef.h>

#include "settings.h"
#include "units.h"

enum setting_type { TYPE_TEXT, TYPE_FLAG, TYPE_NUMBER, TYPE_CHOICE };
enum setting_secrecy { PUBLIC, SECRET, CONNINFO };

struct setting_row {
	const char *name, *initial, *help;
	size_t offset; /* of the field in struct settings */
	enum setting_type type;
	enum setting_secrecy secrecy; /* of a text */
	enum unit_family units;	      /* of a number */
	const char *least, *most;     /* of a number, written as values are */
	const char *words;	      /* of a choice, in the order of its enum */
};

enum {
#define SETTING_TEXT(name, ...) SETTINGS_NTH_##name,
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
	char *written; /* as it was given: a value read from a file is "@/path" here */
	char *text;    /* the value itself */
	char *origin;
};

/* Puts a value into its field; a text is not copied. Returns what is wrong with it, for the caller
 * to free, or NULL. */
char *settings_parse(struct settings *settings, const struct setting_row *row, const char *text);

/* A file's text without the line break at its end; NULL and *problem when it can't be had. Both are
 * freed by the caller. */
char *settings_read_value(const char *path, char **problem);
