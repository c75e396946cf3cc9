/* A turn, from the journal's side: what it has to fetch, what it brings, and its end.
 *
 * What holds between turns: every live audience has been told all up to hub->position, and every
 * audience that is catching up all up to its window. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "hub.h"
#include "metrics.h"
#include "state.h"

void turn_want(struct hub *hub)
{
	if (hub->asked)
		return;
	hub->asked = true;
	if (!hub->in_turn && hub->wanted)
		hub->wanted(hub->wanted_ctx);
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
			*frame = websocket_text(event->text, event->len);
		delivery_add(hub, audience, *frame, event->id);
	}
}

void hub_turn_event(struct hub *hub, const struct event *event)
{
	struct block *frame = NULL;
	metric_add(METRIC_EVENTS, 1);
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
	delivery_flush_if_large(hub);
}

void hub_turn_resume(struct hub *hub, size_t page, const char *reason)
{
	catchup_resume(hub, page, reason);
}

void hub_turn_page(struct hub *hub, size_t page, const struct event *event)
{
	catchup_page(hub, page, event);
}

void hub_turn_init(struct hub *hub, size_t wish, const char *text, size_t len)
{
	answers_take(hub, wish, text, len);
}

bool hub_put_off(const struct hub *hub)
{
	return hub->put_off;
}

void hub_turn_write(struct hub *hub)
{
	delivery_write(hub);
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
	hub->serial = hub_next_serial(hub);
	position_unref(&hub->position);
	hub->position = position_ref(hub->to);
}

static void ask_again(struct hub *hub)
{
	if (!hub->asked)
		return;
	hub->asked = false;
	turn_want(hub);
}

void hub_turn_end(struct hub *hub)
{
	assert(hub->in_turn && hub->to);
	delivery_cursors(hub);
	delivery_append(hub);
	if (hub->plan.n_pages || hub->plan.n_wishes)
		delivery_write(hub); /* what comes next is about who has got how far */
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
			hub_behind(hub, audience);
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
