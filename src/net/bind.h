/* Opens the listening sockets that a list of addresses asks for. */
#pragma once

#include <stdbool.h>

struct bind_request {
	const char *addresses; /* HOST:PORT, [V6]:PORT, unix:/PATH, comma-separated */
	const char *setting;   /* where they come from, for messages */
	const char *if_busy;   /* what can be done when an address is in use, for messages */
	/* Lets other processes of the same user that ask for it, too, have the same addresses
	 * (SO_REUSEPORT). A socket that listens gets its share of the clients at once, so these do
	 * not listen yet: bind_listen comes when nothing else can fail. Not for Unix sockets. */
	bool shared;
	/* Takes over a socket, non-blocking; path is a Unix socket's, to be copied, else NULL. */
	void (*opened)(void *ctx, int fd, const char *path);
	void *ctx;
};

/* False when one of them can't be had; that has been logged. */
bool bind_all(const struct bind_request *request);
/* False and errno when a socket can't listen. */
bool bind_listen(int fd);
