#include "service.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "alloc.h"
#include "log.h"

static const int signals[] = {SIGTERM, SIGINT, SIGHUP};

#define SIGNALS (sizeof signals / sizeof *signals)

struct service {
	struct service_config config;
	uv_signal_t on_signal[SIGNALS];
	uv_timer_t watchdog;
	size_t handles; /* still open; the last one frees the service */
	bool stopping;
	int fd; /* socket to the service manager, or -1 */
};

/* ---- the service manager ---- */

/* Returns -1 without a service manager. */
static int connect_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof address.sun_path)
		return -1;

	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	memcpy(address.sun_path, path, strlen(path));
	if (*path == '@')
		address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, len) == 0)
		return fd;

	log_warning("service manager: could not connect to %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static void notify(const struct service *service, const char *message)
{
	if (service->fd >= 0 && send(service->fd, message, strlen(message), MSG_NOSIGNAL) < 0)
		log_debug("service manager: could not send %s: %s", message, strerror(errno));
}

void service_ready(struct service *service)
{
	notify(service, "READY=1");
}

void service_stopping(struct service *service)
{
	notify(service, "STOPPING=1");
}

void service_status(struct service *service, const char *format, ...)
{
	char message[512] = "STATUS=";
	size_t len = strlen(message);
	va_list args;
	va_start(args, format);
	vsnprintf(message + len, sizeof message - len, format, args);
	va_end(args);
	/* A line break would start another assignment. */
	for (char *c = message; (c = strchr(c, '\n'));)
		*c = ' ';
	notify(service, message);
}

static void on_watchdog(uv_timer_t *timer)
{
	notify(timer->data, "WATCHDOG=1");
}

/* Notifies twice per interval, as sd_watchdog_enabled(3) recommends. */
static void start_watchdog(struct service *service)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	if (service->fd < 0 || !usec || (pid && strtol(pid, NULL, 10) != getpid()))
		return;
	uint64_t period = strtoull(usec, NULL, 10) / 2000;
	if (period > 0)
		uv_timer_start(&service->watchdog, on_watchdog, 0, period);
}

/* ---- signals ---- */

static void on_signal(uv_signal_t *handle, int number)
{
	struct service *service = handle->data;
	if (number == SIGHUP) {
		service->config.reload(service->config.ctx);
		return;
	}
	if (service->stopping) {
		log_warning("second signal: exiting at once: %s", strsignal(number));
		_exit(EXIT_FAILURE);
	}
	log_info("signal: stopping: %s", strsignal(number));
	service->stopping = true;
	service->config.stop(service->config.ctx);
}

static void start_signals(struct service *service)
{
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < SIGNALS; i++) {
		uv_signal_init(service->config.loop, &service->on_signal[i]);
		service->on_signal[i].data = service;
		uv_signal_start(&service->on_signal[i], on_signal, signals[i]);
	}
}

/* ---- creation and destruction ---- */

struct service *service_create(const struct service_config *config)
{
	struct service *service = xcalloc(1, sizeof *service);
	service->config = *config;
	service->fd = connect_manager();
	service->handles = SIGNALS + 1;
	uv_timer_init(config->loop, &service->watchdog);
	service->watchdog.data = service;
	start_watchdog(service);
	start_signals(service);
	return service;
}

static void on_closed(uv_handle_t *handle)
{
	struct service *service = handle->data;
	if (--service->handles > 0)
		return;
	if (service->fd >= 0)
		close(service->fd);
	free(service);
}

void service_destroy(struct service **service)
{
	if (!*service)
		return;
	for (size_t i = 0; i < SIGNALS; i++)
		uv_close((uv_handle_t *)&(*service)->on_signal[i], on_closed);
	uv_close((uv_handle_t *)&(*service)->watchdog, on_closed);
	*service = NULL;
}
