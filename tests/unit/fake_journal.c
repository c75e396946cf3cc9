#include "fake_journal.h"

#include "unit.h"

#include <limits.h>
#include <stdio.h>

#include "alloc.h"
#include "clock.h"

/* A page of the plan. Like the parameters of a query, it has copies of the texts. */
struct fake_page {
	char *uid, *from_text;
	unsigned from, to; /* to UINT_MAX: the turn's snapshot */
	int64_t after;
	bool unverified;
};

struct fake_query {
	char *type, *uid;
};

enum stage { PLANNED, PULL, PAGES, INIT_QUERIES, DONE }; /* as steps[] in fake_turn_step */

struct fake_turn {
	enum stage stage;
	bool first; /* reads no events, only the position */
	unsigned from, to;
	size_t at; /* the next row or query */
	struct fake_page *pages;
	size_t n_pages, page, page_rows, max_page_rows;
	struct fake_query *queries;
	size_t n_queries;
};

uint64_t fake_ms;

uint64_t clock_ms(void)
{
	return fake_ms;
}

static void on_wanted(void *ctx)
{
	struct fake_journal *journal = ctx;
	assert_null(journal->turn);
	journal->wanted = true;
}

void fake_journal_init(struct fake_journal *journal, struct hub *hub)
{
	*journal = (struct fake_journal){.hub = hub, .answer_len = 32};
	hub_on_wanted(hub, on_wanted, journal);
}

void fake_journal_finish(struct fake_journal *journal)
{
	fake_turn_abort(journal);
	free(journal->rows);
}

/* ---- writing ---- */

void fake_journal_write(struct fake_journal *journal, unsigned writer, const char *uid,
	const char *type, bool broadcast, size_t len)
{
	if (journal->n_rows == journal->capacity) {
		journal->capacity = journal->capacity ? 2 * journal->capacity : 64;
		journal->rows = xrealloc(journal->rows, journal->capacity * sizeof(*journal->rows));
	}
	journal->rows[journal->n_rows] = (struct row){
		.id = (int64_t)journal->n_rows + 1,
		.uid = uid,
		.type = type,
		.broadcast = broadcast,
		.len = len,
		.writer = writer,
	};
	journal->n_rows++;
}

void fake_journal_commit(struct fake_journal *journal, unsigned writer)
{
	journal->commits++;
	for (size_t i = 0; i < journal->n_rows; i++) {
		struct row *row = &journal->rows[i];
		if (!row->commit && !row->lost && row->writer == writer)
			row->commit = journal->commits;
	}
}

void fake_journal_lose(struct fake_journal *journal, unsigned position)
{
	for (size_t i = 0; i < journal->n_rows; i++) {
		struct row *row = &journal->rows[i];
		if (row->commit <= position)
			continue;
		row->commit = 0;
		row->lost = true;
	}
	journal->commits = position;
}

/* ---- messages ---- */

/* The text, with dots up to a length; the caller frees it. */
static char *padded(const char *head, size_t len)
{
	size_t used = strlen(head);
	char *text = xmalloc((len > used ? len : used) + 1);
	memcpy(text, head, used + 1);
	if (len <= used)
		return text;
	memset(text + used, '.', len - used);
	text[len] = '\0';
	return text;
}

static void send_event(struct fake_journal *journal, const struct row *row)
{
	char head[64];
	snprintf(head, sizeof(head), "E %lld %s ", (long long)row->id, row->type);
	char *text = padded(head, row->len);
	const struct event event = {
		.id = row->id,
		.uid = row->uid,
		.type = row->type,
		.message = text,
		.message_len = strlen(text),
		.broadcast = row->broadcast,
	};
	if (journal->turn->stage == PULL)
		hub_turn_event(journal->hub, &event);
	else
		hub_turn_page_event(journal->hub, journal->turn->page, &event);
	free(text);
}

static void send_answer(struct fake_journal *journal, size_t i)
{
	char head[64];
	const struct fake_query *query = &journal->turn->queries[i];
	if (!strcmp(query->type, "unknown")) {
		hub_turn_init(journal->hub, i, NULL, 0);
		return;
	}
	snprintf(head, sizeof(head), "I %s %u %s ", query->type, journal->turn->to, query->uid);
	char *text = padded(head, journal->answer_len);
	hub_turn_init(journal->hub, i, text, strlen(text));
	free(text);
}

/* ---- turns ---- */

unsigned fake_number(const char *text)
{
	const char *last = strrchr(text, '.');
	assert_non_null(last);
	return (unsigned)strtoul(last + 1, NULL, 10);
}

static struct fake_page copy_page(const struct page *page)
{
	const struct window *window = &page->window;
	return (struct fake_page){
		.uid = xstrdup(page->uid),
		.from_text = xstrdup(window->from->text),
		.from = fake_number(window->from->text),
		.to = window->to ? fake_number(window->to->text) : UINT_MAX,
		.after = window->after,
		.unverified = page->unverified,
	};
}

