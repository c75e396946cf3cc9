#include "maintenance.h"

#include <stdio.h>
#include <stdlib.h>

#include "alloc.h"
#include "clock.h"
#include "journal_sql.h"
#include "metrics.h"
#include "watched.h"

#define RETRY_MS 5

struct maintenance {
	const struct settings *settings;
	struct pglink *link;
	uv_timer_t timer;
	bool standby;
	struct scheduler *scheduler;
	uint64_t canary_ms;
	struct watched *watched;
};

static void on_queue_usage(void *ctx, const struct row *row)
{
	struct maintenance *maintenance = ctx;
	metric_set(METRIC_QUEUE_USAGE, (uint64_t)row_int(row, 0));
	if (maintenance->standby && !row_bool(row, 1))
		pglink_fail(maintenance->link, "the standby was promoted");
}

static void on_journal_usage(void *ctx, const struct row *row)
{
	(void)ctx;
	metric_set(METRIC_JOURNAL_ROWS, (uint64_t)row_int(row, 0));
	metric_set(METRIC_JOURNAL_BYTES, (uint64_t)row_int(row, 1));
	metric_set(METRIC_JOURNAL_OLDEST, (uint64_t)row_int(row, 2));
}

static void on_canary(void *ctx, const struct row *row)
{
	struct maintenance *maintenance = ctx;
	scheduler_expect(maintenance->scheduler, row_int(row, 0), maintenance->canary_ms);
}

static void on_pruned(void *ctx, const struct row *row)
{
	(void)ctx;
	metric_add(METRIC_PRUNED, (uint64_t)row_int(row, 0));
}

static void prune(struct maintenance *maintenance)
{
	char keep[24];
	const char *params[] = {keep};
	snprintf(keep, sizeof(keep), "%lld", (long long)maintenance->settings->retention);
	pglink_send(maintenance->link,
		&(struct query){prune_sql, params, on_pruned, NULL, maintenance});
	pglink_sync(maintenance->link);
}

static void ask(struct maintenance *maintenance, struct statement statement, row_fn *row)
{
	pglink_send(maintenance->link, &(struct query){statement, NULL, row, NULL, maintenance});
	pglink_sync(maintenance->link);
}

static void on_timer(uv_timer_t *timer)
{
	struct maintenance *maintenance = timer->data;
	if (!pglink_is_live(maintenance->link))
		return;
	if (!scheduler_may_write(maintenance->scheduler)) {
		uv_timer_start(timer, on_timer, RETRY_MS, uv_timer_get_repeat(timer));
		return;
	}
	ask(maintenance, queue_usage_sql, on_queue_usage);
	if (!maintenance->standby) {
		prune(maintenance);
		maintenance->canary_ms = clock_ms();
		scheduler_expect(maintenance->scheduler, 0, maintenance->canary_ms);
		ask(maintenance, write_canary_sql, on_canary);
	}
	ask(maintenance, journal_usage_sql, on_journal_usage);
}

struct maintenance *maintenance_create(uv_loop_t *loop, const struct settings *settings,
	struct pglink *link, struct scheduler *scheduler)
{
	struct maintenance *maintenance = xcalloc(1, sizeof(*maintenance));
	uint64_t interval = (uint64_t)settings->prune_interval;
	maintenance->settings = settings;
	maintenance->link = link;
	maintenance->scheduler = scheduler;
	maintenance->watched = watched_create(loop, interval, link, scheduler);
	maintenance->timer.data = maintenance;
	uv_timer_init(loop, &maintenance->timer);
	uv_timer_start(&maintenance->timer, on_timer, interval, interval);
	return maintenance;
}

static void on_close(uv_handle_t *handle)
{
	free(handle->data);
}

void maintenance_destroy(struct maintenance **maintenance)
{
	if (!*maintenance)
		return;
	watched_destroy(&(*maintenance)->watched);
	uv_close((uv_handle_t *)&(*maintenance)->timer, on_close);
	*maintenance = NULL;
}

void maintenance_connected(struct maintenance *maintenance, const struct session_facts *facts)
{
	maintenance->standby = facts->standby;
	watched_connected(maintenance->watched, facts->standby);
}
