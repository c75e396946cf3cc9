/* Allocation that never returns NULL: on failure the process aborts and the service manager
 * restarts it, so that callers need no error path. */
#pragma once

#include <stddef.h>

#define NEVER_NULL __attribute__((returns_nonnull, warn_unused_result))

NEVER_NULL void *xmalloc(size_t size);
NEVER_NULL void *xcalloc(size_t n, size_t size);
NEVER_NULL void *xrealloc(void *ptr, size_t size);
NEVER_NULL char *xstrdup(const char *text);
NEVER_NULL char *xstrndup(const char *text, size_t len);
NEVER_NULL char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Aborts the process; for failed allocations by other functions. */
void alloc_failed(void) __attribute__((noreturn));
