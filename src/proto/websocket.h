/* WebSocket frames as a server sends them (RFC 6455, 5.2): never masked.
 *
 * A long message is sent as a fragmented message (5.4), so that a control frame may be written
 * between any two slices of its block, and a ping does not wait for a megabyte. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/* Longest payload of one frame, in bytes. */
#define WEBSOCKET_FRAGMENT_MAX (BLOCK_WRITE_MAX - 4)

/* Encodes a text message. Bytes that are not UTF-8 become U+FFFD, because a browser closes the
 * connection over them. The caller owns the one reference. */
struct block *websocket_text(const char *text, size_t len);

/* Encodes a Close frame (code, reason cut to 123 bytes) into out; returns its length. */
#define WEBSOCKET_CLOSE_MAX 127
size_t websocket_close(unsigned char out[WEBSOCKET_CLOSE_MAX], uint16_t code, const char *reason);
