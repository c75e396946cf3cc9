/* A turn is one short read-only transaction:
 *
 *     [sleeping lock]  [BEGIN]  pull  [pages]  [answers to init]  [COMMIT]
 *
 * all of it sent at once. The pull alone needs no BEGIN; with anything beside it all share one
 * snapshot, so that pages and answers end exactly where the pull does. */
#include "journal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "checkpoint.h"
#include "journal_sql.h"
#include "log.h"
#include "metrics.h"
#include "pgarray.h"

/* ---- state ---- */

struct journal {
	struct pglink *link;
	struct hub *hub;
	void (*done)(void *ctx, const struct turn_result *result);
	void *ctx;
	void (*ready)(void *ctx);
	struct session_facts facts;
	bool in_turn;
	struct turn_result result;
	struct position *to; /* where this turn ends; NULL until the pull has said so */
	struct checkpoint *checkpoint;
	struct position *holds; /* newest one that does */
	bool quiet;		/* nothing was in progress at the last position */
	bool too_long;		/* the last position, for a cursor */
	char *weak;		/* the cursor for such positions; NULL: not known */
	char *finished;		/* on a standby: what is known to have ended; NULL: nothing */
};

static void forget(char **text)
{
	free(*text);
	*text = NULL;
}

struct journal *journal_create(struct pglink *link, struct hub *hub,
	void (*done)(void *ctx, const struct turn_result *result), void *ctx)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	journal->link = link;
	journal->hub = hub;
	journal->checkpoint = checkpoint_create();
	journal->done = done;
	journal->ctx = ctx;
	return journal;
}

void journal_destroy(struct journal **journal)
{
	if (!*journal)
		return;
	checkpoint_destroy(&(*journal)->checkpoint);
	position_unref(&(*journal)->holds);
	position_unref(&(*journal)->to);
	free((*journal)->finished);
	free((*journal)->weak);
	free(*journal);
	*journal = NULL;
}

static void on_holds_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	size_t i = (size_t)row_int(row, 0) - 1;
	if (!journal->holds && row_bool(row, 1))
		journal->holds = position_ref(checkpoint_at(journal->checkpoint, i));
}

/* What is older than the newest position that holds stays, in case that it is lost as well: it may
 * not be safe on disk yet. */
static void forget_lost(struct journal *journal)
{
	size_t lost = 0;
	while (checkpoint_at(journal->checkpoint, lost) &&
		checkpoint_at(journal->checkpoint, lost) != journal->holds)
		lost++;
	checkpoint_drop(journal->checkpoint, lost);
}

static void on_holds(void *ctx)
{
	struct journal *journal = ctx;
	if (journal->holds != checkpoint_at(journal->checkpoint, 0)) {
		log_warning("database: history went another way (a crash or a failover lost"
			    " commits): %s",
			journal->holds ? "going back to where it still held"
				       : "beginning anew where it is now");
		metric_add(METRIC_REWINDS, 1);
		hub_rewind(journal->hub, journal->holds);
		forget_lost(journal);
	}
	position_unref(&journal->holds);
	journal->ready(journal->ctx);
}

static void ask(struct journal *journal, struct query query)
{
	query.ctx = journal;
	if (journal->facts.pooled)
		query.name = NULL;
	pglink_send(journal->link, &query);
}

void journal_connected(
	struct journal *journal, const struct session_facts *facts, void (*ready)(void *ctx))
{
	journal->facts = *facts;
	journal->ready = ready;
	journal->quiet = false;
	forget(&journal->finished);
	forget(&journal->weak);
	position_unref(&journal->holds);
	if (!checkpoint_at(journal->checkpoint, 0)) {
		ready(journal->ctx);
		return;
	}
	struct pgarray texts;
	pgarray_begin(&texts);
	for (size_t i = 0; checkpoint_at(journal->checkpoint, i); i++)
		pgarray_add(&texts, checkpoint_at(journal->checkpoint, i)->text);
	const char *params[] = {pgarray_end(&texts)};
	ask(journal, (struct query){.sql = holds_sql,
			     .params = params,
			     .n_params = 1,
			     .row = on_holds_row,
			     .done = on_holds});
	pgarray_free(&texts);
	pglink_sync(journal->link);
}

