/* Connection strings as people may see them. */
#pragma once

/* A copy of a libpq connection string or URI with the passwords in it masked; the caller frees it.
 * Where it is not clear what is a password, too much is masked. */
char *conninfo_masked(const char *conninfo);
