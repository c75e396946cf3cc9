/* A turn, as the journal hands it over: its plan, its events, its end.
 *
 * Between turns every live audience has been given everything up to hub->position, and every
 * audience that is catching up everything up to its window. */
#include <assert.h>

#include "metrics.h"
#include "state.h"

void turn_want(struct hub *hub)
{
	if (hub->turn_wanted)
		return;
	hub->turn_wanted = true;
	if (!hub->in_turn && hub->wanted)
		hub->wanted(hub->wanted_ctx);
}

const struct plan *hub_turn_plan(struct hub *hub)
{
	assert(!hub->in_turn);
	hub->in_turn = true;
	hub->turn_wanted = false;
	hub->last_event_id = hub->flushed_id = 0;
	hub->plan = (struct plan){.pages = hub->pages, .init_queries = hub->init_queries};
	catchup_plan(hub);
	init_plan(hub);
	return &hub->plan;
}

bool hub_pages_postponed(const struct hub *hub)
{
	return hub->pages_postponed;
}

void hub_turn_begin(struct hub *hub, struct position *to)
{
	hub->to = position_ref(to);
	to->history = hub->history;
}

static void add_for_user(
	struct hub *hub, struct user *user, const struct event *event, struct encoded *message)
{
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (!audience_is_live(audience) || !audience_wants(audience, event->type))
			continue;
		struct block *block = encoded_block(
			message, audience->protocol, event->message, event->message_len);
		delivery_add(hub, audience, block, event->id);
	}
}

void hub_turn_event(struct hub *hub, const struct event *event)
{
	struct encoded message = {0};
	metric_add(METRIC_EVENTS, 1);
	if (event->broadcast) {
		list_for_each (it, users_list(hub->users))
			add_for_user(hub, LIST_OF(it, struct user, of_users), event, &message);
	} else if (event->uid) {
		struct user *user = users_find(hub->users, event->uid);
		if (user)
			add_for_user(hub, user, event, &message);
	}
	encoded_clear(&message);
	hub->last_event_id = event->id;
	delivery_flush_if_large(hub);
}

void hub_turn_write(struct hub *hub)
{
	delivery_write(hub);
}

/* ---- the end of a turn ---- */

static void clear_turn(struct hub *hub)
{
	catchup_clear(hub);
	init_clear(hub);
	hub->plan = (struct plan){0};
	position_unref(&hub->to);
	hub->in_turn = false;
}

static void move_position(struct hub *hub)
{
	hub->serial = hub_next_serial(hub);
	position_unref(&hub->position);
	hub->position = position_ref(hub->to);
}

static void ask_again(struct hub *hub)
{
	if (!hub->turn_wanted)
		return;
	hub->turn_wanted = false;
	turn_want(hub);
}

void hub_turn_end(struct hub *hub)
{
	assert(hub->in_turn && hub->to);
	delivery_add_cursors(hub);
	delivery_append(hub);
	if (hub->plan.n_pages || hub->plan.n_init_queries)
		delivery_write(hub); /* settling and answering depend on how far each one got */
	move_position(hub);
	catchup_settle(hub);
	init_answer(hub);
	clear_turn(hub);
	ask_again(hub);
}

/* Part of the pull is in the streams already: live audiences get the rest of it as a window. */
static void demote_live(struct hub *hub)
{
	struct window rest = {hub->position, hub->to, hub->flushed_id};
	list_for_each (it, users_list(hub->users)) {
		struct user *user = LIST_OF(it, struct user, of_users);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (!audience_is_live(audience))
				continue;
			audience_start_catchup(audience, &rest);
			hub_add_catchup(hub, audience);
		}
	}
	move_position(hub);
}

void hub_turn_abort(struct hub *hub)
{
	if (!hub->in_turn)
		return;
	list_for_each_safe (it, &hub->dirty) {
		struct batch *batch = LIST_OF(it, struct batch, of_dirty);
		if (batch->n) /* else its blocks are in the stream, from the turn before */
			batch_destroy(&batch->audience->batch);
	}
	hub->pending_bytes = 0;
	if (hub->flushed_id)
		demote_live(hub);
	clear_turn(hub);
}
