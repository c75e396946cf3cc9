/* Delivery: frames are collected per audience, appended to its run once, and written to each member
 * in as few writes as its connection allows. A member that has fallen behind by more than
 * send_buffer goes over to catching up. */
#include <stdlib.h>
#include <string.h>

#include "message.h"
#include "metrics.h"
#include "state.h"

/* A turn's rows are flushed when they come to this many bytes, so that a bulk statement of any size
 * passes through in bounded memory. */
#define FLUSH_BYTES (4u << 20)

/* ---- appending and writing ---- */

void delivery_add(struct hub *hub, struct audience *audience, struct block *frame, int64_t id)
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
	metric_add(METRIC_FALLEN_BEHIND, 1);
	window_rewind(&rest, hub->history);
	struct audience *to = audience_get(client->user, audience->kind, audience->types, &rest);
	window_clear(&rest);
	hub_behind(hub, to);
	reader_move(&client->reader, &to->run);
	client_move(client, to);
}

static void append(struct hub *hub, struct audience *audience)
{
	struct behind *behind = audience->behind;
	struct position *from = behind ? behind->window.from : hub->position;
	struct position *to = behind && behind->window.to ? behind->window.to : hub->to;
	size_t events = audience->batch->n;
	size_t bytes = audience_append(audience, from, to);
	if (behind && behind->page)
		behind_advance(behind, hub->to);
	list_for_each (it, &audience->members) {
		LIST_OF(it, struct client, of_audience)->reader.queued += bytes;
		metric_add(METRIC_DELIVERIES, events);
	}
}

static void write_out(struct audience *audience)
{
	audience_forget(audience);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_pump(client);
		if (client_full(client))
			fall_behind(client);
	}
	if (list_empty(&audience->members))
		audience_release(&audience);
}

void delivery_append(struct hub *hub)
{
	list_for_each (it, &hub->touched)
		append(hub, LIST_OF(it, struct batch, of_hub)->audience);
	hub->flushed = hub->told;
	hub->pending_bytes = 0;
}

void delivery_write(struct hub *hub)
{
	list_for_each_safe (it, &hub->touched)
		write_out(LIST_OF(it, struct batch, of_hub)->audience);
}

void delivery_flush(struct hub *hub)
{
	delivery_append(hub);
	delivery_write(hub);
}

void delivery_flush_if_large(struct hub *hub)
{
	if (hub->pending_bytes > FLUSH_BYTES)
		delivery_flush(hub);
}

/* ---- cursors ---- */

static void add_cursor(struct hub *hub, struct audience *audience, const struct position *position,
	struct block **frame)
{
	if (audience->kind != KIND_V1)
		return;
	if (!*frame) {
		char *text = message_cursor(position->cursor);
		*frame = websocket_text(text, strlen(text));
		free(text);
	}
	delivery_add(hub, audience, *frame, 0);
}

/* The cursor goes behind the batch, in the same write. */
void delivery_cursors(struct hub *hub)
{
	struct block *frame = NULL;
	list_for_each (it, &hub->touched) {
		struct audience *audience = LIST_OF(it, struct batch, of_hub)->audience;
		if (!audience_live(audience))
			continue;
		add_cursor(hub, audience, hub->to, &frame);
		audience->told = hub_next_serial(hub);
	}
	block_unref(&frame);
}

void delivery_idle_cursors(struct hub *hub)
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
	delivery_flush(hub);
}
