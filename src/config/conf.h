/* Lines of a configuration file as postgresql.conf has them: `key = value` (the sign may be
 * missing),
 * `#` comments, 'quoted values' in which '' stands for a quote. */
#pragma once

#include <stdbool.h>

/* Reads one line. *key and *value are freed by the caller, and NULL when the line has none. False:
 * *error says what is wrong (static text), and both are NULL. */
bool conf_line(const char *line, char **key, char **value, const char **error);
