/* Audiences that are catching up: which pages of the journal they need, and when they are live
 * again.
 *
 * Joining in the middle of a turn, resuming from a cursor, reading too slowly, a turn that broke
 * off: each is a window, and one query per turn reads a page of every window. */
#include "clock.h"
#include "metrics.h"
#include "state.h"

/* Events that all pages of a turn share, and the limits of each. */
#define TURN_PAGE_EVENTS 16384
#define MIN_PAGE_EVENTS 16
#define MAX_PAGE_EVENTS 2000

/* A turn with so many pages is followed by a pause in reading pages, of so many ms at most. */
#define MANY_PAGES 64
#define MAX_PAUSE 50

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

static void add_page(struct hub *hub, struct catchup *catchup)
{
	size_t i = hub->plan.n_pages++;
	hub->pages[i] = (struct page){
		.uid = catchup->audience->user->uid,
		.window = catchup->window,
		.unverified = catchup->window.from->unverified,
	};
	hub->page_owners[i] = catchup;
	catchup->page_owner = &hub->page_owners[i];
	catchup->page_last_id = catchup->window.after;
	catchup->page_events = 0;
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

static void pause_pages(struct hub *hub)
{
	uint64_t now = clock_ms(), took = now - hub->planned_ms;
	if (hub->plan.n_pages >= MANY_PAGES)
		hub->pages_from_ms = now + (took < MAX_PAUSE ? took : MAX_PAUSE);
}

static size_t page_events(size_t pages)
{
	size_t share = TURN_PAGE_EVENTS / (pages ? pages : 1);
	return share < MIN_PAGE_EVENTS	 ? MIN_PAGE_EVENTS
	       : share > MAX_PAGE_EVENTS ? MAX_PAGE_EVENTS
					 : share;
}

void catchup_plan(struct hub *hub)
{
	if (postpone_pages(hub))
		return;
	list_for_each (it, &hub->catching_up) {
		struct catchup *catchup = LIST_OF(it, struct catchup, of_hub);
		if (starts_now(catchup) || !is_ready(catchup->audience))
			continue;
		if (hub->plan.n_pages == MAX_PAGES) {
			hub->turn_wanted = true;
			break;
		}
		add_page(hub, catchup);
	}
	hub->plan.page_events = page_events(hub->plan.n_pages);
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

void hub_turn_page_verified(struct hub *hub, size_t page, const char *reason)
{
	struct catchup *catchup = hub->page_owners[page];
	if (!catchup)
		return;
	if (reason && may_wait(catchup->audience, reason)) {
		hub->page_owners[page] = NULL;
		catchup->page_owner = NULL; /* the next turn asks again */
		return;
	}
	if (reason) {
		catchup->reset_reason = reset_reason(reason);
		metric_add(METRIC_RESETS, 1);
		return;
	}
	catchup->window.from->unverified = false;
	metric_add(METRIC_RESUMES, 1);
	list_for_each (it, &catchup->audience->members)
		client_send_hello(LIST_OF(it, struct client, of_audience),
			catchup->window.from->cursor, true);
}

void hub_turn_page_event(struct hub *hub, size_t page, const struct event *event)
{
	struct catchup *catchup = hub->page_owners[page];
	metric_add(METRIC_CAUGHT_UP_EVENTS, 1);
	if (!catchup)
		return;
	catchup->page_last_id = event->id;
	catchup->page_events++;
	if (!types_include(catchup->audience->types, event->type))
		return;
	struct block *block =
		catchup->audience->protocol->message(event->message, event->message_len);
	delivery_add(hub, catchup->audience, block, event->id);
	block_unref(&block);
	delivery_append_pages_if_large(hub);
}

/* ---- the end of a turn ---- */

/* The page was the last one of its window. */
static bool window_is_done(const struct hub *hub, const struct catchup *catchup)
{
	return catchup->page_owner &&
	       (catchup->reset_reason || catchup->page_events < hub->plan.page_events);
}

/* The window ends where the turn does. */
static bool becomes_live(const struct hub *hub, const struct catchup *catchup)
{
	const struct position *to = catchup->window.to;
	return window_is_done(hub, catchup) &&
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
	stream_continue(&audience->stream, &live->stream);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_set_audience(client, live);
		announce_live(hub, client, reason);
		client_write(client);
	}
	audience_release(&audience);
}

/* The next window begins at the end of the last one and is open. */
static void open_next_window(struct window *window)
{
	position_unref(&window->from);
	*window = (struct window){.from = window->to};
}

void catchup_settle(struct hub *hub)
{
	list_for_each_safe (it, &hub->catching_up) {
		struct catchup *catchup = LIST_OF(it, struct catchup, of_hub);
		if (starts_now(catchup) || becomes_live(hub, catchup)) {
			make_live(hub, catchup->audience);
			continue;
		}
		if (window_is_done(hub, catchup))
			open_next_window(&catchup->window);
		else if (catchup->page_owner)
			catchup_advance(catchup, hub->to);
		hub->turn_wanted |= catchup->page_owner != NULL;
	}
}

void catchup_clear(struct hub *hub)
{
	pause_pages(hub);
	for (size_t i = 0; i < hub->plan.n_pages; i++)
		if (hub->page_owners[i])
			hub->page_owners[i]->page_owner = NULL;
}
