/* Settings: one row each in settings.def. They come, the later the stronger, from the row's
 * default, a file as postgresql.conf is written, the environment (PGCAST_<NAME>) and the command
 * line. A value
 * `@/path` is read from that file.
 *
 * Loading makes a whole new struct and changes nothing else, so that a reload with a mistake in it
 * can be refused and one without can be swapped in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "log.h"

/* Choices; their order is that of the row's words. */
enum source { SOURCE_AUTO, SOURCE_NOTIFY, SOURCE_POLL };
enum auth { AUTH_TRUST };

struct settings {
#define SETTING_TEXT(name, ...) const char *name;
#define SETTING_FLAG(name, ...) bool name;
#define SETTING_COUNT(name, ...) int64_t name;
#define SETTING_BYTES(name, ...) int64_t name;	  /* bytes */
#define SETTING_DURATION(name, ...) int64_t name; /* milliseconds */
#define SETTING_RATE(name, ...) int64_t name;	  /* per second */
#define SETTING_CHOICE(name, type, ...) enum type name;
#include "settings.def"
	struct setting_value *values; /* as written, and where: settings.c's own */
};

/* All defaults. */
struct settings *settings_create(void);
void settings_destroy(struct settings **settings);

/* Reads a file (NULL: none), the environment and `sets`, a NULL-terminated list of "key=value"
 * (NULL: none). False: *error is one line that says where and what, freed by the caller, *out is
 * NULL. */
bool settings_load(struct settings **out, const char *file, const char *const *sets, char **error);

/* Prints every value and its origin, in the file's syntax, with masked secrets; print_conninfo does
 * so for a connection string. */
void settings_print(const struct settings *settings, FILE *out,
	void (*print_conninfo)(const char *conninfo, FILE *out));
/* A file with all defaults commented out. */
void settings_example(FILE *out);
/* The keys as --help lists them. */
void settings_help(FILE *out);