void journal_lost(struct journal *journal)
{
	if (!journal->in_turn)
		return;
	journal->in_turn = false;
	position_unref(&journal->to);
	hub_turn_abort(journal->hub);
}

/* ---- what arrives ---- */

/* Where the exact cursor is too long, any older one does: it repeats events, and loses none. */
static const char *weaker_cursor(struct journal *journal)
{
	return journal->weak ? journal->weak : hub_position(journal->hub)->cursor;
}

static void take_position(struct journal *journal, const struct row *row)
{
	const char *cursor = row_text(row, EVENT_MESSAGE, NULL);
	journal->result.concurrent_writers = row_text(row, EVENT_UID, NULL);
	journal->quiet = row_bool(row, EVENT_BROADCAST);
	journal->too_long = !cursor;
	if (cursor)
		forget(&journal->weak); /* it would be older than it need be */
	journal->to = position_create(
		row_text(row, EVENT_TYPE, NULL), cursor ? cursor : weaker_cursor(journal));
	hub_turn_begin(journal->hub, journal->to);
}

static struct event event_of(const struct row *row)
{
	struct event event = {
		.id = row_int(row, EVENT_ID),
		.uid = row_text(row, EVENT_UID, NULL),
		.broadcast = row_bool(row, EVENT_BROADCAST),
		.type = row_text(row, EVENT_TYPE, NULL),
	};
	event.message = row_text(row, EVENT_MESSAGE, &event.message_len);
	return event;
}

static void on_pull_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	struct event event = event_of(row);
	if (!event.id) {
		take_position(journal, row);
		return;
	}
	journal->result.events++;
	hub_turn_event(journal->hub, &event);
}

static void on_page_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	struct event event = event_of(row);
	size_t page = (size_t)row_int(row, EVENT_PAGE) - 1;
	if (!event.id) {
		hub_turn_page_verified(journal->hub, page, row_text(row, EVENT_TYPE, NULL));
		return;
	}
	hub_turn_page_event(journal->hub, page, &event);
}

static void on_init_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	size_t len = 0;
	const char *text = row_text(row, 1, &len);
	hub_turn_init(journal->hub, (size_t)row_int(row, 0) - 1, text, len);
}

static void on_finished_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	free(journal->finished);
	journal->finished = xstrdup(row_text(row, 0, NULL));
}

static void on_weak_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	free(journal->weak);
	journal->weak = xstrdup(row_text(row, 0, NULL));
}

static void on_lock_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	journal->result.locked = row_bool(row, 0);
}

static void on_end(void *ctx)
{
	struct journal *journal = ctx;
	journal->in_turn = false;
	metric_add(METRIC_TURNS, 1);
	checkpoint_add(journal->checkpoint, journal->to);
	position_unref(&journal->to);
	journal->done(journal->ctx, &journal->result);
}

/* ---- what is sent ---- */

static void ask_lock(struct journal *journal, enum lock lock)
{
	if (lock == LOCK_KEEP)
		return;
	char key[16];
	snprintf(key, sizeof(key), "%d", journal->facts.key);
	const char *params[] = {key};
	if (lock == LOCK_TAKE)
		ask(journal, (struct query){.name = "lock",
				     .sql = lock_sql,
				     .params = params,
				     .n_params = 1,
				     .row = on_lock_row});
	else
		ask(journal, (struct query){.name = "unlock",
				     .sql = unlock_sql,
				     .params = params,
				     .n_params = 1});
	pglink_sync(journal->link);
}

