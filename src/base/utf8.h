/* Validation and repair of UTF-8 (RFC 3629). Text comes from databases of any encoding and from
 * untrusted clients, and a browser closes the connection on the first invalid byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The length of the longest prefix that consists of complete, valid characters. */
size_t utf8_valid_prefix(const char *text, size_t len);

static inline bool utf8_valid(const char *text, size_t len)
{
	return utf8_valid_prefix(text, len) == len;
}

/* A NUL-terminated copy in which each maximal invalid part (Unicode 15, 3.9) is replaced by U+FFFD,
 * up to three times as long; the caller frees it. */
char *utf8_repair(const char *text, size_t len, size_t *out_len);
