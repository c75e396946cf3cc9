/* Encoded, shared bytes: a block is what goes on the wire, WebSocket headers included, encoded once
 * and referenced from every outbox that it stands in.
 *
 * A long message is sent as a fragmented WebSocket message (RFC 6455, 5.4), so that between any two
 * slices of a block a control frame may be written: nobody has to hand a megabyte to the socket in
 * one piece for a ping to get through. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Greatest payload of one frame, and about the greatest write. */
#define FRAME_FRAGMENT 65535

struct block {
	uint32_t refs;
	uint32_t slice; /* bytes per write; len when the block goes out in one */
	size_t len;
	unsigned char bytes[];
};

/* Encodes a text message. Bytes that are not UTF-8 become U+FFFD, since a browser closes the
 * connection over them. The caller owns the one reference. */
struct block *frame_text(const char *text, size_t len);

/* Concatenates whole blocks, in order, into one; the caller keeps its references to the parts. */
struct block *frame_join(struct block *const *blocks, size_t n);

struct block *block_ref(struct block *block);
/* Gives up a reference and sets the caller's pointer to NULL. NULL is accepted. */
void block_unref(struct block **block);

/* Encodes a Close frame (code, reason cut to 123 bytes) into out; returns its length. */
#define FRAME_CLOSE_MAX 127
size_t frame_close(unsigned char out[FRAME_CLOSE_MAX], uint16_t code, const char *reason);
