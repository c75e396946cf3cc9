/* libpq connection strings as they may be shown. */
#pragma once

#include <stdio.h>

/* Prints a connection string or URI in the form key='value', with masked secrets. A string that
 * libpq cannot parse is masked as a whole. */
void conninfo_print_masked(const char *conninfo, FILE *out);
