#include "admin.h"

#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "metrics.h"

static int answer_health(struct lws *wsi, const struct admin *admin)
{
	(void)admin;
	return http_answer(wsi, 200, NULL, HTTP_TEXT, "ok\n");
}

static int answer_ready(struct lws *wsi, const struct admin *admin)
{
	const char *why = "starting";
	if (admin->ready(admin->ctx, &why))
		return http_answer(wsi, 200, NULL, HTTP_TEXT, "ok\n");
	return http_refuse(wsi, 503, NULL, why);
}

static int answer_metrics(struct lws *wsi, const struct admin *admin)
{
	(void)admin;
	char *text = metrics_render();
	http_answer(wsi, 200, NULL, "text/plain; version=0.0.4; charset=utf-8", text);
	free(text);
	return -1;
}

static int route(struct lws *wsi, const struct admin *admin, const char *path)
{
	static const struct {
		const char *path;
		int (*answer)(struct lws *wsi, const struct admin *admin);
	} routes[] = {
		{"/healthz", answer_health},
		{"/readyz", answer_ready},
		{"/metrics", answer_metrics},
	};
	for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
		if (!strcmp(routes[i].path, path))
			return routes[i].answer(wsi, admin);
	return http_not_found(wsi);
}

int admin_callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	switch (reason) {
	case LWS_CALLBACK_FILTER_HTTP_CONNECTION:
		return http_filter(wsi);
	case LWS_CALLBACK_HTTP:
		return route(wsi, lws_vhost_user(lws_get_vhost(wsi)), in);
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return http_refuse(wsi, 400, NULL, "Nothing can be upgraded here.");
	case LWS_CALLBACK_RAW_ADOPT: /* the method CONNECT */
		return -1;
	default:
		return lws_callback_http_dummy(wsi, reason, user, in, len);
	}
}
