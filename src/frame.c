#include "frame.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "utf8.h"

/* RFC 6455, 5.2. What a server sends is not masked. */
#define FIN 0x80
#define OPCODE_CONTINUATION 0x0
#define OPCODE_TEXT 0x1
#define OPCODE_CLOSE 0x8
#define SHORT_PAYLOAD 125 /* longest that fits the first length field */
#define LENGTH_16 126	  /* says that two bytes of length follow */
#define LONG_HEADER 4
#define CLOSE_REASON_MAX 123

static size_t header_size(size_t payload)
{
	return payload <= SHORT_PAYLOAD ? 2 : LONG_HEADER;
}

static size_t put_header(unsigned char *out, unsigned char first, size_t payload)
{
	assert(payload <= FRAME_FRAGMENT);
	out[0] = first;
	if (payload <= SHORT_PAYLOAD) {
		out[1] = (unsigned char)payload;
		return 2;
	}
	out[1] = LENGTH_16;
	out[2] = (unsigned char)(payload >> 8);
	out[3] = (unsigned char)(payload & 0xFF);
	return LONG_HEADER;
}

static struct block *block_create(size_t len)
{
	struct block *block = xmalloc(sizeof *block + len);
	*block = (struct block){.refs = 1, .len = len};
	return block;
}

static size_t encoded_size(size_t len)
{
	size_t full = len / FRAME_FRAGMENT, rest = len % FRAME_FRAGMENT;
	size_t size = full * (FRAME_FRAGMENT + LONG_HEADER);
	return rest || !full ? size + header_size(rest) + rest : size;
}

/* All fragments but the last are of one size, so every slice ends where a frame does. */
static struct block *encode(const char *text, size_t len)
{
	struct block *block = block_create(encoded_size(len));
	unsigned char *out = block->bytes, opcode = OPCODE_TEXT;
	bool last;
	do {
		last = len <= FRAME_FRAGMENT;
		size_t n = last ? len : FRAME_FRAGMENT;
		out += put_header(out, last ? FIN | opcode : opcode, n);
		memcpy(out, text, n);
		out += n;
		text += n;
		len -= n;
		opcode = OPCODE_CONTINUATION;
	} while (!last);
	assert(out == block->bytes + block->len);
	size_t most = FRAME_FRAGMENT + LONG_HEADER;
	block->slice = (uint32_t)(block->len < most ? block->len : most);
	return block;
}

struct block *frame_text(const char *text, size_t len)
{
	if (utf8_valid(text, len))
		return encode(text, len);
	size_t repaired_len;
	char *repaired = utf8_repair(text, len, &repaired_len);
	struct block *block = encode(repaired, repaired_len);
	free(repaired);
	return block;
}

struct block *frame_join(struct block *const *blocks, size_t n)
{
	size_t len = 0;
	for (size_t i = 0; i < n; i++)
		len += blocks[i]->len;
	assert(len <= FRAME_FRAGMENT + LONG_HEADER);
	struct block *joined = block_create(len);
	joined->slice = (uint32_t)len;
	unsigned char *out = joined->bytes;
	for (size_t i = 0; i < n; i++) {
		memcpy(out, blocks[i]->bytes, blocks[i]->len);
		out += blocks[i]->len;
	}
	return joined;
}

struct block *block_ref(struct block *block)
{
	block->refs++;
	return block;
}

void block_unref(struct block **block)
{
	struct block *gone = *block;
	*block = NULL;
	if (gone && --gone->refs == 0)
		free(gone);
}

size_t frame_close(unsigned char out[FRAME_CLOSE_MAX], uint16_t code, const char *reason)
{
	size_t len = strlen(reason);
	if (len > CLOSE_REASON_MAX)
		len = utf8_valid_prefix(reason, CLOSE_REASON_MAX);
	size_t at = put_header(out, FIN | OPCODE_CLOSE, 2 + len);
	out[at++] = (unsigned char)(code >> 8);
	out[at++] = (unsigned char)(code & 0xFF);
	memcpy(out + at, reason, len);
	return at + len;
}
