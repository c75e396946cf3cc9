/* A connection without a socket: a transport that takes as many bytes as it is told to, decodes
 * what it gets as a browser would, and checks every promise that is made to a transport on the way.
 */
#pragma once

#include "unit.h"

#include <stdbool.h>

#include "hub.h"

#define GOT_HEAD 128

#define PLAIN (&protocols[PROTOCOL_PLAIN])
#define V1 (&protocols[PROTOCOL_V1])

/* A message that arrived whole. */
struct got {
	char head[GOT_HEAD]; /* how its text begins */
	size_t len;
};

struct fake_conn {
	struct client *client; /* NULL: refused, or gone */
	size_t room;	       /* bytes that it takes before it is congested */
	bool congested, woken, broken;
	uint16_t closed; /* code; 0: not closed */
	struct got *got;
	size_t n_got, got_room;
	bool in_message;
	size_t most; /* the client's queue may never be longer than this at a write; 0: any */
};

/* Joins; the connection takes everything until fake_conn_clog. */
void fake_conn_join(struct fake_conn *conn, struct hub *hub, const char *uid, const char *types,
	const struct protocol *protocol);
void fake_conn_request(
	struct fake_conn *conn, struct hub *hub, const struct client_config *request);
/* Takes so many bytes more (all of a write that it begins), then is congested. */
void fake_conn_clog(struct fake_conn *conn, size_t room);
/* Can take so many bytes again, and says so if it was asked to. */
void fake_conn_drain(struct fake_conn *conn, size_t room);
/* Goes away. */
void fake_conn_leave(struct fake_conn *conn);
void fake_conn_clear(struct fake_conn *conn);
void fake_conn_say(struct fake_conn *conn, const char *text);

/* Asserts that these messages arrived since the last call: the list ends in NULL, each stands for
 * a message that begins so. */
void assert_got(struct fake_conn *conn, ...) __attribute__((sentinel));
