/* Delivery: blocks are collected per audience, appended to its stream once, and written to each
 * member in as few writes as its connection allows. A member that is behind by more than
 * send_buffer catches up from the journal. */
#include "metrics.h"
#include "state.h"

/* Pending bytes that are flushed before the end of a turn, so that a bulk statement of any size
 * passes through in bounded memory. */
#define FLUSH_BYTES (4u << 20)

/* ---- appending and writing ---- */

void delivery_add(struct hub *hub, struct audience *audience, struct block *block, int64_t id)
{
	if (!audience->batch)
		audience->batch = batch_create(audience);
	batch_add(audience->batch, block, id);
	if (list_empty(&audience->batch->of_dirty))
		list_append(&hub->dirty, &audience->batch->of_dirty);
	hub->pending_bytes += block->len;
}

static void fall_behind(struct client *client)
{
	struct audience *audience = client->audience;
	struct hub *hub = client->hub;
	struct window rest = {0};
	if (!reader_abandon(&client->reader, &rest)) {
		reader_move(&client->reader, &audience->stream);
		return;
	}
	metric_add(METRIC_FALLEN_BEHIND, 1);
	window_rewind(&rest, hub->history);
	struct audience *to =
		audience_get(client->user, audience->protocol, audience->types, &rest);
	window_clear(&rest);
	hub_add_catchup(hub, to);
	reader_move(&client->reader, &to->stream);
	client_set_audience(client, to);
}

static void append(struct hub *hub, struct audience *audience)
{
	struct catchup *catchup = audience->catchup;
	struct position *from = catchup ? catchup->window.from : hub->position;
	struct position *to = catchup && catchup->window.to ? catchup->window.to : hub->to;
	size_t events = audience->batch->n;
	size_t bytes = batch_append(audience->batch, &audience->stream, from, to);
	if (catchup && catchup->page_owner)
		catchup_advance(catchup, hub->to);
	list_for_each (it, &audience->members) {
		LIST_OF(it, struct client, of_audience)->reader.queued += bytes;
		metric_add(METRIC_DELIVERIES, events);
	}
}

static void write_members(struct audience *audience)
{
	batch_destroy(&audience->batch);
	list_for_each_safe (it, &audience->members) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		client_write(client);
		if (client_is_full(client))
			fall_behind(client);
	}
	if (list_empty(&audience->members))
		audience_release(&audience);
}

void delivery_append(struct hub *hub)
{
	list_for_each (it, &hub->dirty)
		append(hub, LIST_OF(it, struct batch, of_dirty)->audience);
	hub->flushed_id = hub->last_event_id;
	hub->pending_bytes = 0;
}

void delivery_write(struct hub *hub)
{
	list_for_each_safe (it, &hub->dirty)
		write_members(LIST_OF(it, struct batch, of_dirty)->audience);
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

/* *block is the cursor in one encoding, made when first needed. */
static void add_cursor(struct hub *hub, struct audience *audience, const struct position *position,
	struct block *blocks[ENCODINGS])
{
	const struct protocol *protocol = audience->protocol;
	if (!protocol->cursor)
		return;
	struct block **block = &blocks[protocol->encoding];
	if (!*block)
		*block = protocol->cursor(position->cursor);
	delivery_add(hub, audience, *block, 0);
}

void delivery_add_cursors(struct hub *hub)
{
	struct encoded cursor = {0};
	list_for_each (it, &hub->dirty) {
		struct audience *audience = LIST_OF(it, struct batch, of_dirty)->audience;
		if (!audience_is_live(audience))
			continue;
		add_cursor(hub, audience, hub->to, cursor.blocks);
		audience->cursor_serial = hub_next_serial(hub);
	}
	encoded_clear(&cursor);
}

void delivery_send_idle_cursors(struct hub *hub)
{
	struct encoded cursor = {0};
	if (hub->in_turn || !*hub->position->text)
		return;
	list_for_each (it, users_list(hub->users)) {
		struct user *user = LIST_OF(it, struct user, of_users);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (!audience_is_live(audience) || audience->cursor_serial == hub->serial)
				continue;
			add_cursor(hub, audience, hub->position, cursor.blocks);
			audience->cursor_serial = hub->serial;
		}
	}
	encoded_clear(&cursor);
	delivery_flush(hub);
}
