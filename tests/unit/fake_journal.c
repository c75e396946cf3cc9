#include "fake_journal.h"

#include "unit.h"

#include <limits.h>
#include <stdio.h>

#include "alloc.h"
#include "clock.h"

/* A page of the plan. Like the parameters of a query, it has copies of the texts. */
struct fake_page {
	char *uid;
	size_t window;
	int64_t after, upto; /* upto 0: to the end of the window */
	bool lost;
};

struct fake_window {
	char *from_text;
	unsigned from, to; /* to UINT_MAX: the turn's snapshot */
	bool unverified;
};

struct fake_query {
	char *type, *uid;
};

struct fake_answer {
	struct ticket *ticket;
	struct fake_query query;
	unsigned at; /* the position of the snapshot */
};

/* Of the pages of a turn. */
#define MAX_BROADCASTS 20

enum stage {
	PLANNED,
	PULL,
	PAGES,
	PAGE_EVENTS,
	INIT_QUERIES,
	DONE
}; /* as steps[] in fake_turn_step */

struct fake_turn {
	enum stage stage;
	bool first; /* reads no events, only the position */
	unsigned from, to;
	size_t at; /* the next row or query */
	struct fake_page *pages;
	size_t n_pages, page, max_page_rows;
	struct fake_window *windows;
	size_t n_windows;
	int64_t bound; /* the last broadcast of the pages; 0: all are read */
	bool too_large;
	struct fake_query *queries;
	struct ticket **tickets; /* of queries */
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
	while (journal->n_held)
		fake_answer(journal, 0, FAKE_REFUSED);
	free(journal->held);
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

static bool is_between(const struct row *row, unsigned from, unsigned to)
{
	return row->commit && row->commit > from && row->commit <= to;
}

static bool is_in_window(
	const struct fake_turn *turn, const struct fake_window *window, const struct row *row)
{
	return is_between(row, window->from, window->to < turn->to ? window->to : turn->to);
}

/* Of a page, if it is not a broadcast. */
static void send_event(struct fake_journal *journal, const struct row *row, size_t page)
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
	const struct fake_turn *turn = journal->turn;
	size_t windows[MAX_PLAN_WINDOWS], n = 0;
	for (size_t i = 0; i < turn->n_windows; i++)
		if (is_in_window(turn, &turn->windows[i], row))
			windows[n++] = i;
	if (turn->stage == PULL)
		hub_turn_event(journal->hub, &event);
	else if (row->broadcast)
		hub_turn_page_broadcast(journal->hub, windows, n, &event);
	else
		hub_turn_page_event(journal->hub, page, &event);
	free(text);
}

static char *answer_text(
	const struct fake_journal *journal, const struct fake_query *query, unsigned at)
{
	char head[64];
	snprintf(head, sizeof(head), "I %s %u %s ", query->type, at, query->uid);
	return padded(head, journal->answer_len);
}

static void send_answer(struct fake_journal *journal, size_t i)
{
	const struct fake_query *query = &journal->turn->queries[i];
	if (journal->apart) {
		journal->turn->tickets[i] = hub_turn_hold(journal->hub, i);
		return;
	}
	if (!strcmp(query->type, "unknown")) {
		hub_turn_init(journal->hub, i, NULL, 0, "unknown_type");
		return;
	}
	char *text = answer_text(journal, query, journal->turn->to);
	hub_turn_init(journal->hub, i, text, strlen(text), NULL);
	free(text);
}

void fake_answer(struct fake_journal *journal, size_t i, enum fake_outcome outcome)
{
	struct fake_answer answer = journal->held[i];
	journal->held[i] = journal->held[--journal->n_held];
	char *text = answer_text(journal, &answer.query, answer.at);
	if (outcome == FAKE_AGAIN)
		hub_answer(journal->hub, &answer.ticket, NULL, 0, NULL);
	else if (outcome == FAKE_REFUSED || !strcmp(answer.query.type, "unknown"))
		hub_answer(journal->hub, &answer.ticket, NULL, 0, "unknown_type");
	else
		hub_answer(journal->hub, &answer.ticket, text, strlen(text), NULL);
	free(text);
	free(answer.query.type);
	free(answer.query.uid);
}

