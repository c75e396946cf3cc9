/* The WebSocket daemon: the listeners, the handshake, and lws with its context. */
#pragma once

#include <stdbool.h>
#include <uv.h>

#include "hub.h"
#include "settings.h"

struct wsd;

struct wsd_config {
	uv_loop_t *loop; /* lent to lws until wsd_destroy */
	const struct settings *settings;
	struct hub *hub;
	/* For /readyz: whether clients get what they came for; if not, *why is one line. */
	bool (*ready)(void *ctx, const char **why);
	/* Before /metrics: brings gauges up to date; may be NULL. */
	void (*gauges)(void *ctx);
	void *ctx;
};

/* Listens. NULL when that can't be had; the reason has been logged. */
struct wsd *wsd_create(const struct wsd_config *config);
/* Begins to accept clients; until then they wait. */
void wsd_accept(struct wsd *wsd);
/* No new clients but those that are on their way; those that are connected stay, and so does the
 * admin listener. */
void wsd_stop_listening(struct wsd *wsd);
/* None is on its way any more. */
bool wsd_quiet(const struct wsd *wsd);
/* Ends all connections, without a Close: hub_close_all comes before, and time for it to arrive.
 * Runs the loop until nothing of lws is in it; not to be called from one of the loop's callbacks.
 */
void wsd_destroy(struct wsd **wsd);
