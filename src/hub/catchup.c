/* Audiences that are behind: which pages of the journal they need, and when they are live again.
 *
 * Joining in mid-turn, resuming from a cursor, having been too slow, a turn that broke off: each is
 * a window, and all windows are read by one query per turn, a page each. */
#include <string.h>

#include "clock.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

/* A page has at least so many events, however many pages a turn has to share. */
#define LEAST_PAGE_ROWS 16
#define MOST_PAGE_ROWS 2000
/* So many pages in a turn are a crowd. */
#define CROWD 64
#define LONGEST_PAUSE 50 /* milliseconds */

/* Milliseconds that a client waits for a standby that lags behind its cursor. */
#define LAG_PATIENCE 5000

/* A client that came before the first position was known: it begins with the first turn's end. */
static bool starts_now(const struct behind *behind)
{
	return !*behind->window.from->text;
}

/* Its fastest member has got all that it was given. Where none has, each will say when it has. */
static bool ready(const struct audience *audience)
{
	list_for_each (it, &audience->members)
		if (client_drained(LIST_OF(it, struct client, of_audience)))
			return true;
	list_for_each (it, &audience->members)
		client_await(LIST_OF(it, struct client, of_audience));
	return false;
}

/* ---- planning ---- */

static void add_page(struct hub *hub, struct behind *behind)
{
	size_t i = hub->plan.n_pages++;
	hub->pages[i] = (struct page){
		.uid = behind->audience->user->uid,
		.window = behind->window,
		.check = behind->window.from->foreign,
	};
	hub->pagers[i] = behind;
	behind->slot = &hub->pagers[i];
	behind->page = i + 1;
	behind->page_last = behind->window.after;
	behind->page_rows = 0;
	behind->lost = NULL;
}

/* While a crowd comes back, pages are read at half the time at most: those who come meanwhile share
 * the next query, and live events go on between. */
static bool put_off(struct hub *hub)
{
	hub->planned_ms = clock_ms();
	hub->put_off = !list_empty(&hub->behind) && hub->planned_ms < hub->pages_from_ms;
	return hub->put_off;
}

static void set_off(struct hub *hub)
{
	uint64_t now = clock_ms(), took = now - hub->planned_ms;
	if (hub->plan.n_pages >= CROWD)
		hub->pages_from_ms = now + (took < LONGEST_PAUSE ? took : LONGEST_PAUSE);
}

void catchup_plan(struct hub *hub)
{
	if (put_off(hub))
		return;
	list_for_each (it, &hub->behind) {
		struct behind *behind = LIST_OF(it, struct behind, of_hub);
		if (starts_now(behind) || !ready(behind->audience))
			continue;
		if (hub->plan.n_pages == MAX_PAGES) {
			hub->asked = true;
			break;
		}
		add_page(hub, behind);
	}
	size_t n = hub->plan.n_pages ? hub->plan.n_pages : 1, rows = MAX_PAGE_EVENTS / n;
	hub->plan.page_rows = rows < LEAST_PAGE_ROWS  ? LEAST_PAGE_ROWS
			      : rows > MOST_PAGE_ROWS ? MOST_PAGE_ROWS
						      : rows;
}

/* ---- what arrives ---- */

/* A reason that lasts. */
static const char *reset_reason(const char *reason)
{
	static const char *const reasons[] = {"epoch", "pruned"};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (strcmp(reason, reasons[i]) == 0)
			return reasons[i];
	return "cursor";
}

/* Its beginning may yet come, unless it has had its time: then it is from another history. */
static bool waits(const struct audience *audience, const char *reason)
{
	const struct client *first = LIST_OF(audience->members.next, struct client, of_audience);
	return !strcmp(reason, "later") && client_waits(first) < LAG_PATIENCE;
}

void catchup_resume(struct hub *hub, size_t page, const char *reason)
{
	struct behind *behind = hub->pagers[page];
	if (!behind)
		return;
	if (reason && waits(behind->audience, reason)) {
		hub->pagers[page] = NULL;
		behind->slot = NULL;
		behind->page = 0; /* the next turn asks again */
		return;
	}
	if (reason) {
		behind->lost = reset_reason(reason);
		metric_add(METRIC_RESETS, 1);
		return;
	}
	behind->window.from->foreign = false;
	metric_add(METRIC_RESUMES, 1);
	list_for_each (it, &behind->audience->members)
		client_hello(
			LIST_OF(it, struct client, of_audience), behind->window.from->cursor, true);
}

void catchup_page(struct hub *hub, size_t page, const struct event *event)
{
	struct behind *behind = hub->pagers[page];
	metric_add(METRIC_CAUGHT_UP_EVENTS, 1);
	if (!behind)
		return;
	behind->page_last = event->id;
	behind->page_rows++;
	if (!audience_wants(behind->audience, event->type))
		return;
	struct block *frame = websocket_text(event->text, event->len);
	delivery_add(hub, behind->audience, frame, event->id);
	block_unref(&frame);
	delivery_flush_if_large(hub);
}

/* ---- the end of a turn ---- */

/* The page was the last one of its window. */
static bool window_ends(const struct hub *hub, const struct behind *behind)
{
	return behind->page && (behind->lost || behind->page_rows < hub->plan.page_rows);
}

/* This turn makes it live. */
static bool completes(const struct hub *hub, const struct behind *behind)
{
	const struct position *to = behind->window.to;
	return window_ends(hub, behind) &&
	       (behind->lost || !to || strcmp(to->text, hub->to->text) == 0);
}

static void welcome(struct hub *hub, struct client *client, const char *lost)
{
	const char *cursor = hub->position->cursor;
	if (!client->greeted)
		client_hello(client, cursor, false);
	else if (!client_plain(client))
		client_tell(client, message_cursor(cursor));
	if (lost && !client_plain(client))
		client_tell(client, message_reset(lost));
	hub->asked |= client->requests != NULL;
}

static void become_live(struct hub *hub, struct audience *audience)
{
	const char *lost = audience->behind->lost;
	struct audience *live = audience_get(audience->user, audience->kind, audience->types, NULL);
	run_continue(&audience->run, &live->run);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_move(client, live);
		welcome(hub, client, lost);
	}
	audience_release(&audience);
}

/* The window's end is reached: what follows is everything since. */
static void next_window(struct behind *behind)
{
	struct window *window = &behind->window;
	position_unref(&window->from);
	*window = (struct window){.from = window->to};
}

void catchup_settle(struct hub *hub)
{
	list_for_each_safe (it, &hub->behind) {
		struct behind *behind = LIST_OF(it, struct behind, of_hub);
		if (starts_now(behind) || completes(hub, behind)) {
			become_live(hub, behind->audience);
			continue;
		}
		if (window_ends(hub, behind))
			next_window(behind);
		else if (behind->page)
			behind_advance(behind, hub->to);
		hub->asked |= behind->page != 0;
	}
}

void catchup_clear(struct hub *hub)
{
	set_off(hub);
	for (size_t i = 0; i < hub->plan.n_pages; i++) {
		if (!hub->pagers[i])
			continue;
		hub->pagers[i]->page = 0;
		hub->pagers[i]->slot = NULL;
	}
}