/* The turn has ended: its answers are held. */
static void keep_tickets(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	if (!journal->apart || turn->too_large)
		return;
	journal->held = xrealloc(
		journal->held, (journal->n_held + turn->n_queries + 1) * sizeof(*journal->held));
	for (size_t i = 0; i < turn->n_queries; i++) {
		journal->held[journal->n_held++] =
			(struct fake_answer){turn->tickets[i], turn->queries[i], turn->to};
		turn->queries[i] = (struct fake_query){0};
	}
}

/* ---- turns ---- */

unsigned fake_number(const char *text)
{
	const char *last = strrchr(text, '.');
	assert_non_null(last);
	return (unsigned)strtoul(last + 1, NULL, 10);
}

void fake_turn_plan(struct fake_journal *journal)
{
	assert_null(journal->turn);
	journal->wanted = false;
	hub_set_init_mode(journal->hub, journal->apart ? INIT_APART : INIT_IN_TURN);
	const struct plan *plan = hub_turn_plan(journal->hub);
	const char *position = hub_position(journal->hub)->text;
	struct fake_turn *turn = xcalloc(1, sizeof(*turn));
	*turn = (struct fake_turn){
		.first = !*position,
		.from = *position ? fake_number(position) : 0,
		.pages = xcalloc(plan->n_pages + 1, sizeof(*turn->pages)),
		.n_pages = plan->n_pages,
		.windows = xcalloc(plan->n_windows + 1, sizeof(*turn->windows)),
		.n_windows = plan->n_windows,
		.max_page_rows = plan->page_events,
		.queries = xcalloc(plan->n_init_queries + 1, sizeof(*turn->queries)),
		.tickets = xcalloc(plan->n_init_queries + 1, sizeof(struct ticket *)),
		.n_queries = plan->n_init_queries,
	};
	for (size_t i = 0; i < turn->n_pages; i++)
		turn->pages[i] = (struct fake_page){.uid = xstrdup(plan->pages[i].uid),
			.window = plan->pages[i].window,
			.after = plan->pages[i].after};
	for (size_t i = 0; i < turn->n_windows; i++) {
		const struct window *window = &plan->windows[i];
		turn->windows[i] = (struct fake_window){
			.from_text = xstrdup(window->from->text),
			.from = fake_number(window->from->text),
			.to = window->to ? fake_number(window->to->text) : UINT_MAX,
			.unverified = window->from->unverified,
		};
	}
	for (size_t i = 0; i < turn->n_queries; i++)
		turn->queries[i] = (struct fake_query){
			xstrdup(plan->init_queries[i].type), xstrdup(plan->init_queries[i].uid)};
	journal->turn = turn;
}

static void turn_free(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	journal->turn = NULL;
	for (size_t i = 0; i < turn->n_pages; i++)
		free(turn->pages[i].uid);
	for (size_t i = 0; i < turn->n_windows; i++)
		free(turn->windows[i].from_text);
	for (size_t i = 0; i < turn->n_queries; i++) {
		free(turn->queries[i].type);
		free(turn->queries[i].uid);
	}
	free(turn->pages);
	free(turn->windows);
	free(turn->queries);
	free(turn->tickets);
	free(turn);
}

static size_t count_pull(const struct fake_journal *journal)
{
	size_t n = 0;
	for (size_t i = 0; i < journal->n_rows; i++)
		n += is_between(&journal->rows[i], journal->turn->from, journal->turn->to);
	return n;
}

static void defer(struct fake_journal *journal)
{
	const struct fake_turn *turn = journal->turn;
	for (size_t i = 0; i < journal->n_rows; i++) {
		const struct row *row = &journal->rows[i];
		if (is_between(row, turn->from, turn->to) && (row->uid || row->broadcast))
			hub_turn_defer(journal->hub, row->broadcast ? NULL : row->uid);
	}
}

static void begin(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	char text[32];
	turn->to = journal->commits;
	bool large = !turn->first && journal->max_pull && count_pull(journal) > journal->max_pull;
	bool defers = journal->defers && !turn->first;
	turn->too_large = large && !defers;
	turn->stage = turn->too_large ? DONE : defers ? PAGES : PULL;
	if (!turn->too_large) {
		snprintf(text, sizeof(text), "1.0.0.%u", turn->to);
		struct position *to = position_create(text, text);
		hub_turn_begin(journal->hub, to);
		position_unref(&to);
		if (defers)
			defer(journal);
	}
	journal->defers = turn->too_large;
}

