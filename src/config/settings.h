/* Settings, one row each in settings.def. In order of precedence, values come from the command
 * line, the environment (PGCAST_<NAME>), a file in the syntax of postgresql.conf, and the row's
 * default. The value `@/path` reads that file.
 *
 * Loading creates a new struct, so that a reload with an error changes nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "log.h"

#define CHOICES_source(X) X(SOURCE_AUTO, "auto") X(SOURCE_NOTIFY, "notify") X(SOURCE_POLL, "poll")
#define CHOICES_auth(X) X(AUTH_TRUST, "trust")

enum source { CHOICES_source(CHOICE_CONSTANT) };
enum auth { CHOICES_auth(CHOICE_CONSTANT) };

struct settings {
#define SETTING_TEXT(name, ...) const char *name;
#define SETTING_FLAG(name, ...) bool name;
#define SETTING_COUNT(name, ...) int64_t name;
#define SETTING_BYTES(name, ...) int64_t name;	  /* bytes */
#define SETTING_DURATION(name, ...) int64_t name; /* milliseconds */
#define SETTING_RATE(name, ...) int64_t name;	  /* per second */
#define SETTING_CHOICE(name, ...) enum name name;
#include "settings.def"
	struct setting_value *values; /* text and origin of each row; private */
};

/* Reads a file (NULL: none), the environment and `sets`, a NULL-terminated list of "key=value"
 * (NULL: none). On failure *out is NULL and *error one line with the place and the cause, which the
 * caller frees. */
bool settings_load(struct settings **out, const char *file, const char *const *sets, char **error);
void settings_destroy(struct settings **settings);

/* Prints all values and their origins in the file's syntax, with secrets masked; print_conninfo
 * prints a masked connection string. */
void settings_print(const struct settings *settings, FILE *out,
	void (*print_conninfo)(const char *conninfo, FILE *out));
/* Prints a file with all defaults, commented out. */
void settings_example(FILE *out);
/* Prints the settings for --help. */
void settings_help(FILE *out);