void fake_turn_plan(struct fake_journal *journal)
{
	assert_null(journal->turn);
	journal->wanted = false;
	const struct plan *plan = hub_turn_plan(journal->hub);
	const char *position = hub_position(journal->hub)->text;
	struct fake_turn *turn = xcalloc(1, sizeof(*turn));
	*turn = (struct fake_turn){
		.first = !*position,
		.from = *position ? fake_number(position) : 0,
		.pages = xcalloc(plan->n_pages + 1, sizeof(*turn->pages)),
		.n_pages = plan->n_pages,
		.max_page_rows = plan->page_events,
		.queries = xcalloc(plan->n_init_queries + 1, sizeof(*turn->queries)),
		.n_queries = plan->n_init_queries,
	};
	for (size_t i = 0; i < turn->n_pages; i++)
		turn->pages[i] = copy_page(&plan->pages[i]);
	for (size_t i = 0; i < turn->n_queries; i++)
		turn->queries[i] = (struct fake_query){
			xstrdup(plan->init_queries[i].type), xstrdup(plan->init_queries[i].uid)};
	journal->turn = turn;
}

static void turn_free(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	journal->turn = NULL;
	for (size_t i = 0; i < turn->n_pages; i++) {
		free(turn->pages[i].uid);
		free(turn->pages[i].from_text);
	}
	for (size_t i = 0; i < turn->n_queries; i++) {
		free(turn->queries[i].type);
		free(turn->queries[i].uid);
	}
	free(turn->pages);
	free(turn->queries);
	free(turn);
}

static void begin(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	char text[32];
	turn->to = journal->commits;
	snprintf(text, sizeof(text), "1.0.0.%u", turn->to);
	struct position *to = position_create(text, text);
	hub_turn_begin(journal->hub, to);
	position_unref(&to);
	turn->stage = PULL;
}

static bool is_between(const struct row *row, unsigned from, unsigned to)
{
	return row->commit && row->commit > from && row->commit <= to;
}

static void step_pull(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	while (!turn->first && turn->at < journal->n_rows) {
		const struct row *row = &journal->rows[turn->at++];
		if (is_between(row, turn->from, turn->to)) {
			send_event(journal, row);
			return;
		}
	}
	turn->at = 0;
	turn->stage = PAGES;
}

static bool is_on_page(const struct fake_turn *turn, const struct row *row)
{
	const struct fake_page *page = &turn->pages[turn->page];
	unsigned to = page->to < turn->to ? page->to : turn->to;
	return row->id > page->after && is_between(row, page->from, to) &&
	       (row->broadcast || (row->uid && !strcmp(page->uid, row->uid)));
}

/* As hub_turn_page_verified takes it. */
static const char *reset_reason(const struct fake_journal *journal, const struct fake_page *page)
{
	if (strncmp(page->from_text, "1.", 2) != 0)
		return "epoch";
	if (page->from < journal->pruned)
		return "pruned";
	if (page->from > journal->turn->to)
		return journal->lags ? "later" : "cursor";
	return NULL;
}

static void next_page(struct fake_turn *turn)
{
	turn->page++;
	turn->at = turn->page_rows = 0;
}

static void verify_page(struct fake_journal *journal, struct fake_page *page)
{
	const char *reason = reset_reason(journal, page);
	page->unverified = false;
	hub_turn_page_verified(journal->hub, journal->turn->page, reason);
	if (reason)
		next_page(journal->turn);
}

static void step_pages(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	if (turn->page == turn->n_pages) {
		turn->stage = INIT_QUERIES;
		return;
	}
	if (turn->pages[turn->page].unverified) {
		verify_page(journal, &turn->pages[turn->page]);
		return;
	}
	while (turn->page_rows < turn->max_page_rows && turn->at < journal->n_rows) {
		const struct row *row = &journal->rows[turn->at++];
		if (is_on_page(turn, row)) {
			turn->page_rows++;
			send_event(journal, row);
			return;
		}
	}
	next_page(turn);
}

static void step_init_queries(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	if (turn->at < turn->n_queries)
		send_answer(journal, turn->at++);
	else
		turn->stage = DONE;
}

static void end(struct fake_journal *journal)
{
	turn_free(journal);
	journal->turns++;
	hub_turn_end(journal->hub);
	journal->wanted |= hub_pages_postponed(journal->hub);
	if (journal->plan_before_write || journal->abort_planned)
		fake_turn_plan(journal);
	if (journal->abort_planned)
		fake_turn_abort(journal);
	hub_turn_write(journal->hub);
}

bool fake_turn_step(struct fake_journal *journal)
{
	static void (*const steps[])(struct fake_journal * journal) = {
		begin, step_pull, step_pages, step_init_queries, end};
	enum stage stage = journal->turn->stage;
	steps[stage](journal);
	return stage != DONE;
}

void fake_turn_pull(struct fake_journal *journal, size_t n)
{
	for (size_t i = 0; i < n + 1; i++) {
		assert_true(journal->turn->stage <= PULL);
		fake_turn_step(journal);
	}
}

void fake_turn_end(struct fake_journal *journal)
{
	while (fake_turn_step(journal))
		;
}

void fake_turn_abort(struct fake_journal *journal)
{
	if (!journal->turn)
		return;
	turn_free(journal);
	hub_turn_abort(journal->hub);
	journal->wanted = true; /* a new connection begins with a turn */
}

void fake_turn(struct fake_journal *journal)
{
	fake_turn_plan(journal);
	fake_turn_end(journal);
}

void fake_turns(struct fake_journal *journal)
{
	for (int n = 0; journal->wanted; n++) {
		assert_true(n < 1000);
		fake_turn(journal);
	}
}
