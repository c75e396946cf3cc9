/* Listening sockets: ours, or those handed over by systemd.
 *
 * They are ours and not lws's, so that we can stop accepting, are not kept busy when descriptors
 * run out, can be given sockets, and so that several processes may share a port. Whoever asked for
 * a listener is called with each connection. */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct listener;

struct listener_config {
	uv_loop_t *loop;
	const char *addresses; /* HOST:PORT, [V6]:PORT, unix:/PATH, comma-separated */
	const char *setting;   /* where they come from, for messages */
	const char *if_busy;   /* what can be done when an address is in use, for messages */
	/* Other processes of the same user that share their addresses may have these, too. */
	bool shared;
	/* "" for clients, or "admin": also the FileDescriptorName= of sockets handed over for it;
	 * clients get all that have another. */
	const char *what;
	/* Takes over the descriptor of a connection, non-blocking. */
	void (*accepted)(void *ctx, int fd);
	void *ctx;
};

/* Shared ports listen at the end of this, so nothing that may fail should come after it, for then
 * the clients are lost that came in between. NULL when an address can't be had; that has been
 * logged. An empty list listens nowhere. */
struct listener *listener_create(const struct listener_config *config);
/* Begins to accept; until then connections wait in the kernel's queue. */
void listener_accept(struct listener *listener);
/* Takes the connections that wait, and closes the sockets; connections stay. With shared ports this
 * takes a moment, in which those that were about to connect here arrive. */
void listener_stop(struct listener *listener);
/* No connection will come any more. */
bool listener_stopped(const struct listener *listener);
/* The loop has to run once more. */
void listener_destroy(struct listener **listener);