static void ask_pull(struct journal *journal, bool alone)
{
	bool standby = journal->facts.standby;
	const char *since = hub_position(journal->hub)->text;
	const char *params[] = {since, journal->finished ? journal->finished : "{}"};
	struct query query = {
		.name = "pull",
		.sql = standby ? standby_pull_sql : pull_sql,
		.params = params,
		.n_params = standby ? 2 : 1,
		.row = on_pull_row,
		.done = alone ? on_end : NULL,
	};
	if (!standby && journal->quiet) {
		query.name = "quiet pull";
		query.sql = quiet_pull_sql;
	}
	if (!*since) {
		query.name = NULL;
		query.sql = standby ? standby_start_sql : start_sql;
		query.n_params = 0;
	}
	ask(journal, query);
}

/* What of the position's open transactions has ended is good to know for the next pull. */
static void ask_finished(struct journal *journal)
{
	const char *params[] = {hub_position(journal->hub)->text};
	if (journal->facts.standby && *params[0])
		ask(journal, (struct query){.name = "finished",
				     .sql = finished_sql,
				     .params = params,
				     .n_params = 1,
				     .row = on_finished_row});
}

enum { UIDS, FROMS, TOS, AFTERS, CHECKS, PAGE_ARRAYS };

static void add_page(struct pgarray arrays[PAGE_ARRAYS], const struct page *page)
{
	const struct window *window = &page->window;
	pgarray_add(&arrays[UIDS], page->uid);
	pgarray_add(&arrays[FROMS], window->from->text);
	pgarray_add(&arrays[TOS], window->to ? window->to->text : NULL);
	pgarray_add_int(&arrays[AFTERS], window->after);
	pgarray_add(&arrays[CHECKS], page->unverified ? "t" : "f");
}

static void ask_pages(struct journal *journal, const struct plan *plan)
{
	struct pgarray arrays[PAGE_ARRAYS];
	const char *params[PAGE_ARRAYS + 1];
	char rows[24];
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_begin(&arrays[i]);
	for (size_t i = 0; i < plan->n_pages; i++)
		add_page(arrays, &plan->pages[i]);
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		params[i] = pgarray_end(&arrays[i]);
	snprintf(rows, sizeof(rows), "%zu", plan->page_events);
	params[PAGE_ARRAYS] = rows;
	ask(journal, (struct query){.sql = pages_sql,
			     .params = params,
			     .n_params = PAGE_ARRAYS + 1,
			     .row = on_page_row});
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_free(&arrays[i]);
	metric_add(METRIC_PAGES, 1);
}

static void ask_wishes(struct journal *journal, const struct plan *plan)
{
	struct pgarray types, uids;
	pgarray_begin(&types);
	pgarray_begin(&uids);
	for (size_t i = 0; i < plan->n_init_queries; i++) {
		pgarray_add(&types, plan->init_queries[i].type);
		pgarray_add(&uids, plan->init_queries[i].uid);
	}
	const char *params[] = {pgarray_end(&types), pgarray_end(&uids)};
	ask(journal, (struct query){.name = "init",
			     .sql = init_sql,
			     .params = params,
			     .n_params = 2,
			     .row = on_init_row});
	pgarray_free(&types);
	pgarray_free(&uids);
}

void journal_turn(struct journal *journal, enum lock lock)
{
	assert(!journal->in_turn);
	journal->in_turn = true;
	journal->result = (struct turn_result){0};
	const struct plan *plan = hub_turn_plan(journal->hub);
	bool alone = !plan->n_pages && !plan->n_init_queries;

	ask_lock(journal, lock);
	if (!alone)
		ask(journal,
			(struct query){.sql = "begin isolation level repeatable read, read only"});
	if (journal->too_long || !*hub_position(journal->hub)->text)
		ask(journal, (struct query){.sql = weak_sql, .row = on_weak_row});
	ask_pull(journal, alone);
	if (plan->n_pages)
		ask_pages(journal, plan);
	if (plan->n_init_queries)
		ask_wishes(journal, plan);
	if (!alone)
		ask(journal, (struct query){.sql = "commit", .done = on_end});
	ask_finished(journal);
	pglink_sync(journal->link);
}
