#include "http.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"

static const struct lws_protocol_vhost_options content_policy = {
	.name = "content-security-policy:",
	.value = "default-src 'self'; connect-src 'self' ws: wss:",
};

const struct lws_protocol_vhost_options http_page_headers = {
	.next = &content_policy,
	.name = "x-content-type-options:",
	.value = "nosniff",
};

/* Beside those that lws knows. */
static const struct lws_protocol_vhost_options page_types[] = {
	{&page_types[1], NULL, ".mjs", "text/javascript"},
	{&page_types[2], NULL, ".json", "application/json"},
	{&page_types[3], NULL, ".map", "application/json"},
	{NULL, NULL, ".ts", "text/plain"},
};

struct lws_http_mount http_pages(const char *folder)
{
	return (struct lws_http_mount){
		.mountpoint = "/",
		.mountpoint_len = 1,
		.origin = folder,
		.origin_protocol = LWSMPRO_FILE,
		.def = "index.html",
		.extra_mimetypes = page_types,
	};
}

static const char *phrase(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 426:
		return "Upgrade Required";
	case 503:
		return "Service Unavailable";
	default:
		return "Error";
	}
}

static bool is_method(struct lws *wsi, enum lws_token_indexes method)
{
	return lws_hdr_total_length(wsi, method) > 0;
}

int http_answer(
	struct lws *wsi, unsigned status, const char *header, const char *type, const char *body)
{
	char *text = xasprintf("HTTP/1.1 %u %s\r\n"
			       "Content-Type: %s\r\n"
			       "Content-Length: %zu\r\n"
			       "X-Content-Type-Options: nosniff\r\n"
			       "Cache-Control: no-store\r\n"
			       "Connection: close\r\n"
			       "%s\r\n%s",
		status, phrase(status), type, strlen(body), header ? header : "",
		is_method(wsi, WSI_TOKEN_HEAD_URI) ? "" : body);
	lws_write(wsi, (unsigned char *)text, strlen(text), LWS_WRITE_RAW);
	free(text);
	return -1;
}

int http_refuse(struct lws *wsi, unsigned status, const char *header, const char *text)
{
	char *line = xasprintf("%s\n", text);
	http_answer(wsi, status, header, HTTP_TEXT, line);
	free(line);
	return -1;
}

int http_not_found(struct lws *wsi)
{
	return http_refuse(wsi, 404, NULL, "There is no such page.");
}

int http_filter(struct lws *wsi)
{
	if (is_method(wsi, WSI_TOKEN_GET_URI) || is_method(wsi, WSI_TOKEN_HEAD_URI))
		return 0;
	return http_refuse(wsi, 405, "Allow: GET, HEAD\r\n", "Only GET and HEAD are served.");
}
