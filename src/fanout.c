/* A turn, for all clients: frames are collected per audience, appended to its run once, and written
 * to each member in as few writes as its connection allows.
 *
 * What holds between turns: every live audience has been told all up to hub->position, and every
 * audience that is catching up all up to its window. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

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
	if (list_empty(&audience->batch->of_hub))
		list_append(&hub->touched, &audience->batch->of_hub);
	hub->pending_bytes += frame->len;
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
	catchup_rewind(hub, &rest);
	struct audience *to = audience_get(client->user, audience->kind, audience->types, &rest);
	window_clear(&rest);
	catchup_enter(hub, to);
	reader_move(&client->reader, &to->run);
	client_move(client, to);
}

void fanout_release(struct hub *hub, struct audience **audience)
{
	const struct behind *behind = (*audience)->behind;
	if (behind && behind->page)
		hub->pagers[behind->page - 1] = NULL;
	audience_release(audience);
}

static void append(struct hub *hub, struct audience *audience)
{
	struct behind *behind = audience->behind;
	struct position *from = behind ? behind->window.from : hub->position;
	struct position *to = behind && behind->window.to ? behind->window.to : hub->to;
	size_t events = audience->batch->n;
	size_t bytes = audience_append(audience, from, to);
	if (behind && behind->page)
		catchup_advance(hub, behind);
	list_for_each (it, &audience->members) {
		LIST_OF(it, struct client, of_audience)->reader.queued += bytes;
		stats_add(STAT_DELIVERIES, events);
	}
}

static void write_out(struct hub *hub, struct audience *audience)
{
	audience_forget(audience);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_pump(client);
		if (client_full(client))
			fall_behind(client);
	}
	if (list_empty(&audience->members))
		fanout_release(hub, &audience);
}

static void append_all(struct hub *hub)
{
	list_for_each (it, &hub->touched)
		append(hub, LIST_OF(it, struct batch, of_hub)->audience);
	hub->flushed = hub->told;
	hub->pending_bytes = 0;
}

void hub_turn_write(struct hub *hub)
{
	list_for_each_safe (it, &hub->touched)
		write_out(hub, LIST_OF(it, struct batch, of_hub)->audience);
}

void fanout_flush(struct hub *hub)
{
	append_all(hub);
	hub_turn_write(hub);
}

/* ---- telling ---- */

const struct plan *hub_turn_plan(struct hub *hub)
{
	assert(!hub->in_turn);
	hub->in_turn = true;
	hub->asked = false;
	hub->told = hub->flushed = 0;
	hub->plan = (struct plan){.pages = hub->pages, .wishes = hub->wishes};
	catchup_plan(hub);
	answers_plan(hub);
	return &hub->plan;
}

void hub_turn_begin(struct hub *hub, struct position *to)
{
	hub->to = position_ref(to);
	to->history = hub->history;
}

static void tell_user(
	struct hub *hub, struct user *user, const struct event *event, struct block **frame)
{
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (!audience_live(audience) || !audience_wants(audience, event->type))
			continue;
		if (!*frame)
			*frame = frame_text(event->text, event->len);
		fanout_add(hub, audience, *frame, event->id);
	}
}

void hub_turn_event(struct hub *hub, const struct event *event)
{
	struct block *frame = NULL;
	stats_add(STAT_EVENTS, 1);
	if (event->broadcast) {
		list_for_each (it, registry_users(hub->registry))
			tell_user(hub, LIST_OF(it, struct user, of_registry), event, &frame);
	} else if (event->uid) {
		struct user *user = registry_find(hub->registry, event->uid);
		if (user)
			tell_user(hub, user, event, &frame);
	}
	block_unref(&frame);
	hub->told = event->id;
	fanout_flush_if_large(hub);
}

void fanout_flush_if_large(struct hub *hub)
{
	if (hub->pending_bytes > FLUSH_BYTES)
		fanout_flush(hub);
}

/* ---- cursors ---- */

static void add_cursor(struct hub *hub, struct audience *audience, const struct position *position,
	struct block **frame)
{
	if (audience->kind != KIND_V1)
		return;
	if (!*frame) {
		char *text = message_cursor(position->cursor);
		*frame = frame_text(text, strlen(text));
		free(text);
	}
	fanout_add(hub, audience, *frame, 0);
}

static uint64_t next_serial(const struct hub *hub)
{
	return hub->serial + (strcmp(hub->position->text, hub->to->text) != 0);
}

/* The cursor goes behind the batch, in the same write. */
static void add_cursors(struct hub *hub)
{
	struct block *frame = NULL;
	list_for_each (it, &hub->touched) {
		struct audience *audience = LIST_OF(it, struct batch, of_hub)->audience;
		if (!audience_live(audience))
			continue;
		add_cursor(hub, audience, hub->to, &frame);
		audience->told = next_serial(hub);
	}
	block_unref(&frame);
}

void fanout_cursors(struct hub *hub)
{
	struct block *frame = NULL;
	if (hub->in_turn || !*hub->position->text)
		return;
	list_for_each (it, registry_users(hub->registry)) {
		struct user *user = LIST_OF(it, struct user, of_registry);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (!audience_live(audience) || audience->told == hub->serial)
				continue;
			add_cursor(hub, audience, hub->position, &frame);
			audience->told = hub->serial;
		}
	}
	block_unref(&frame);
	fanout_flush(hub);
}

/* ---- the end of a turn ---- */

static void clear_turn(struct hub *hub)
{
	catchup_clear(hub);
	answers_clear(hub);
	hub->plan = (struct plan){0};
	position_unref(&hub->to);
	hub->in_turn = false;
}

static void move_position(struct hub *hub)
{
	hub->serial = next_serial(hub);
	position_unref(&hub->position);
	hub->position = position_ref(hub->to);
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
	append_all(hub);
	if (hub->plan.n_pages || hub->plan.n_wishes)
		hub_turn_write(hub); /* what comes next is about who has got how far */
	move_position(hub);
	catchup_settle(hub);
	answers_tell(hub);
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
			audience_fall_behind(audience, &rest);
			catchup_enter(hub, audience);
		}
	}
	move_position(hub);
}

void hub_turn_abort(struct hub *hub)
{
	if (!hub->in_turn)
		return;
	list_for_each_safe (it, &hub->touched) {
		struct batch *batch = LIST_OF(it, struct batch, of_hub);
		if (batch->n) /* else it is in the run, and of the turn before */
			audience_forget(batch->audience);
	}
	hub->pending_bytes = 0;
	if (hub->flushed)
		demote_live(hub);
	clear_turn(hub);
}
