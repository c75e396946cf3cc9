/* Process signals and the service manager's notification protocol (sd_notify). Without a service
 * manager notifications have no effect. */
#pragma once

#include <uv.h>

struct service;

struct service_config {
	uv_loop_t *loop;
	void (*stop)(void *ctx);   /* SIGTERM or SIGINT; a second one exits at once */
	void (*reload)(void *ctx); /* SIGHUP */
	void *ctx;
};

struct service *service_create(const struct service_config *config);
/* The loop must run once more afterwards. */
void service_destroy(struct service **service);

void service_ready(struct service *service);
void service_stopping(struct service *service);
/* One line, shown by `systemctl status`. */
void service_status(struct service *service, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
