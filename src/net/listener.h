/* Listening sockets, opened here or passed by systemd.
 *
 * libwebsockets' own listening sockets cannot pause accepting, which would keep the process busy
 * when file descriptors run out, and cannot be inherited or shared between processes. */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct listener;

struct listener_config {
	uv_loop_t *loop;
	const char *addresses; /* HOST:PORT, [V6]:PORT or unix:/PATH, comma-separated */
	const char *setting;   /* their origin, for messages */
	const char *if_busy;   /* the remedy if an address is in use, for messages */
	bool shared;	       /* with other processes of the same user that share them, too */
	/* "" for clients, or "admin": the FileDescriptorName= of its sockets passed by systemd;
	 * sockets with any other name are for clients. */
	const char *what;
	/* Takes over the non-blocking descriptor of a connection. */
	void (*accepted)(void *ctx, int fd);
	void *ctx;
};

/* NULL, after logging the cause, if an address is not available. An empty list opens no socket.
 * Shared ports receive clients when this returns: call it after everything else that can fail. */
struct listener *listener_create(const struct listener_config *config);
/* Starts accepting; until then connections wait in the kernel's queue. */
void listener_accept(struct listener *listener);
/* Accepts the waiting connections and closes the sockets. With shared ports this takes a moment, in
 * which pending TCP handshakes complete. Accepted connections are not affected. */
void listener_stop(struct listener *listener);
/* True when no further connection will be accepted. */
bool listener_stopped(const struct listener *listener);
/* The loop must run once more afterwards. */
void listener_destroy(struct listener **listener);
