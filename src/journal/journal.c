/* A turn is one short read-only transaction:
 *
 *     [sleeping lock]  [BEGIN]  pull  [pages]  [init queries]  [COMMIT]
 *
 * sent at once. The pull alone needs no BEGIN. Otherwise one snapshot serves all of them, so that
 * pages and answers end exactly where the pull does. */
#include "journal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "answer.h"
#include "checkpoint.h"
#include "clock.h"
#include "journal_sql.h"
#include "log.h"
#include "metrics.h"
#include "pgarray.h"
#include "queries.h"
#include "witness.h"

/* ---- state ---- */

/* How to read the next pull. After a pull that was too large, or one that broke off, its events are
 * left to catching up: those of the uids that have some, or of all. */
enum pull_mode { PULL_EVENTS, DEFER_AFFECTED, DEFER_ALL };

struct journal {
	struct pglink *link;
	struct hub *hub;
	struct queries *queries;
	void (*done)(void *ctx, const struct turn_result *result);
	void *ctx;
	void (*ready)(void *ctx);
	struct session_facts facts;
	bool in_turn;
	struct turn_result result;
	enum pull_mode mode; /* of this turn and the next one */
	bool too_large;	     /* this turn's pull: nothing of the turn counts */
	struct position *to; /* where this turn ends; NULL until the pull has said so */
	struct checkpoint *checkpoint;
	struct witness *witness;
	struct position *last_valid; /* the newest checkpoint that is part of the history */
	bool is_pruned;		     /* events after the newest checkpoint, which were not read */
	bool no_xact_in_progress;    /* at the last position */
	bool cursor_overflow;	     /* the last position is too long for a cursor */
	char *conservative_cursor;   /* for such positions; NULL: unknown */
	char *completed_xids;	     /* on a standby: known to have ended; NULL: none */
	size_t n_inits;		     /* answers in this turn so far */
	const struct plan *plan;     /* of this turn */
	struct ticket **tickets;     /* of its init queries; NULL: found in the turn */
	char *snapshot;		     /* exported by this turn */
	bool is_exporting;	     /* its transaction stays open until the snapshot is imported */
	int64_t canary_id;	     /* a test event to be read; 0: not written */
	uint64_t canary_ms;	     /* when the oldest unread one was requested; 0: none */
};

static void replace(char **text, const char *by)
{
	free(*text);
	*text = by ? xstrdup(by) : NULL;
}

struct journal *journal_create(struct pglink *link, struct hub *hub, struct queries *queries,
	void (*done)(void *ctx, const struct turn_result *result), void *ctx)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	journal->link = link;
	journal->hub = hub;
	journal->queries = queries;
	journal->checkpoint = checkpoint_create();
	journal->witness = witness_create();
	journal->done = done;
	journal->ctx = ctx;
	return journal;
}

void journal_destroy(struct journal **journal)
{
	if (!*journal)
		return;
	checkpoint_destroy(&(*journal)->checkpoint);
	witness_destroy(&(*journal)->witness);
	position_unref(&(*journal)->last_valid);
	position_unref(&(*journal)->to);
	free((*journal)->completed_xids);
	free((*journal)->snapshot);
	free((*journal)->conservative_cursor);
	free(*journal);
	*journal = NULL;
}

/* ---- after connecting: is the history still the same? ---- */

static void on_last_valid_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	size_t i = (size_t)row_int(row, 0) - 1;
	const char *lost = row_text(row, 1, NULL);
	if (!i)
		journal->is_pruned = lost && strcmp(lost, "pruned") == 0;
	if (!journal->last_valid && !lost)
		journal->last_valid = position_ref(checkpoint_at(journal->checkpoint, i));
}

/* Older positions are kept: the last valid one may not be flushed yet, and be lost too. */
static void drop_lost(struct journal *journal)
{
	struct position *position;
	size_t lost = 0;
	while ((position = checkpoint_at(journal->checkpoint, lost)) &&
		position != journal->last_valid)
		lost++;
	checkpoint_drop(journal->checkpoint, lost);
}

