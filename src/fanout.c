/* A turn, for all clients: frames are collected per audience, appended to its run once, and written
 * to each member in as few writes as its connection allows.
 *
 * What holds between turns: every live audience has been told all up to hub->position, and every
 * audience that is catching up all up to its window. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "hub_priv.h"
#include "message.h"
#include "stats.h"

/* A turn's rows are flushed when they come to this many bytes, so that a bulk statement of any size
 * passes through in bounded memory. */
#define FLUSH_BYTES (4u << 20)

/* ---- appending and writing ---- */

void fanout_add(struct hub *hub, struct audience *audience, struct block *frame, int64_t id)
{
	audience_add(audience, frame, id);
	if (list_empty(&audience->touched))
		list_append(&hub->touched, &audience->touched);
	hub->pending_bytes += frame->len;
}

static struct position *upper(const struct hub *hub, const struct audience *audience)
{
	return audience->window.to ? audience->window.to : hub->to;
}

/* Says that the audience's run holds its window up to that event. */
static void advance(struct hub *hub, struct audience *audience, int64_t after)
{
	if (!audience->window.to)
		audience->window.to = position_ref(hub->to);
	audience->window.after = after;
}

static void fall_behind(struct client *client)
{
	struct audience *audience = client->audience;
	struct hub *hub = client->hub;
	struct window rest = {0};
	if (!reader_give_up(&client->reader, &rest)) {
		reader_move(&client->reader, &audience->run);
		return;
	}
	stats_add(STAT_FALLEN_BEHIND, 1);
	struct audience *to = audience_get(client->user, audience->kind, audience->types, &rest);
	window_clear(&rest);
	if (list_empty(&to->of_behind))
		list_append(&hub->behind, &to->of_behind);
	reader_move(&client->reader, &to->run);
	client_move(client, to);
}

static void write_members(struct hub *hub, struct audience *audience, size_t bytes, size_t events)
{
	size_t limit = (size_t)hub->settings->send_buffer;
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client->reader.queued += bytes;
		stats_add(STAT_DELIVERIES, events);
		client_pump(client);
		if (client->reader.queued > limit)
			fall_behind(client);
	}
}

static void flush_audience(struct hub *hub, struct audience *audience)
{
	size_t events = audience->n_pending, bytes;
	list_remove(&audience->touched);
	if (audience_live(audience)) {
		bytes = audience_append(audience, hub->position, hub->to);
	} else {
		bytes = audience_append(audience, audience->window.from, upper(hub, audience));
		if (audience->cohort)
			advance(hub, audience, hub->pages[audience->cohort - 1].last);
	}
	write_members(hub, audience, bytes, events);
	if (list_empty(&audience->members))
		audience_release(&audience);
}

void fanout_flush(struct hub *hub)
{
	list_for_each_safe (it, &hub->touched)
		flush_audience(hub, LIST_OF(it, struct audience, touched));
	hub->flushed = hub->told;
	hub->pending_bytes = 0;
}

/* ---- planning ---- */

static bool starts_now(const struct audience *audience)
{
	return !audience_live(audience) && !*audience->window.from->text;
}

/* Its fastest member has got all that it was given. */
static bool ready(const struct audience *audience)
{
	list_for_each (it, &audience->members)
		if (client_drained(LIST_OF(it, struct client, of_audience)))
			return true;
	return false;
}

static size_t find_cohort(struct hub *hub, const struct window *window)
{
	size_t i = 0;
	while (i < hub->plan.n_cohorts && !window_equal(&hub->cohorts[i].window, window))
		i++;
	if (i == hub->plan.n_cohorts && i < MAX_COHORTS) {
		hub->cohorts[i] = (struct cohort){.window = window_copy(window)};
		hub->pages[i] = (struct page){.last = window->after};
		hub->plan.n_cohorts++;
	}
	return i;
}

static void enter_cohort(struct cohort *cohort, const char *uid)
{
	/* Grows at powers of two; the room need not be stored. */
	if (!(cohort->n_uids & (cohort->n_uids - 1))) {
		size_t room = cohort->n_uids ? 2 * cohort->n_uids : 1;
		cohort->uids = xrealloc(cohort->uids, room * sizeof(*cohort->uids));
	}
	cohort->uids[cohort->n_uids++] = uid;
}

static void plan_cohorts(struct hub *hub)
{
	list_for_each (it, &hub->behind) {
		struct audience *audience = LIST_OF(it, struct audience, of_behind);
		if (starts_now(audience) || !ready(audience))
			continue;
		size_t i = find_cohort(hub, &audience->window);
		if (i == MAX_COHORTS) {
			hub->asked = true;
			continue;
		}
		audience->cohort = i + 1;
		enter_cohort(&hub->cohorts[i], audience->user->uid);
	}
}

