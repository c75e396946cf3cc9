#include "websocket.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "utf8.h"

/* RFC 6455, 5.2. */
#define FIN 0x80
#define OPCODE_CONTINUATION 0x0
#define OPCODE_TEXT 0x1
#define OPCODE_CLOSE 0x8
#define OPCODE_PING 0x9
#define SHORT_PAYLOAD 125 /* longest that fits the first length field */
#define LENGTH_16 126	  /* two bytes of length follow */
#define LONG_HEADER 4
#define CLOSE_REASON_MAX 123

static size_t header_size(size_t payload)
{
	return payload <= SHORT_PAYLOAD ? 2 : LONG_HEADER;
}

static size_t put_header(unsigned char *out, unsigned char first, size_t payload)
{
	assert(payload <= WEBSOCKET_FRAGMENT_MAX);
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

static size_t encoded_size(size_t len)
{
	size_t full = len / WEBSOCKET_FRAGMENT_MAX, rest = len % WEBSOCKET_FRAGMENT_MAX;
	size_t size = full * (WEBSOCKET_FRAGMENT_MAX + LONG_HEADER);
	return rest || !full ? size + header_size(rest) + rest : size;
}

/* All fragments but the last are of one size, so every slice ends where a frame does. */
static struct block *encode(const char *text, size_t len)
{
	struct block *block = block_create(encoded_size(len));
	unsigned char *out = block->bytes, opcode = OPCODE_TEXT;
	bool last;
	do {
		last = len <= WEBSOCKET_FRAGMENT_MAX;
		size_t n = last ? len : WEBSOCKET_FRAGMENT_MAX;
		out += put_header(out, last ? FIN | opcode : opcode, n);
		memcpy(out, text, n);
		out += n;
		text += n;
		len -= n;
		opcode = OPCODE_CONTINUATION;
	} while (!last);
	assert(out == block->bytes + block->len);
	if (block->len > BLOCK_WRITE_MAX)
		block->slice = BLOCK_WRITE_MAX;
	return block;
}

struct block *websocket_text(const char *text, size_t len)
{
	if (utf8_valid(text, len))
		return encode(text, len);
	size_t repaired_len;
	char *repaired = utf8_repair(text, len, &repaired_len);
	struct block *block = encode(repaired, repaired_len);
	free(repaired);
	return block;
}

struct block *websocket_cursor(const char *cursor)
{
	char *text = message_cursor(cursor);
	struct block *block = websocket_text(text, strlen(text));
	free(text);
	return block;
}

/* One byte of payload, because lws does not report an empty pong. */
size_t websocket_ping(unsigned char *out)
{
	size_t at = put_header(out, FIN | OPCODE_PING, 1);
	out[at++] = '.';
	return at;
}

size_t websocket_close(unsigned char *out, uint16_t code, const char *reason)
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