static void on_last_valid(void *ctx)
{
	struct journal *journal = ctx;
	if (journal->last_valid != checkpoint_at(journal->checkpoint, 0)) {
		log_warning("database: %s (%s)",
			journal->is_pruned
				? "events that had not been read are pruned: away for longer than "
				  "retention"
				: "commits that had been read are lost: crash or failover",
			journal->last_valid ? "rolling back to the last valid position"
					    : "restarting at the current position");
		metric_add(METRIC_REWINDS, 1);
		hub_rewind(journal->hub, journal->last_valid,
			journal->is_pruned ? "pruned" : "cursor");
		witness_restart(journal->witness, hub_position(journal->hub)->text);
		drop_lost(journal);
	}
	position_unref(&journal->last_valid);
	journal->ready(journal->ctx);
}

static void ask(struct journal *journal, struct statement statement, const char *const *params,
	row_fn *row, done_fn *done)
{
	if (journal->facts.pooled)
		statement.name = NULL;
	pglink_send(journal->link, &(struct query){statement, params, row, done, journal});
}

void journal_connected(
	struct journal *journal, const struct session_facts *facts, void (*ready)(void *ctx))
{
	journal->facts = *facts;
	journal->ready = ready;
	journal->no_xact_in_progress = false;
	replace(&journal->completed_xids, NULL);
	replace(&journal->conservative_cursor, NULL);
	position_unref(&journal->last_valid);
	if (!checkpoint_at(journal->checkpoint, 0)) {
		ready(journal->ctx);
		return;
	}
	struct pgarray texts;
	pgarray_begin(&texts);
	for (size_t i = 0; checkpoint_at(journal->checkpoint, i); i++)
		pgarray_add(&texts, checkpoint_at(journal->checkpoint, i)->text);
	const char *params[] = {pgarray_end(&texts)};
	ask(journal, last_valid_sql, params, on_last_valid_row, on_last_valid);
	pgarray_free(&texts);
	pglink_sync(journal->link);
}

static void drop_tickets(struct journal *journal)
{
	queries_drop(journal->queries);
	free(journal->tickets);
	journal->tickets = NULL;
}

void journal_lost(struct journal *journal)
{
	if (!journal->in_turn)
		return;
	journal->in_turn = journal->is_exporting = false;
	drop_tickets(journal);
	if (!journal->result.pulled && journal->mode < DEFER_ALL)
		journal->mode++;
	position_unref(&journal->to);
	hub_turn_abort(journal->hub);
	witness_restart(journal->witness, hub_position(journal->hub)->text);
}

/* ---- the rows of a turn ---- */

/* Any older cursor can replace one that is too long: it repeats events and loses none. */
static const char *older_cursor(struct journal *journal)
{
	return journal->conservative_cursor ? journal->conservative_cursor
					    : hub_position(journal->hub)->cursor;
}

static void take_position(struct journal *journal, const struct row *row)
{
	const char *plain = row_text(row, PULL_POSITION, NULL);
	const char *brought = row_text(row, PULL_BROUGHT, NULL);
	journal->result.concurrent_writers = row_bool(row, PULL_CONCURRENT_WRITERS);
	journal->no_xact_in_progress = row_bool(row, PULL_NO_XACT_IN_PROGRESS);
	if (brought)
		witness_add(journal->witness, plain, brought, journal->facts.standby);
	char *text = brought ? witness_position(journal->witness, plain) : xstrdup(plain);
	char *cursor = text;
	journal->cursor_overflow = strlen(text) > CURSOR_MAX;
	if (!journal->cursor_overflow)
		replace(&journal->conservative_cursor, NULL); /* older than this one */
	else
		cursor = witness_earlier_cursor(journal->witness, plain, older_cursor(journal));
	journal->to = position_create(text, cursor);
	hub_turn_begin(journal->hub, journal->to);
	if (cursor != text)
		free(cursor);
	free(text);
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
	/* The type is reserved for control messages. */
	static const char control[] = "{\"type\":\"pgcast\",";
	event.control = event.broadcast && event.message &&
			!strncmp(event.message, control, strlen(control));
	return event;
}

