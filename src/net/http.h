/* What is plain HTTP: the pages of `www`, refused handshakes, and the admin listener's /healthz,
 * /readyz and /metrics.
 *
 * Answers of ours end their connection: they are few, and what lws does with keep-alive after an
 * answer differs between its versions. */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>

/* The user data of the admin vhost. */
struct http_admin {
	/* Whether clients get what they came for; if not, *why is one line. */
	bool (*ready)(void *ctx, const char **why);
	/* Brings gauges up to date; NULL: they are. */
	void (*gauges)(void *ctx);
	void *ctx;
};

/* The admin vhost's protocol callback. */
int http_admin_callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* Answers with one line of text, and a header more (complete, with its line end) unless NULL. All
 * of these return what a callback returns to go on or, nonzero, to end the connection. */
int http_refuse(struct lws *wsi, unsigned status, const char *header, const char *text);
int http_not_found(struct lws *wsi);
/* Lets GET and HEAD pass. */
int http_filter(struct lws *wsi);
/* A folder's files at /; index.html for a folder. The folder's name has to last. */
struct lws_http_mount http_pages(const char *folder);
/* What is sent with every page. */
extern const struct lws_protocol_vhost_options http_page_headers;
