/* UTF-8 as RFC 3629 has it: finding where text stops being that, and repairing it. Text comes from
 * databases of any encoding and from strangers; browsers close the connection over one bad byte. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* How many bytes from the start on are whole, valid characters. */
size_t utf8_valid_prefix(const char *text, size_t len);

static inline bool utf8_valid(const char *text, size_t len)
{
	return utf8_valid_prefix(text, len) == len;
}

/* Copies with every maximal invalid part (Unicode 15, 3.9) replaced by U+FFFD, NUL-terminated; the
 * caller frees it. *out_len may be up to three times len. */
char *utf8_repair(const char *text, size_t len, size_t *out_len);