/* The canary of any bridge. */
static bool is_canary(const struct event *event)
{
	return !event->uid && !event->broadcast && strcmp(event->type, "pgcast") == 0;
}

static void take_canary(struct journal *journal)
{
	metric_set(METRIC_CANARY, (clock_ms() - journal->canary_ms) * 1000);
	journal->canary_id = 0;
	journal->canary_ms = 0;
}

static void on_pull_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	if (journal->too_large)
		return;
	if (!journal->to) {
		journal->too_large = !row_text(row, PULL_POSITION, NULL);
		if (!journal->too_large)
			take_position(journal, row);
		return;
	}
	struct event event = event_of(row);
	if (is_canary(&event)) {
		if (event.id == journal->canary_id)
			take_canary(journal);
		return;
	}
	journal->result.events++;
	hub_turn_event(journal->hub, &event);
}

static void on_pulled(void *ctx)
{
	struct journal *journal = ctx;
	journal->result.pulled = true;
}

static void on_affected_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	hub_turn_defer(journal->hub, row_text(row, EVENT_UID, NULL));
}

static void on_defer_all_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	take_position(journal, row);
	hub_turn_defer(journal->hub, NULL);
}

/* The numbers of an array {1,2,3}, from 0; returns how many. */
static size_t read_numbers(const char *text, size_t numbers[], size_t max)
{
	size_t n = 0;
	for (const char *p = text + 1; n < max && *p >= '0' && *p <= '9';) {
		char *end;
		numbers[n++] = strtoul(p, &end, 10) - 1;
		p = end + (*end == ',');
	}
	return n;
}

static void on_page_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	struct event event = event_of(row);
	const char *windows = row_text(row, PAGE_WINDOWS, NULL);
	if (journal->too_large)
		return;
	if (windows) {
		size_t numbers[MAX_PLAN_WINDOWS];
		size_t n = read_numbers(windows, numbers, MAX_PLAN_WINDOWS);
		hub_turn_page_broadcast(journal->hub, numbers, n, &event);
		return;
	}
	size_t page = (size_t)row_int(row, PAGE_NUMBER) - 1;
	if (event.id)
		hub_turn_page_event(journal->hub, page, &event);
	else
		hub_turn_page(journal->hub, page, row_text(row, PAGE_LOST, NULL),
			row_int(row, PAGE_UPTO));
}

static void on_answer_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	if (journal->too_large)
		return;
	struct answer answer = answer_read(row);
	hub_turn_init(journal->hub, journal->n_inits++, answer.message, answer.len, answer.error);
}

static void on_completed_xids_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	replace(&journal->completed_xids, row_text(row, 0, NULL));
}

static void on_conservative_cursor_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	replace(&journal->conservative_cursor, row_text(row, 0, NULL));
}

static void on_lock_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	journal->result.locked = row_bool(row, 0);
}

static void on_end(void *ctx)
{
	struct journal *journal = ctx;
	struct ticket **tickets = journal->tickets;
	size_t n_tickets = journal->plan->n_init_queries;
	journal->tickets = NULL;
	journal->in_turn = false;
	if (journal->canary_id && journal->mode != PULL_EVENTS && !journal->too_large)
		take_canary(journal); /* among events that are left to catching up */
	journal->mode = journal->too_large ? DEFER_AFFECTED : PULL_EVENTS;
	journal->result.too_large = journal->too_large;
	metric_add(METRIC_TURNS, 1);
	if (journal->too_large) {
		metric_add(METRIC_LARGE_PULLS, 1);
		hub_turn_abort(journal->hub);
	} else {
		checkpoint_add(journal->checkpoint, journal->to);
	}
	position_unref(&journal->to);
	journal->done(journal->ctx, &journal->result);
	if (tickets) /* their clients wait at the end of this turn */
		queries_run(journal->queries, tickets, n_tickets);
	free(tickets);
}

/* ---- the queries of a turn ---- */

