/* The admin listener: /healthz, /readyz and /metrics. */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>

/* The user data of the admin vhost. */
struct admin {
	/* True when clients are served; else *why is one line of text. */
	bool (*ready)(void *ctx, const char **why);
	void *ctx;
};

/* The protocol callback of the admin vhost. */
int admin_callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);
