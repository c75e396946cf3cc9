/* Lines of a configuration file in the syntax of postgresql.conf: `key = value` with an optional
 * `=`, `#` comments, and 'quoted values' in which '' is a quote. */
#pragma once

#include <stdbool.h>

/* Parses one line. The caller frees *key and *value, which are NULL for an empty line. On failure
 * both are NULL and *error is static text. */
bool conf_line(const char *line, char **key, char **value, const char **error);