static void ask_lock(struct journal *journal, enum lock lock)
{
	char key[16];
	snprintf(key, sizeof(key), "%d", journal->facts.key);
	const char *params[] = {lock == LOCK_TAKE ? "t" : "f", key};
	ask(journal, lock_sql, params, on_lock_row, NULL);
	pglink_sync(journal->link);
}

static void add_uid(void *ctx, const char *uid)
{
	pgarray_add_bytes(ctx, uid);
}

static void ask_affected(struct journal *journal)
{
	struct pgarray uids;
	pgarray_begin(&uids);
	hub_live_uids(journal->hub, add_uid, &uids);
	const char *params[] = {hub_position(journal->hub)->text, pgarray_end(&uids)};
	ask(journal, affected_sql, params, on_affected_row, NULL);
	pgarray_free(&uids);
}

static void ask_pull(struct journal *journal, bool alone)
{
	bool standby = journal->facts.standby;
	const char *params[] = {hub_position(journal->hub)->text,
		journal->completed_xids ? journal->completed_xids : "{}"};
	const struct statement *pull = &pull_sql;
	row_fn *on_row = on_pull_row;
	if (!*params[0] || journal->mode != PULL_EVENTS)
		pull = standby ? &start_standby_sql : &start_sql; /* the position alone */
	else if (standby)
		pull = &pull_standby_sql;
	else if (journal->no_xact_in_progress)
		pull = &short_pull_sql;
	if (*params[0] && journal->mode == DEFER_ALL)
		on_row = on_defer_all_row;
	ask(journal, *pull, params, on_row, alone ? on_end : on_pulled);
	if (*params[0] && journal->mode == DEFER_AFFECTED)
		ask_affected(journal);
}

static void ask_conservative_cursor(struct journal *journal)
{
	if (journal->cursor_overflow || !*hub_position(journal->hub)->text)
		ask(journal, conservative_cursor_sql, NULL, on_conservative_cursor_row, NULL);
}

/* For the next pull. */
static void ask_completed_xids(struct journal *journal)
{
	const char *params[] = {hub_position(journal->hub)->text};
	if (journal->facts.standby && *params[0])
		ask(journal, completed_xids_sql, params, on_completed_xids_row, NULL);
}

enum { FROMS, TOS, UNVERIFIED, UIDS, WINDOWS, AFTERS, PAGE_ARRAYS };

static void ask_pages(struct journal *journal, const struct plan *plan)
{
	struct pgarray arrays[PAGE_ARRAYS];
	const char *params[PAGE_ARRAYS + 2];
	char events[24], bytes[24];
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_begin(&arrays[i]);
	for (size_t i = 0; i < plan->n_windows; i++) {
		const struct window *window = &plan->windows[i];
		pgarray_add(&arrays[FROMS], window->from->text);
		pgarray_add(&arrays[TOS], window->to ? window->to->text : NULL);
		pgarray_add(&arrays[UNVERIFIED], window->from->unverified ? "t" : "f");
	}
	for (size_t i = 0; i < plan->n_pages; i++) {
		const struct page *page = &plan->pages[i];
		pgarray_add_bytes(&arrays[UIDS], page->uid);
		pgarray_add_int(&arrays[WINDOWS], (int64_t)page->window + 1);
		pgarray_add_int(&arrays[AFTERS], page->after);
	}
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		params[i] = pgarray_end(&arrays[i]);
	snprintf(events, sizeof(events), "%zu", plan->page_events);
	snprintf(bytes, sizeof(bytes), "%zu", plan->page_bytes);
	params[PAGE_ARRAYS] = events;
	params[PAGE_ARRAYS + 1] = bytes;
	ask(journal, pages_sql, params, on_page_row, NULL);
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_free(&arrays[i]);
	metric_add(METRIC_PAGES, 1);
}

/* Milliseconds for an answer that is found in the turn. */
#define INIT_LIMIT "500"

