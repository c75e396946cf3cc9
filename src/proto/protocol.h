/* How a stream is spoken: one row per protocol, stateless. Everything above this folder hands over
 * JSON and gets blocks; nothing else knows frames, or which clients take control messages. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/* Close codes, part of the contract. */
enum close_code {
	CLOSE_GOING_AWAY = 1001,
	CLOSE_BINARY = 1003,
	CLOSE_NO_CODE = 1005,  /* never sent: the peer named none */
	CLOSE_ABNORMAL = 1006, /* never sent: the connection broke */
	CLOSE_BAD_UTF8 = 1007,
	CLOSE_TOO_BIG = 1009,
	CLOSE_RESTART = 1012,
	CLOSE_OVERLOAD = 1013,
	CLOSE_BAD_REQUEST = 4400,
	CLOSE_UNAUTHENTICATED = 4401,
	CLOSE_FORBIDDEN = 4403,
	CLOSE_AUTH_TIMEOUT = 4408,
	CLOSE_TOO_MANY_CLIENTS = 4409,
	CLOSE_TOO_MANY_MESSAGES = 4429,
	CLOSE_TOO_SLOW = 4508,
	CLOSE_TOKEN_EXPIRED = 4509,
};

/* Why a client is not let in, as its connection is closed. */
struct refusal {
	uint16_t code;
	const char *reason; /* static text */
};

/* Protocols of one encoding share the blocks of messages. */
enum encoding { ENCODING_WEBSOCKET, ENCODINGS };

/* Room for a ping or a close, in bytes. */
#define PROTOCOL_CONTROL_MAX 127

struct protocol {
	const char *name; /* the subprotocol of the handshake; "": none */
	enum encoding encoding;
	/* Encode an event or an answer; a control message (hello, reset, error, ack); a cursor. The
	 * caller owns the reference. `control` and `cursor` are NULL in a protocol without them. */
	struct block *(*message)(const char *json, size_t len);
	struct block *(*control)(const char *json, size_t len);
	struct block *(*cursor)(const char *cursor);
	/* Write PROTOCOL_CONTROL_MAX bytes at most to `out` and return their number. */
	size_t (*ping)(unsigned char *out);
	size_t (*close)(unsigned char *out, uint16_t code, const char *reason);
};

enum { PROTOCOL_PLAIN, PROTOCOL_V1, PROTOCOLS };
extern const struct protocol protocols[PROTOCOLS];

/* A message in the encodings that were needed so far; all zero: in none. */
struct encoded {
	struct block *blocks[ENCODINGS];
};

/* The message as a block of the protocol; *encoded keeps the reference. */
static inline struct block *encoded_block(
	struct encoded *encoded, const struct protocol *protocol, const char *json, size_t len)
{
	struct block **block = &encoded->blocks[protocol->encoding];
	if (!*block)
		*block = protocol->message(json, len);
	return *block;
}

void encoded_clear(struct encoded *encoded);
