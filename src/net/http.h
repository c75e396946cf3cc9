/* Plain HTTP: the pages of `www`, and answers in one piece, refused handshakes among them.
 *
 * An answer ends its connection: they are few, and keep-alive after an answer differs between the
 * versions of lws. */
#pragma once

#include <libwebsockets.h>

#define HTTP_TEXT "text/plain; charset=utf-8"

/* Answers, with one more header (complete, with its line end) unless NULL. All of these return the
 * value that an lws callback returns to go on or, nonzero, to end the connection. */
int http_answer(
	struct lws *wsi, unsigned status, const char *header, const char *type, const char *body);
/* Answers with one line of text. */
int http_refuse(struct lws *wsi, unsigned status, const char *header, const char *text);
int http_not_found(struct lws *wsi);
/* Refuses methods other than GET and HEAD. */
int http_filter(struct lws *wsi);
/* Serves the files of a folder at /, index.html for a folder. The name is not copied. */
struct lws_http_mount http_pages(const char *folder);
/* Sent with every page. */
extern const struct lws_protocol_vhost_options http_page_headers;