static size_t find_wish(struct hub *hub, const struct user *user, const char *type)
{
	size_t i = 0;
	while (i < hub->plan.n_wishes &&
		(hub->answers[i].user != user || strcmp(hub->wishes[i].type, type) != 0))
		i++;
	if (i == hub->plan.n_wishes && i < MAX_WISHES) {
		hub->wishes[i] = (struct wish){.type = type, .uid = user->uid};
		hub->answers[i] = (struct answer){.user = user};
		hub->plan.n_wishes++;
	}
	return i;
}

static void plan_wishes(struct hub *hub)
{
	list_for_each (it, &hub->requests) {
		struct request *request = LIST_OF(it, struct request, of_hub);
		struct client *client = request->client;
		if (!audience_live(client->audience))
			continue;
		size_t i = find_wish(hub, client->user, request->type);
		if (i == MAX_WISHES) {
			hub->asked = true;
			return;
		}
		request->wish = i + 1;
	}
}

const struct plan *hub_turn_plan(struct hub *hub)
{
	assert(!hub->in_turn);
	hub->in_turn = true;
	hub->asked = false;
	hub->told = hub->flushed = 0;
	hub->plan = (struct plan){.cohorts = hub->cohorts, .wishes = hub->wishes};
	plan_cohorts(hub);
	if (*hub->position->text)
		plan_wishes(hub);
	return &hub->plan;
}

/* ---- telling ---- */

void hub_turn_begin(struct hub *hub, struct position *to)
{
	hub->to = position_ref(to);
}

/* Adds the event to those of the user's audiences that are in the cohort (0: to the live ones). */
static void add_for_user(struct hub *hub, struct user *user, size_t cohort,
	const struct event *event, struct block **frame)
{
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		bool in = cohort ? audience->cohort == cohort : audience_live(audience);
		if (!in || !audience_wants(audience, event->type))
			continue;
		if (!*frame)
			*frame = frame_text(event->text, event->len);
		fanout_add(hub, audience, *frame, event->id);
	}
}

static void tell(struct hub *hub, const struct event *event, size_t cohort)
{
	struct block *frame = NULL;
	if (event->broadcast) {
		list_for_each (it, registry_users(hub->registry))
			add_for_user(
				hub, LIST_OF(it, struct user, of_registry), cohort, event, &frame);
	} else if (event->uid) {
		struct user *user = registry_find(hub->registry, event->uid);
		if (user)
			add_for_user(hub, user, cohort, event, &frame);
	}
	block_unref(&frame);
}

void hub_turn_event(struct hub *hub, const struct event *event)
{
	stats_add(STAT_EVENTS, 1);
	tell(hub, event, 0);
	hub->told = event->id;
	if (hub->pending_bytes > FLUSH_BYTES)
		fanout_flush(hub);
}

void hub_turn_page(struct hub *hub, size_t cohort, const struct event *event)
{
	stats_add(STAT_CAUGHT_UP_EVENTS, 1);
	tell(hub, event, cohort + 1);
	hub->pages[cohort].last = event->id;
	hub->pages[cohort].rows++;
	if (hub->pending_bytes > FLUSH_BYTES)
		fanout_flush(hub);
}

void hub_turn_page_end(struct hub *hub, size_t cohort)
{
	stats_add(STAT_PAGES, 1);
	hub->pages[cohort].ended = true;
}

void hub_turn_init(struct hub *hub, size_t wish, const char *text, size_t len)
{
	if (text)
		hub->answers[wish].block = frame_text(text, len);
}

/* ---- the end of a turn ---- */

static bool complete(const struct hub *hub, const struct audience *audience)
{
	if (starts_now(audience))
		return true;
	if (!audience->cohort)
		return false;
	const struct page *page = &hub->pages[audience->cohort - 1];
	return page->ended && page->rows < HUB_PAGE;
}

/* Its window reached up to the end of this turn, and it has all of it. */
static bool becomes_live(const struct hub *hub, const struct audience *audience)
{
	return complete(hub, audience) && (!audience->window.to || audience->window.to == hub->to);
}

static void add_cursor(struct hub *hub, struct audience *audience, struct block **cursor)
{
	if (audience->kind != KIND_V1)
		return;
	if (!*cursor) {
		char *text = message_cursor(hub->to->cursor);
		*cursor = frame_text(text, strlen(text));
		free(text);
	}
	fanout_add(hub, audience, *cursor, 0);
	audience->told = hub->serial + 1;
}

