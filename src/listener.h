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
	/* "" for clients, or "admin": also the FileDescriptorName= of sockets handed over for it;
	 * clients get all that have another. */
	const char *what;
	/* Takes over the descriptor of a connection, non-blocking. */
	void (*accepted)(void *ctx, int fd);
	void *ctx;
};

/* NULL when an address can't be had; that has been logged. An empty list listens nowhere. */
struct listener *listener_create(const struct listener_config *config);
/* Begins to accept; until then connections wait in the kernel's queue. */
void listener_accept(struct listener *listener);
/* Closes the sockets; connections stay. */
void listener_stop(struct listener *listener);
/* The loop has to run once more. */
void listener_destroy(struct listener **listener);
