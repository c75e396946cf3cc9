/* Being a service: signals, and telling the service manager (sd_notify's protocol) how we are.
 * Without one that listens, telling does nothing. */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct service;

struct service_config {
	uv_loop_t *loop;
	void (*stop)(void *ctx);   /* SIGTERM, SIGINT; the second one ends the process at once */
	void (*reload)(void *ctx); /* SIGHUP */
	void *ctx;
};

struct service *service_create(const struct service_config *config);
/* The loop has to run once more. */
void service_destroy(struct service **service);

void service_ready(struct service *service);
void service_stopping(struct service *service);
/* One line for `systemctl status`. */
void service_status(struct service *service, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
