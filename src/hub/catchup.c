/* Audiences that are catching up: which pages of the journal they need, and when they are live
 * again.
 *
 * Joining in the middle of a turn, resuming from a cursor, reading too slowly, a turn that broke
 * off: each is a window, and one query per turn reads a page of every window. */
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "metrics.h"
#include "state.h"

/* Events of all pages of a turn, and bytes of their JSON. Fewer when turns with pages take long, so
 * that live events do not wait for them. */
#define MAX_PAGE_BUDGET 16384
#define MAX_PAGE_EVENTS 4096
#define MIN_PAGE_EVENTS 8
/* Below, a long turn is not due to the events; only a turn that broke off asks for less. */
#define MIN_PAGE_BUDGET 1024
#define TURN_PAGE_BYTES (8u << 20)
#define MIN_PAGE_BYTES (64u << 10)
/* A turn with so many pages is followed by a pause in reading pages, of so many ms at most. */
#define MANY_PAGES 64
#define MAX_PAUSE 50

/* Milliseconds of a turn. Many pages have a cost of their own, which longer turns share. */
#define LONG_TURN 48
#define LONG_TURN_MANY 150
#define LONG_TURN_FEW 3000 /* with so few events that their number hardly matters */

/* Milliseconds that a client waits for a standby to replay the client's cursor. */
#define LAG_TIMEOUT 5000

/* It joined before the first position was known, and begins at the end of the first turn. */
static bool starts_now(const struct catchup *catchup)
{
	return !*catchup->window.from->text;
}

/* True when its fastest member has written everything; else all of them ask for a wake. */
static bool is_ready(const struct audience *audience)
{
	list_for_each (it, &audience->members)
		if (client_is_drained(LIST_OF(it, struct client, of_audience)))
			return true;
	list_for_each (it, &audience->members)
		client_await_wake(LIST_OF(it, struct client, of_audience));
	return false;
}

/* ---- planning ---- */

/* The index of the window in the plan, added when it is not there; MAX_PLAN_WINDOWS: no room. */
static size_t find_window(struct hub *hub, const struct window *window)
{
	const struct window open = {window->from, window->to, 0};
	size_t i = 0;
	while (i < hub->plan.n_windows && !window_equal(&hub->windows[i], &open))
		i++;
	if (i == hub->plan.n_windows && i < MAX_PLAN_WINDOWS) {
		hub->windows[i] = open;
		hub->plan.n_windows++;
	}
	return i;
}

static void add_page(struct hub *hub, struct catchup *catchup, size_t window)
{
	size_t i = hub->plan.n_pages++;
	hub->pages[i] = (struct page){
		.uid = catchup->audience->user->uid,
		.window = window,
		.after = catchup->window.after,
	};
	hub->page_owners[i] = catchup;
	catchup->page_owner = &hub->page_owners[i];
	catchup->page_last_id = catchup->page_upto = catchup->window.after;
	catchup->reset_reason = NULL;
}

/* While many clients come back, pages take half of the time at most: clients that come meanwhile
 * share the next query, and live events go on in between. */
static bool postpone_pages(struct hub *hub)
{
	hub->planned_ms = clock_ms();
	hub->pages_postponed =
		!list_empty(&hub->catching_up) && hub->planned_ms < hub->pages_from_ms;
	return hub->pages_postponed;
}

static void adapt_budgets(struct hub *hub)
{
	uint64_t now = clock_ms(), took = now - hub->planned_ms;
	bool many = hub->plan.n_pages >= MANY_PAGES;
	uint64_t long_turn = hub->page_budget < MIN_PAGE_BUDGET ? LONG_TURN_FEW
			     : many				? LONG_TURN_MANY
								: LONG_TURN;
	if (many)
		hub->pages_from_ms = now + (took < MAX_PAUSE ? took : MAX_PAUSE);
	if (!hub->plan.n_pages)
		return;
	if (took > long_turn && hub->page_budget > MIN_PAGE_BUDGET)
		hub->page_budget /= 2;
	else if (took < long_turn / 3 && hub->page_budget < MAX_PAGE_BUDGET)
		hub->page_budget *= 2;
}

void catchup_plan(struct hub *hub)
{
	if (!hub->page_budget)
		hub->page_budget = MAX_PAGE_BUDGET;
	if (postpone_pages(hub))
		return;
	size_t max_pages = hub->page_budget / MIN_PAGE_EVENTS;
	list_for_each (it, &hub->catching_up) {
		struct catchup *catchup = LIST_OF(it, struct catchup, of_hub);
		if (starts_now(catchup) || catchup->held || !is_ready(catchup->audience))
			continue;
		size_t window = find_window(hub, &catchup->window);
		if (window == MAX_PLAN_WINDOWS || hub->plan.n_pages == max_pages ||
			hub->plan.n_pages == MAX_PAGES) {
			hub->turn_wanted = true;
			continue;
		}
		add_page(hub, catchup, window);
	}
	size_t n = hub->plan.n_pages ? hub->plan.n_pages : 1;
	hub->plan.page_events = hub->page_budget / n;
	if (hub->plan.page_events > MAX_PAGE_EVENTS)
		hub->plan.page_events = MAX_PAGE_EVENTS;
	hub->plan.page_bytes = TURN_PAGE_BYTES / n;
	if (hub->plan.page_bytes < MIN_PAGE_BYTES)
		hub->plan.page_bytes = MIN_PAGE_BYTES;
}

