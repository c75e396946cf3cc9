#include "protocol.h"

#include "websocket.h"

const struct protocol protocols[] = {
	[PROTOCOL_PLAIN] = {.name = "",
		.encoding = ENCODING_WEBSOCKET,
		.message = websocket_text,
		.ping = websocket_ping,
		.close = websocket_close},
	[PROTOCOL_V1] = {.name = "pgcast.v1",
		.encoding = ENCODING_WEBSOCKET,
		.message = websocket_text,
		.control = websocket_text,
		.cursor = websocket_cursor,
		.ping = websocket_ping,
		.close = websocket_close},
};

void encoded_clear(struct encoded *encoded)
{
	for (size_t i = 0; i < ENCODINGS; i++)
		block_unref(&encoded->blocks[i]);
}
