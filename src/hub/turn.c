/* A turn, as the journal hands it over: its plan, its events, its end.
 *
 * Between turns every live audience has been given everything up to hub->position, and every
 * audience that is catching up everything up to its window. */
#include <assert.h>

#include "metrics.h"
#include "state.h"

const struct plan *hub_turn_plan(struct hub *hub)
{
	assert(!hub->in_turn);
	hub->in_turn = true;
	hub->turn_wanted = false;
	hub->plan = (struct plan){
		.windows = hub->windows, .pages = hub->pages, .init_queries = hub->init_queries};
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

void hub_turn_event(struct hub *hub, const struct event *event)
{
	struct encoded message = {0};
	metric_add(METRIC_EVENTS, 1);
	if (event->broadcast)
		delivery_add_broadcast(hub, event);
	struct user *user = event->uid ? users_find(hub->users, event->uid) : NULL;
	if (!user)
		return;
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (!audience_is_live(audience) || !types_include(audience->types, event->type))
			continue;
		struct block *block = encoded_block(
			&message, audience->protocol, event->message, event->message_len);
		delivery_add(hub, audience, block, event->id);
	}
	encoded_clear(&message);
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
	hub->position->serial = hub->serial;
}

static void ask_again(struct hub *hub)
{
	if (!hub->turn_wanted)
		return;
	hub->turn_wanted = false;
	hub_want_turn(hub);
}

void hub_turn_end(struct hub *hub)
{
	assert(hub->in_turn && hub->to);
	catchup_add_cursors(hub);
	delivery_append(hub);
	move_position(hub);
	catchup_settle(hub);
	init_answer(hub);
	hub->init_aborts = 0;
	clear_turn(hub);
	stop_apply(hub);
	ask_again(hub);
}

void hub_turn_abort(struct hub *hub)
{
	if (!hub->in_turn)
		return;
	list_for_each_safe (it, &hub->dirty) {
		struct batch *batch = LIST_OF(it, struct batch, of_dirty);
		batch_clear(batch);
		list_remove(&batch->of_dirty);
		if (list_empty(&batch->of_unwritten))
			batch_destroy(&batch->audience->batch);
	}
	delivery_drop_broadcasts(hub);
	hub->pending_bytes = 0;
	catchup_abort(hub);
	init_abort(hub);
	clear_turn(hub);
	stop_apply(hub);
}
