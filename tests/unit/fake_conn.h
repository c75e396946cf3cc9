/* A connection without a socket: a transport that accepts a limited number of bytes, decodes them
 * as a browser does, and asserts that the hub keeps the rules of struct transport. */
#pragma once

#include "unit.h"

#include <stdbool.h>

#include "hub.h"

#define RECEIVED_HEAD 128

#define PLAIN (&protocols[PROTOCOL_PLAIN])
#define V1 (&protocols[PROTOCOL_V1])

/* A complete message. */
struct received {
	char head[RECEIVED_HEAD]; /* the beginning of its text */
	size_t len;
};

struct fake_conn {
	struct client *client; /* NULL: refused, or gone */
	size_t room;	       /* bytes accepted before it is congested */
	bool congested, wake_requested, broken;
	uint16_t closed; /* code; 0: not closed */
	struct received *received;
	size_t n_received, capacity;
	bool in_message;
	size_t max_queued; /* limit of the client's queue, checked at each write; 0: none */
};

/* Joins; all bytes are accepted until fake_conn_congest. */
void fake_conn_join(struct fake_conn *conn, struct hub *hub, const struct client_config *config);
/* Accepts `room` more bytes (a write is accepted whole), then is congested. */
void fake_conn_congest(struct fake_conn *conn, size_t room);
/* Accepts `room` bytes again (0: any number), and answers a wake. */
void fake_conn_drain(struct fake_conn *conn, size_t room);
void fake_conn_leave(struct fake_conn *conn);
void fake_conn_clear(struct fake_conn *conn);
void fake_conn_send(struct fake_conn *conn, const char *text);

/* Asserts which messages arrived since the last call: the list of their beginnings ends in NULL. */
void assert_received(struct fake_conn *conn, ...) __attribute__((sentinel));