static void step_pull(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	while (!turn->first && turn->at < journal->n_rows) {
		const struct row *row = &journal->rows[turn->at++];
		if (is_between(row, turn->from, turn->to)) {
			send_event(journal, row, 0);
			return;
		}
	}
	turn->at = 0;
	turn->stage = PAGES;
}

/* As hub_turn_page takes it. */
static const char *reset_reason(
	const struct fake_journal *journal, const struct fake_window *window)
{
	if (!window->unverified)
		return NULL;
	if (strncmp(window->from_text, "1.", 2) != 0)
		return "epoch";
	if (window->from < journal->pruned)
		return "pruned";
	if (window->from <= journal->turn->to && window->to != UINT_MAX &&
		window->to > journal->turn->to)
		return journal->lags ? "end later" : "end cursor";
	if (window->from > journal->turn->to)
		return journal->lags ? "later" : "cursor";
	return NULL;
}

static bool is_on_page(
	const struct fake_turn *turn, const struct fake_page *page, const struct row *row)
{
	return !page->lost && !row->broadcast && row->uid && !strcmp(page->uid, row->uid) &&
	       row->id > page->after && is_in_window(turn, &turn->windows[page->window], row);
}

static bool is_within(int64_t id, int64_t upto)
{
	return !upto || id <= upto;
}

/* Broadcasts are read once, from the first page's beginning on, and only so many. */
static void find_bound(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	int64_t low = INT64_MAX;
	for (size_t i = 0; i < turn->n_pages; i++) {
		struct fake_page *page = &turn->pages[i];
		page->lost = reset_reason(journal, &turn->windows[page->window]);
		if (!page->lost && page->after < low)
			low = page->after;
	}
	size_t n = 0;
	for (size_t i = 0; !turn->bound && i < journal->n_rows; i++) {
		const struct row *row = &journal->rows[i];
		if (row->broadcast && row->id > low && is_between(row, 0, turn->to) &&
			++n == MAX_BROADCASTS)
			turn->bound = row->id;
	}
}

static void find_upto(struct fake_journal *journal, struct fake_page *page)
{
	struct fake_turn *turn = journal->turn;
	size_t n = 0;
	page->upto = turn->bound;
	for (size_t i = 0; i < journal->n_rows && n < turn->max_page_rows; i++) {
		const struct row *row = &journal->rows[i];
		if (is_within(row->id, turn->bound) && is_on_page(turn, page, row) &&
			++n == turn->max_page_rows)
			page->upto = row->id;
	}
}

static void step_pages(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	if (!turn->page)
		find_bound(journal);
	if (turn->page == turn->n_pages) {
		turn->page = 0;
		turn->stage = PAGE_EVENTS;
		return;
	}
	struct fake_page *page = &turn->pages[turn->page];
	find_upto(journal, page);
	hub_turn_page(journal->hub, turn->page++,
		reset_reason(journal, &turn->windows[page->window]), page->upto);
}

static void step_page_events(struct fake_journal *journal)
{
	struct fake_turn *turn = journal->turn;
	for (; turn->at < journal->n_rows; turn->at++, turn->page = 0) {
		const struct row *row = &journal->rows[turn->at];
		if (row->broadcast && turn->n_pages && is_within(row->id, turn->bound)) {
			turn->at++;
			send_event(journal, row, 0);
			return;
		}
		while (turn->page < turn->n_pages) {
			const struct fake_page *page = &turn->pages[turn->page++];
			if (is_on_page(turn, page, row) && is_within(row->id, page->upto)) {
				send_event(journal, row, turn->page - 1);
				return;
			}
		}
	}
	turn->at = 0;
	turn->stage = INIT_QUERIES;
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
	bool too_large = journal->turn->too_large;
	keep_tickets(journal);
	turn_free(journal);
	journal->turns++;
	if (too_large) {
		hub_turn_abort(journal->hub);
		journal->wanted = true;
		hub_turn_write(journal->hub);
		return;
	}
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
		begin, step_pull, step_pages, step_page_events, step_init_queries, end};
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