void catchup_abort(struct hub *hub)
{
	if (!hub->plan.n_pages)
		return;
	hub->page_budget /= 4;
	if (hub->page_budget < MIN_PAGE_EVENTS)
		hub->page_budget = MIN_PAGE_EVENTS;
}

/* ---- a pull that is too large ---- */

static void defer_user(struct hub *hub, struct user *user)
{
	const struct window window = {.from = hub->position};
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (!audience_is_live(audience))
			continue;
		audience_start_catchup(audience, &window);
		hub_add_catchup(hub, audience);
	}
}

void hub_turn_defer(struct hub *hub, const char *uid)
{
	hub->turn_wanted = true;
	if (uid) {
		struct user *user = users_find(hub->users, uid);
		if (user)
			defer_user(hub, user);
		return;
	}
	list_for_each (it, users_list(hub->users))
		defer_user(hub, LIST_OF(it, struct user, of_users));
}

/* ---- the pages ---- */

/* The reason as static text. */
static const char *reset_reason(const char *reason)
{
	static const char *const reasons[] = {"epoch", "pruned"};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (strcmp(reason, reasons[i]) == 0)
			return reasons[i];
	return "cursor";
}

/* A standby may still replay its cursor, unless it had the time: then history never had it. */
static bool may_wait(const struct audience *audience, const char *reason)
{
	const struct client *first = LIST_OF(audience->members.next, struct client, of_audience);
	return !strcmp(reason, "later") && client_stalled_ms(first) < LAG_TIMEOUT;
}

static void send_reset(const struct catchup *catchup, const char *reason)
{
	metric_add(METRIC_RESETS, 1);
	list_for_each (it, &catchup->audience->members)
		client_send_reset(LIST_OF(it, struct client, of_audience), reason);
}

/* A later turn asks again. */
static void drop_page(struct hub *hub, size_t page)
{
	hub->page_owners[page]->page_owner = NULL;
	hub->page_owners[page] = NULL;
}

/* Events of the window that its members have are lost: they get the others again. */
static void reopen(struct catchup *catchup, const char *reason)
{
	position_unref(&catchup->window.to);
	catchup->window.after = 0;
	catchup->end_lost = reset_reason(reason);
}

/* Since a rewind the window's beginning is lost, too, which was verified before or is of this
 * bridge. Its members go on with everything after the position of the rewind, as live ones do. */
static bool began_before_rewind(const struct hub *hub, const struct catchup *catchup)
{
	const struct client *first =
		LIST_OF(catchup->audience->members.next, struct client, of_audience);
	return hub->rewound && catchup->window.from->history != hub->history && first->hello_sent;
}

static void reopen_at_rewind(struct hub *hub, struct catchup *catchup, const char *reason)
{
	window_clear(&catchup->window);
	catchup->window = (struct window){.from = position_ref(hub->rewound)};
	catchup->end_lost = NULL;
	send_reset(catchup, reset_reason(reason));
}

static void send_hello(const struct catchup *catchup)
{
	char *cursor = window_cursor(&catchup->window);
	list_for_each (it, &catchup->audience->members)
		client_send_hello(LIST_OF(it, struct client, of_audience), cursor, true);
	free(cursor);
}

static void set_verified(struct catchup *catchup)
{
	catchup->window.from->unverified = false;
	if (catchup->window.to)
		catchup->window.to->unverified = false;
	metric_add(METRIC_RESUMES, 1);
	send_hello(catchup);
	if (catchup->end_lost)
		send_reset(catchup, catchup->end_lost);
	catchup->end_lost = NULL;
}

void hub_turn_page(struct hub *hub, size_t page, const char *lost, int64_t upto)
{
	static const char of_end[] = "end ";
	struct catchup *catchup = hub->page_owners[page];
	if (!catchup)
		return;
	bool end_lost = lost && strncmp(lost, of_end, strlen(of_end)) == 0;
	if (end_lost)
		lost += strlen(of_end);
	if (lost && may_wait(catchup->audience, lost)) {
		drop_page(hub, page);
	} else if (end_lost) {
		reopen(catchup, lost);
		drop_page(hub, page);
		hub->turn_wanted = true;
	} else if (lost && began_before_rewind(hub, catchup)) {
		reopen_at_rewind(hub, catchup, lost);
		drop_page(hub, page);
		hub->turn_wanted = true;
	} else if (lost) {
		catchup->reset_reason = reset_reason(lost);
		metric_add(METRIC_RESETS, 1);
	} else {
		/* The broadcasts that were read may end before the beginning of this page. */
		catchup->page_upto =
			upto && upto < catchup->window.after ? catchup->window.after : upto;
		if (catchup->window.from->unverified)
			set_verified(catchup);
	}
}

