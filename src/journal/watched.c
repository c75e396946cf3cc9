#include "watched.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "journal_sql.h"
#include "log.h"
#include "metrics.h"

#define RETRY_MS 5
#define MAX_LINES 20 /* of a check; the states are in the database, too */

struct table {
	char *type, *state;
};

/* Those that are not ok, in ascending order of their types. */
struct tables {
	struct table *list;
	size_t n;
};

struct watched {
	struct pglink *link;
	struct scheduler *scheduler;
	uv_timer_t timer;
	bool standby;
	struct tables known, answer;
};

static void clear(struct tables *tables)
{
	for (size_t i = 0; i < tables->n; i++) {
		free(tables->list[i].type);
		free(tables->list[i].state);
	}
	free(tables->list);
	*tables = (struct tables){0};
}

static void on_table(void *ctx, const struct row *row)
{
	struct tables *answer = &((struct watched *)ctx)->answer;
	answer->list = xrealloc(answer->list, (answer->n + 1) * sizeof(*answer->list));
	answer->list[answer->n++] =
		(struct table){xstrdup(row_text(row, 0, NULL)), xstrdup(row_text(row, 1, NULL))};
}

/* Logs a change of a table's state; NULL: it is ok. Returns whether there was one. */
static bool log_change(const struct table *before, const struct table *after, bool enough)
{
	if (before && after && strcmp(before->state, after->state) == 0)
		return false;
	if (enough)
		return true;
	if (after)
		log_warning("watched table of type %s: %s", after->type, after->state);
	else if (before)
		log_info("watched table of type %s: ok again", before->type);
	return true;
}

static void on_answer(void *ctx)
{
	struct watched *watched = ctx;
	const struct tables *known = &watched->known, *answer = &watched->answer;
	size_t changes = 0;
	for (size_t i = 0, j = 0; i < known->n || j < answer->n;) {
		const struct table *before = i < known->n ? &known->list[i] : NULL;
		const struct table *after = j < answer->n ? &answer->list[j] : NULL;
		int order = !before ? 1 : !after ? -1 : strcmp(before->type, after->type);
		before = order <= 0 ? before : NULL;
		after = order >= 0 ? after : NULL;
		i += before != NULL;
		j += after != NULL;
		changes += log_change(before, after, changes >= MAX_LINES);
	}
	if (changes > MAX_LINES)
		log_warning("watched tables: %zu more have changed (select * from pgcast.watched)",
			changes - MAX_LINES);
	metric_set(METRIC_WATCHED_NOT_OK, answer->n);
	clear(&watched->known);
	watched->known = watched->answer;
	watched->answer = (struct tables){0};
}

static void on_timer(uv_timer_t *timer)
{
	struct watched *watched = timer->data;
	if (!pglink_is_live(watched->link))
		return;
	if (!scheduler_may_write(watched->scheduler)) {
		uv_timer_start(timer, on_timer, RETRY_MS, uv_timer_get_repeat(timer));
		return;
	}
	/* A connection that was lost may have left a part of an answer. */
	clear(&watched->answer);
	pglink_send(
		watched->link, &(struct query){watched->standby ? watched_standby_sql : watched_sql,
				       NULL, on_table, on_answer, watched});
	pglink_sync(watched->link);
}

struct watched *watched_create(
	uv_loop_t *loop, uint64_t interval, struct pglink *link, struct scheduler *scheduler)
{
	struct watched *watched = xcalloc(1, sizeof(*watched));
	watched->link = link;
	watched->scheduler = scheduler;
	watched->timer.data = watched;
	uv_timer_init(loop, &watched->timer);
	uv_timer_start(&watched->timer, on_timer, interval, interval);
	return watched;
}

static void on_close(uv_handle_t *handle)
{
	free(handle->data);
}

void watched_destroy(struct watched **watched)
{
	if (!*watched)
		return;
	clear(&(*watched)->known);
	clear(&(*watched)->answer);
	uv_close((uv_handle_t *)&(*watched)->timer, on_close);
	*watched = NULL;
}

void watched_connected(struct watched *watched, bool standby)
{
	watched->standby = standby;
	uv_timer_start(&watched->timer, on_timer, 0, uv_timer_get_repeat(&watched->timer));
}
