#include "maintenance.h"

#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"
#include "metrics.h"

/* pgcast.prune takes no lock for longer than a moment, and says what it dropped. */
#define PRUNE "select pgcast.prune(make_interval(secs => $1::float8 / 1000))"

/* Asking how full the queue is makes PostgreSQL advance its tail, which a listener that died at the
 * wrong moment leaves behind. */
#define LOOK "select round(pg_notification_queue_usage() * 1000000)::int8, pg_is_in_recovery()"

struct upkeep {
	const struct settings *settings;
	struct pglink *link;
	uv_timer_t timer;
	bool standby;
};

static void on_look(void *ctx, const struct row *row)
{
	struct upkeep *upkeep = ctx;
	metric_set(METRIC_QUEUE_USAGE, (uint64_t)row_int(row, 0));
	if (upkeep->standby && !row_bool(row, 1))
		pglink_fail(upkeep->link, "the standby was promoted: setting up anew");
}

static void on_pruned(void *ctx, const struct row *row)
{
	(void)ctx;
	metric_add(METRIC_PRUNED, (uint64_t)row_int(row, 0));
}

static void prune(struct upkeep *upkeep)
{
	char keep[24];
	const char *params[] = {keep};
	snprintf(keep, sizeof(keep), "%lld", (long long)upkeep->settings->retention);
	pglink_send(upkeep->link, &(struct query){.sql = PRUNE,
					  .params = params,
					  .n_params = 1,
					  .row = on_pruned,
					  .ctx = upkeep});
	pglink_sync(upkeep->link);
}

static void on_timer(uv_timer_t *timer)
{
	struct upkeep *upkeep = timer->data;
	if (!pglink_is_live(upkeep->link))
		return;
	pglink_send(upkeep->link, &(struct query){.sql = LOOK, .row = on_look, .ctx = upkeep});
	pglink_sync(upkeep->link);
	if (!upkeep->standby)
		prune(upkeep);
}

struct upkeep *upkeep_create(uv_loop_t *loop, const struct settings *settings, struct pglink *link)
{
	struct upkeep *upkeep = xcalloc(1, sizeof(*upkeep));
	uint64_t interval = (uint64_t)settings->prune_interval;
	upkeep->settings = settings;
	upkeep->link = link;
	upkeep->timer.data = upkeep;
	uv_timer_init(loop, &upkeep->timer);
	uv_timer_start(&upkeep->timer, on_timer, interval, interval);
	return upkeep;
}

static void on_close(uv_handle_t *handle)
{
	free(handle->data);
}

void upkeep_destroy(struct upkeep **upkeep)
{
	if (!*upkeep)
		return;
	uv_close((uv_handle_t *)&(*upkeep)->timer, on_close);
	*upkeep = NULL;
}

void upkeep_connected(struct upkeep *upkeep, const struct session_facts *facts)
{
	upkeep->standby = facts->standby;
}