/* The cursor goes behind the batch, in the same write. */
static void add_cursors(struct hub *hub)
{
	struct block *cursor = NULL;
	list_for_each (it, &hub->touched) {
		struct audience *audience = LIST_OF(it, struct audience, touched);
		if (audience_live(audience))
			add_cursor(hub, audience, &cursor);
	}
	list_for_each (it, &hub->behind) {
		struct audience *audience = LIST_OF(it, struct audience, of_behind);
		if (becomes_live(hub, audience) && !starts_now(audience))
			add_cursor(hub, audience, &cursor);
	}
	block_unref(&cursor);
}

static void become_live(struct hub *hub, struct audience *audience)
{
	struct audience *live = audience_get(audience->user, audience->kind, audience->types, NULL);
	run_continue(&audience->run, &live->run);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_move(client, live);
		client_hello(client, hub->position->cursor, false);
		hub->asked |= !list_empty(&client->requests);
	}
	audience_release(&audience);
}

/* The window's end is reached: what follows is everything since. */
static void next_window(struct audience *audience)
{
	struct window *window = &audience->window;
	position_unref(&window->from);
	*window = (struct window){.from = window->to};
}

static void settle_behind(struct hub *hub)
{
	list_for_each_safe (it, &hub->behind) {
		struct audience *audience = LIST_OF(it, struct audience, of_behind);
		if (becomes_live(hub, audience)) {
			become_live(hub, audience);
			continue;
		}
		if (complete(hub, audience))
			next_window(audience);
		else if (audience->cohort)
			advance(hub, audience, hub->pages[audience->cohort - 1].last);
		hub->asked |= audience->cohort != 0;
		audience->cohort = 0;
	}
}

static void answer(struct hub *hub, struct request *request)
{
	struct client *client = request->client;
	struct block *block = hub->answers[request->wish - 1].block;
	request->wish = 0;
	if (!audience_live(client->audience))
		return; /* fell behind in this very turn: asks again when it is back */
	if (block)
		client_insert(client, block);
	if (!block)
		stats_add(STAT_BAD_MESSAGES, 1);
	if (client->audience->kind == KIND_V1 && !block)
		client_tell(client,
			message_error("unknown_type", "there is no such type", request->ref));
	else if (client->audience->kind == KIND_V1 && request->ref)
		client_tell(client, message_ack(request->ref));
	request_free(&request);
}

static void answer_requests(struct hub *hub)
{
	list_for_each_safe (it, &hub->requests) {
		struct request *request = LIST_OF(it, struct request, of_hub);
		if (request->wish)
			answer(hub, request);
	}
}

static void clear_turn(struct hub *hub)
{
	for (size_t i = 0; i < hub->plan.n_cohorts; i++) {
		window_clear(&hub->cohorts[i].window);
		free(hub->cohorts[i].uids);
	}
	for (size_t i = 0; i < hub->plan.n_wishes; i++)
		block_unref(&hub->answers[i].block);
	hub->plan = (struct plan){0};
	position_unref(&hub->to);
	hub->in_turn = false;
}

static void move_position(struct hub *hub)
{
	position_unref(&hub->position);
	hub->position = position_ref(hub->to);
	hub->serial++;
}

static void ask_again(struct hub *hub)
{
	if (!hub->asked)
		return;
	hub->asked = false;
	hub_want(hub);
}

void hub_turn_end(struct hub *hub)
{
	assert(hub->in_turn && hub->to);
	add_cursors(hub);
	fanout_flush(hub);
	move_position(hub);
	settle_behind(hub);
	answer_requests(hub);
	clear_turn(hub);
	ask_again(hub);
}

/* Part of the pull is in the runs already: what live clients miss of it they get from the journal.
 */
static void demote_live(struct hub *hub)
{
	struct window rest = {hub->position, hub->to, hub->flushed};
	list_for_each (it, registry_users(hub->registry)) {
		struct user *user = LIST_OF(it, struct user, of_registry);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (!audience_live(audience))
				continue;
			audience->window = window_copy(&rest);
			list_append(&hub->behind, &audience->of_behind);
		}
	}
	move_position(hub);
}

void hub_turn_abort(struct hub *hub)
{
	if (!hub->in_turn)
		return;
	list_for_each_safe (it, &hub->touched) {
		struct audience *audience = LIST_OF(it, struct audience, touched);
		audience_forget(audience);
		list_remove(&audience->touched);
	}
	hub->pending_bytes = 0;
	if (hub->flushed)
		demote_live(hub);
	list_for_each (it, &hub->behind)
		LIST_OF(it, struct audience, of_behind)->cohort = 0;
	list_for_each (it, &hub->requests)
		LIST_OF(it, struct request, of_hub)->wish = 0;
	clear_turn(hub);
}
