/* The server for clients and operators: listeners, routes, and lws with its context. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "hub.h"
#include "settings.h"

struct server;

struct server_config {
	uv_loop_t *loop; /* lent to lws until server_destroy */
	const struct settings *settings;
	struct hub *hub;
	/* For /readyz: true when clients are served; else *why is one line of text. */
	bool (*ready)(void *ctx, const char **why);
	void *ctx;
};

/* Listens. NULL when an address cannot be had; the reason has been logged. */
struct server *server_create(const struct server_config *config);
/* Accepts clients from now on; until then they wait in the kernel's queue. */
void server_accept(struct server *server);
/* Accepts no new clients except those whose handshake has begun. Connections stay, and so does the
 * admin listener. */
void server_stop_listening(struct server *server);
/* True when no handshake is under way any more. */
bool server_is_idle(const struct server *server);
/* Ends all connections, without a close. Runs the loop until nothing of lws is in it; not to be
 * called from a callback of the loop. */
void server_destroy(struct server **server);