static void add_page_event(struct hub *hub, struct catchup *catchup, const struct event *event,
	struct encoded *message)
{
	if (event->id <= catchup->page_last_id)
		return;
	catchup->page_last_id = event->id;
	metric_add(METRIC_CAUGHT_UP_EVENTS, 1);
	if (!types_include(catchup->audience->types, event->type) ||
		(event->control && !catchup->audience->protocol->control))
		return;
	struct block *block = encoded_block(
		message, catchup->audience->protocol, event->message, event->message_len);
	delivery_add(hub, catchup->audience, block, event->id);
}

void hub_turn_page_event(struct hub *hub, size_t page, const struct event *event)
{
	struct encoded message = {0};
	if (hub->page_owners[page])
		add_page_event(hub, hub->page_owners[page], event, &message);
	encoded_clear(&message);
	delivery_append_pages_if_large(hub);
}

void hub_turn_page_broadcast(
	struct hub *hub, const size_t windows[], size_t n, const struct event *event)
{
	bool in_window[MAX_PLAN_WINDOWS] = {false};
	struct encoded message = {0};
	for (size_t i = 0; i < n; i++)
		in_window[windows[i]] = true;
	for (size_t i = 0; n && i < hub->plan.n_pages; i++) {
		struct catchup *catchup = hub->page_owners[i];
		if (catchup && in_window[hub->pages[i].window] && !catchup->reset_reason &&
			(!catchup->page_upto || event->id <= catchup->page_upto))
			add_page_event(hub, catchup, event, &message);
	}
	encoded_clear(&message);
	delivery_append_pages_if_large(hub);
}

/* ---- the end of a turn ---- */

/* The page was the last one of its window. */
static bool window_is_done(const struct catchup *catchup)
{
	return catchup->page_owner && (catchup->reset_reason || !catchup->page_upto);
}

/* The window ends where the turn does. */
static bool becomes_live(const struct hub *hub, const struct catchup *catchup)
{
	const struct position *to = catchup->window.to;
	return window_is_done(catchup) &&
	       (catchup->reset_reason || !to || strcmp(to->text, hub->to->text) == 0);
}

static void announce_live(struct hub *hub, struct client *client, const char *reason)
{
	const char *cursor = hub->position->cursor;
	if (!client->hello_sent)
		client_send_hello(client, cursor, false);
	else
		client_send_cursor(client, cursor);
	if (reason)
		client_send_reset(client, reason);
	hub->turn_wanted |= client->init_requests != NULL;
}

static void make_live(struct hub *hub, struct audience *audience)
{
	const char *reason = audience->catchup->reset_reason;
	struct audience *live =
		audience_get(audience->user, audience->protocol, audience->types, NULL);
	live->cursor_serial = hub->serial;
	stream_continue(&audience->stream, &live->stream);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		delivery_write_client(client);
		if (client->audience != audience)
			continue; /* it is full, and catches up with another window */
		client_set_audience(client, live);
		announce_live(hub, client, reason);
	}
	audience_release(&audience);
	audience_release_if_idle(live);
}

/* The next window begins at the end of the last one and is open. */
static void open_next_window(struct window *window)
{
	position_unref(&window->from);
	*window = (struct window){.from = window->to};
}

static void add_cursor(struct hub *hub, struct catchup *catchup)
{
	const struct protocol *protocol = catchup->audience->protocol;
	const struct window *window = &catchup->window;
	struct position *to = window->to ? window->to : hub->to;
	struct window rest = {window->from, to, catchup->page_upto};
	if (!protocol->cursor || becomes_live(hub, catchup))
		return;
	if (window_is_done(catchup))
		rest = (struct window){.from = to};
	char *cursor = window_cursor(&rest);
	if (!cursor)
		return;
	struct block *block = protocol->cursor(cursor);
	delivery_add_cursor(hub, catchup->audience, block);
	block_unref(&block);
	free(cursor);
}

void catchup_add_cursors(struct hub *hub)
{
	for (size_t i = 0; i < hub->plan.n_pages; i++)
		if (hub->page_owners[i])
			add_cursor(hub, hub->page_owners[i]);
}

void catchup_settle(struct hub *hub)
{
	adapt_budgets(hub);
	list_for_each_safe (it, &hub->catching_up) {
		struct catchup *catchup = LIST_OF(it, struct catchup, of_hub);
		if (starts_now(catchup) || becomes_live(hub, catchup)) {
			make_live(hub, catchup->audience);
			continue;
		}
		if (window_is_done(catchup))
			open_next_window(&catchup->window);
		else if (catchup->page_owner)
			catchup_advance(catchup, hub->to, catchup->page_upto);
		hub->turn_wanted |= catchup->page_owner != NULL;
	}
}

void catchup_clear(struct hub *hub)
{
	for (size_t i = 0; i < hub->plan.n_pages; i++) {
		struct catchup *catchup = hub->page_owners[i];
		if (!catchup)
			continue;
		catchup->page_owner = NULL;
		list_remove(&catchup->of_hub); /* the others come first next time */
		list_append(&hub->catching_up, &catchup->of_hub);
	}
}
