#include "utf8.h"

#include <stdint.h>
#include <string.h>

#include "alloc.h"

#define REPLACEMENT "\xEF\xBF\xBD"

/* The bytes after a lead byte: their number and the range of the first of them, which excludes
 * overlong forms, surrogates and code points above U+10FFFF. */
struct lead {
	unsigned char min, max, follow;
};

static struct lead lead_of(unsigned char byte)
{
	if (byte >= 0xC2 && byte <= 0xDF)
		return (struct lead){0x80, 0xBF, 1};
	if (byte >= 0xE0 && byte <= 0xEF)
		return (struct lead){byte == 0xE0 ? 0xA0 : 0x80, byte == 0xED ? 0x9F : 0xBF, 2};
	if (byte >= 0xF0 && byte <= 0xF4)
		return (struct lead){byte == 0xF0 ? 0x90 : 0x80, byte == 0xF4 ? 0x8F : 0xBF, 3};
	return (struct lead){0, 0, 0};
}

/* The length of the character, or of the maximal invalid part, at the start of the text. */
static size_t char_len(const unsigned char *at, size_t len, bool *valid)
{
	*valid = at[0] < 0x80;
	if (*valid)
		return 1;
	struct lead lead = lead_of(at[0]);
	for (size_t i = 1; i <= lead.follow; i++) {
		unsigned char min = i == 1 ? lead.min : 0x80, max = i == 1 ? lead.max : 0xBF;
		if (i == len || at[i] < min || at[i] > max)
			return i;
	}
	*valid = lead.follow > 0;
	return lead.follow + 1u;
}

static size_t ascii_prefix(const unsigned char *at, size_t len)
{
	size_t i = 0;
	uint64_t word;
	for (; i + sizeof word <= len; i += sizeof word) {
		memcpy(&word, at + i, sizeof word);
		if (word & UINT64_C(0x8080808080808080))
			break;
	}
	while (i < len && at[i] < 0x80)
		i++;
	return i;
}

size_t utf8_valid_prefix(const char *text, size_t len)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t i = 0;
	while ((i += ascii_prefix(at + i, len - i)) < len) {
		bool valid;
		size_t n = char_len(at + i, len - i, &valid);
		if (!valid)
			break;
		i += n;
	}
	return i;
}

char *utf8_repair(const char *text, size_t len, size_t *out_len)
{
	char *out = xmalloc(3 * len + 1);
	size_t n = 0, i = 0;
	while (i < len) {
		size_t prefix = utf8_valid_prefix(text + i, len - i);
		memcpy(out + n, text + i, prefix);
		n += prefix;
		i += prefix;
		if (i < len) {
			bool valid;
			i += char_len((const unsigned char *)text + i, len - i, &valid);
			memcpy(out + n, REPLACEMENT, 3);
			n += 3;
		}
	}
	out[n] = '\0';
	*out_len = n;
	return out;
}
