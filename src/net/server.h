/* The WebSocket daemon: the listeners, the handshake, and lws with its context. */
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
	/* For /readyz: whether clients get what they came for; if not, *why is one line. */
	bool (*ready)(void *ctx, const char **why);
	void *ctx;
};

/* Listens. NULL when that can't be had; the reason has been logged. */
struct server *server_create(const struct server_config *config);
/* Begins to accept clients; until then they wait. */
void server_accept(struct server *server);
/* No new clients but those that are on their way; those that are connected stay, and so does the
 * admin listener. */
void server_stop_listening(struct server *server);
/* None is on its way any more. */
bool server_quiet(const struct server *server);
/* Ends all connections, without a Close: hub_close_all comes before, and time for it to arrive.
 * Runs the loop until nothing of lws is in it; not to be called from one of the loop's callbacks.
 */
void server_destroy(struct server **server);
