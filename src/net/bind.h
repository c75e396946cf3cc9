/* Opens listening sockets for a list of addresses. */
#pragma once

#include <stdbool.h>

struct bind_config {
	const char *addresses; /* HOST:PORT, [V6]:PORT or unix:/PATH, comma-separated */
	const char *setting;   /* their origin, for messages */
	const char *if_busy;   /* the remedy if an address is in use, for messages */
	/* Share TCP ports with other processes of the same user (SO_REUSEPORT). The kernel gives a
	 * listening socket its share of the clients at once, so the caller calls listen() after
	 * everything else that can fail. */
	bool shared;
	/* Takes over a non-blocking socket; path is that of a unix socket, else NULL. */
	void (*opened)(void *ctx, int fd, const char *path);
	void *ctx;
};

/* False, after logging the cause, if an address is not available. */
bool bind_all(const struct bind_config *config);
