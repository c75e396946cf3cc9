/* One connected client: which uid, how far it has got, what is still to be written to it.
 *
 * A client is live (a reader of its audience's run) or catching up (fed from the journal, page by
 * page, from its window). Joining in the middle of a turn, init, resuming and being too slow are
 * all the same way through. It knows nothing of sockets: a transport writes for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry.h"

/* What a connection can do for its client. */
struct transport {
	/* Writes bytes that end on a frame boundary. The connection takes all of them (what the
	 * kernel does not take it keeps). False: it is broken, and client_gone follows later. */
	bool (*write)(void *conn, const unsigned char *bytes, size_t len);
	/* True while a rest of the last write is kept: write nothing then, ask for wake. */
	bool (*congested)(void *conn);
	/* Asks for one client_writable() as soon as the connection is not congested. */
	void (*wake)(void *conn);
	/* Sends a close with code and reason behind what was written, and ends the connection
	 * (client_gone follows later). Nothing is written after this. */
	void (*close)(void *conn, uint16_t code, const char *reason);
};

/* Close codes of the contract. */
enum close_code {
	CLOSE_GOING_AWAY = 1001,
	CLOSE_BINARY = 1003,
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

/* What the handshake asked for; copied. */
struct client_request {
	const char *uid;
	const char *types; /* comma-separated, or NULL for all */
	const char *since; /* a cursor, or NULL for "from now on" */
	enum kind kind;
};

struct client;

/* The connection can take bytes again (answers wake). */
void client_writable(struct client *client);
/* A whole text message arrived; it is valid UTF-8 and not longer than max_message. */
void client_received(struct client *client, const char *text, size_t len);
