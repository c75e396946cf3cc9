/* WebSocket frames as a server sends them (RFC 6455, 5.2): never masked. See struct protocol for
 * the functions.
 *
 * A long message is sent as a fragmented message (5.4), so that a control frame may be written
 * between any two slices of its block, and a ping does not wait for a megabyte. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "block.h"

/* Longest payload of one frame, in bytes. */
#define WEBSOCKET_FRAGMENT_MAX (BLOCK_WRITE_MAX - 4)

/* A text message. Bytes that are not UTF-8 become U+FFFD, because a browser closes the connection
 * over them. */
struct block *websocket_text(const char *text, size_t len);
/* A cursor as a control message. */
struct block *websocket_cursor(const char *cursor);
size_t websocket_ping(unsigned char *out);
/* A Close frame; the reason is cut to 123 bytes. */
size_t websocket_close(unsigned char *out, uint16_t code, const char *reason);