static void ask_init(struct journal *journal, const struct plan *plan)
{
	journal->n_inits = 0;
	const char *limit_params[] = {INIT_LIMIT};
	ask(journal, limit_init_sql, limit_params, NULL, NULL);
	for (size_t i = 0; i < plan->n_init_queries; i++) {
		char *type = pgarray_bytes(plan->init_queries[i].type);
		char *uid = pgarray_bytes(plan->init_queries[i].uid);
		const char *params[] = {type, uid};
		ask(journal, init_sql, params, NULL, NULL);
		ask(journal, answer_sql, limit_params, on_answer_row, NULL);
		free(type);
		free(uid);
	}
}

void journal_expect(struct journal *journal, int64_t id, uint64_t since_ms)
{
	journal->canary_id = id;
	if (!journal->canary_ms)
		journal->canary_ms = since_ms;
}

void journal_measure_delay(struct journal *journal)
{
	uint64_t us = (clock_ms() - journal->canary_ms) * 1000;
	if (journal->canary_ms && us > metrics[METRIC_CANARY])
		metric_set(METRIC_CANARY, us);
}

static const struct statement begin = {.sql = "begin isolation level repeatable read, read only"};
/* Before the snapshot: TRUNCATE of the journal is visible to older snapshots, too. */
static const struct statement lock_journal = {
	.sql = "lock table pgcast.event in access share mode"};
static const struct statement commit = {.sql = "commit"};

static void end_turn(struct journal *journal, bool alone)
{
	journal->is_exporting = false;
	if (!alone)
		ask(journal, commit, NULL, NULL, on_end);
	ask_completed_xids(journal);
	pglink_sync(journal->link);
}

/* The snapshot is imported; without it the hub asks again. */
static void on_taken(void *ctx, bool ok)
{
	struct journal *journal = ctx;
	size_t n = journal->plan->n_init_queries;
	if (ok) {
		journal->tickets = xcalloc(n, sizeof(*journal->tickets));
		for (size_t i = 0; i < n; i++)
			journal->tickets[i] = hub_turn_hold(journal->hub, i);
	} else {
		for (size_t i = 0; i < n; i++)
			hub_turn_init(journal->hub, i, NULL, 0, NULL);
	}
	end_turn(journal, false);
}

static void on_snapshot_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	replace(&journal->snapshot, row_text(row, 0, NULL));
}

static void on_snapshot(void *ctx)
{
	struct journal *journal = ctx;
	if (journal->too_large) {
		queries_drop(journal->queries);
		end_turn(journal, false);
	} else {
		queries_take(journal->queries, journal->snapshot, on_taken, journal);
	}
}

bool journal_may_write(const struct journal *journal)
{
	return !journal->is_exporting;
}

void journal_turn(struct journal *journal, enum lock lock)
{
	assert(!journal->in_turn);
	journal->in_turn = true;
	journal->result = (struct turn_result){0};
	journal->too_large = false;
	enum init_mode mode = journal->facts.pooled ? INIT_IN_TURN : queries_mode(journal->queries);
	hub_set_init_mode(journal->hub, mode);
	const struct plan *plan = journal->plan = hub_turn_plan(journal->hub);
	bool apart = mode == INIT_APART && plan->n_init_queries;
	bool alone = !plan->n_pages && !plan->n_init_queries && journal->mode == PULL_EVENTS &&
		     !journal->facts.pooled;

	if (lock != LOCK_KEEP)
		ask_lock(journal, lock);
	if (!alone) {
		ask(journal, begin, NULL, NULL, NULL);
		ask(journal, lock_journal, NULL, NULL, NULL);
	}
	if (journal->facts.pooled)
		ask(journal, pooled_settings_sql, NULL, NULL, NULL);
	ask_conservative_cursor(journal);
	ask_pull(journal, alone);
	if (plan->n_pages)
		ask_pages(journal, plan);
	if (plan->n_init_queries && !apart)
		ask_init(journal, plan);
	if (!apart) {
		end_turn(journal, alone);
		return;
	}
	journal->is_exporting = true;
	queries_reserve(journal->queries, plan);
	ask(journal, export_snapshot_sql, NULL, on_snapshot_row, on_snapshot);
	pglink_sync(journal->link);
}
