/* Delivery: blocks are collected per audience, appended to its stream once, and written to each
 * member in as few writes as its connection allows. A member that is behind by more than
 * send_buffer catches up from the journal.
 *
 * Broadcasts of a turn are collected once for all audiences. An audience that has events of its own
 * merges them into its batch; all others of equal protocol and types get the same joined blocks.
 *
 * Writing is left to the event loop in slices, so that a broadcast to many clients does not keep it
 * from everything else. */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "metrics.h"
#include "state.h"

/* Pending bytes of pages that are appended before the end of a turn, which bounds their memory. */
#define FLUSH_BYTES (4u << 20)
/* Milliseconds of writing before the loop gets its turn, and clients between looks at the clock. */
#define WRITE_SLICE 10
#define WRITE_CLIENTS 64

/* ---- collecting ---- */

static struct batch *dirty_batch(struct hub *hub, struct audience *audience)
{
	if (!audience->batch)
		audience->batch = batch_create(audience);
	if (list_empty(&audience->batch->of_dirty))
		list_append(&hub->dirty, &audience->batch->of_dirty);
	return audience->batch;
}

/* Adds the broadcasts that are not in the batch yet. */
static void merge_broadcasts(
	struct hub *hub, struct batch *batch, const struct protocol *protocol, const char *types)
{
	for (; batch->broadcasts < hub->n_broadcasts; batch->broadcasts++) {
		struct broadcast *broadcast = &hub->broadcasts[batch->broadcasts];
		if (types_include(types, broadcast->type) &&
			(!broadcast->control || protocol->control))
			batch_add(batch, broadcast->message.blocks[protocol->encoding],
				broadcast->id);
	}
}

void delivery_add(struct hub *hub, struct audience *audience, struct block *block, int64_t id)
{
	struct batch *batch = dirty_batch(hub, audience);
	if (audience_is_live(audience))
		merge_broadcasts(hub, batch, audience->protocol, audience->types);
	if (block->refs == 1)
		hub->pending_bytes += block->len;
	hub->pending_bytes += sizeof(block) + sizeof(id);
	batch_add(batch, block, id);
}

void delivery_add_broadcast(struct hub *hub, const struct event *event)
{
	if (hub->n_broadcasts == hub->broadcasts_capacity) {
		hub->broadcasts_capacity = hub->n_broadcasts ? 2 * hub->n_broadcasts : 16;
		hub->broadcasts = xrealloc(
			hub->broadcasts, hub->broadcasts_capacity * sizeof(*hub->broadcasts));
	}
	struct broadcast *broadcast = &hub->broadcasts[hub->n_broadcasts++];
	*broadcast = (struct broadcast){
		.id = event->id, .type = xstrdup(event->type), .control = event->control};
	for (size_t i = 0; i < PROTOCOLS; i++)
		if (hub->n_by_protocol[i])
			encoded_block(&broadcast->message, &protocols[i], event->message,
				event->message_len);
}

void delivery_drop_broadcasts(struct hub *hub)
{
	for (size_t i = 0; i < hub->n_broadcasts; i++) {
		encoded_clear(&hub->broadcasts[i].message);
		free(hub->broadcasts[i].type);
	}
	hub->n_broadcasts = 0;
}

void delivery_add_cursor(struct hub *hub, struct audience *audience, struct block *block)
{
	struct batch *batch = dirty_batch(hub, audience);
	batch_add(batch, block, 0);
	batch->cursors++;
}

/* ---- appending ---- */

static void append(struct hub *hub, struct audience *audience, const struct batch *joined,
	size_t bytes, size_t events)
{
	struct catchup *catchup = audience->catchup;
	struct position *from = catchup ? catchup->window.from : hub->position;
	struct position *to = catchup && catchup->window.to ? catchup->window.to : hub->to;
	batch_append(joined, &audience->stream, from, to);
	if (catchup && catchup->page_owner)
		catchup_advance(catchup, hub->to, catchup->page_last_id);
	size_t members = 0;
	list_for_each (it, &audience->members) {
		LIST_OF(it, struct client, of_audience)->reader.queued += bytes;
		members++;
	}
	metric_add(METRIC_DELIVERIES, events * members);
	audience->batch->unwritten = members;
	list_remove(&audience->batch->of_dirty);
	if (list_empty(&audience->batch->of_unwritten))
		list_append(&hub->unwritten, &audience->batch->of_unwritten);
}

static void append_batch(struct hub *hub, struct batch *batch)
{
	size_t bytes = batch->bytes, events = batch->n - batch->cursors;
	batch_join(batch);
	append(hub, batch->audience, batch, bytes, events);
	batch_clear(batch);
}

/* The cursor of a position as blocks, made when first needed. */
struct cursor_blocks {
	const struct position *position; /* NULL: none is added */
	uint64_t serial;
	struct block *of_protocol[PROTOCOLS];
};

static void add_cursor(
	struct batch *batch, const struct protocol *protocol, struct cursor_blocks *cursor)
{
	if (!protocol->cursor || !cursor->position)
		return;
	struct block **block = &cursor->of_protocol[protocol - protocols];
	if (!*block)
		*block = protocol->cursor(cursor->position->cursor);
	batch_add(batch, *block, 0);
	batch->cursors++;
}

static void clear_cursor(struct cursor_blocks *cursor)
{
	for (size_t i = 0; i < PROTOCOLS; i++)
		block_unref(&cursor->of_protocol[i]);
}

/* The broadcasts and the cursor as joined blocks, for all audiences of a protocol and types. */
struct shared_batch {
	const struct protocol *protocol;
	const char *types;
	struct batch *batch;
	size_t bytes, events;
};

/* More kinds of audiences than these share nothing. */
#define MAX_SHARED 16

static const struct shared_batch *find_shared(struct hub *hub, struct shared_batch shared[],
	const struct audience *audience, struct cursor_blocks *cursor)
{
	size_t i = 0;
	while (i < MAX_SHARED && shared[i].batch &&
		(shared[i].protocol != audience->protocol ||
			!same_types(shared[i].types, audience->types)))
		i++;
	if (i == MAX_SHARED)
		return NULL;
	struct shared_batch *found = &shared[i];
	if (found->batch)
		return found;
	*found = (struct shared_batch){
		.protocol = audience->protocol,
		.types = audience->types,
		.batch = batch_create(NULL),
	};
	merge_broadcasts(hub, found->batch, found->protocol, found->types);
	if (found->batch->n)
		add_cursor(found->batch, found->protocol, cursor);
	found->events = found->batch->n - found->batch->cursors;
	found->bytes = found->batch->bytes;
	batch_join(found->batch);
	return found;
}

static void append_broadcasts(struct hub *hub, struct audience *audience,
	struct shared_batch shared[], struct cursor_blocks *cursor)
{
	struct batch *own = audience->batch;
	bool has_own = own && (own->n || own->broadcasts);
	const struct shared_batch *found =
		has_own ? NULL : find_shared(hub, shared, audience, cursor);
	if (!found) {
		merge_broadcasts(
			hub, dirty_batch(hub, audience), audience->protocol, audience->types);
	} else if (found->events) {
		dirty_batch(hub, audience);
		append(hub, audience, found->batch, found->bytes, found->events);
		audience->cursor_serial = cursor->serial;
	}
}

static void append_all_broadcasts(struct hub *hub, struct cursor_blocks *cursor)
{
	struct shared_batch shared[MAX_SHARED] = {0};
	if (!hub->n_broadcasts)
		return;
	list_for_each (it, users_list(hub->users)) {
		struct user *user = LIST_OF(it, struct user, of_users);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (audience_is_live(audience))
				append_broadcasts(hub, audience, shared, cursor);
		}
	}
	for (size_t i = 0; i < MAX_SHARED; i++)
		batch_destroy(&shared[i].batch);
	delivery_drop_broadcasts(hub);
}

static void append_dirty(struct hub *hub, struct cursor_blocks *cursor)
{
	list_for_each_safe (it, &hub->dirty) {
		struct batch *batch = LIST_OF(it, struct batch, of_dirty);
		struct audience *audience = batch->audience;
		if (batch->n && audience_is_live(audience)) {
			add_cursor(batch, audience->protocol, cursor);
			audience->cursor_serial = cursor->serial;
		}
		append_batch(hub, batch);
	}
	hub->pending_bytes = 0;
}

void delivery_append(struct hub *hub)
{
	struct cursor_blocks cursor = {.position = hub->to};
	cursor.serial = hub->to ? hub_next_serial(hub) : hub->serial;
	append_all_broadcasts(hub, &cursor);
	append_dirty(hub, &cursor);
	clear_cursor(&cursor);
}

void delivery_append_pages_if_large(struct hub *hub)
{
	if (hub->pending_bytes <= FLUSH_BYTES)
		return;
	list_for_each_safe (it, &hub->dirty) {
		struct batch *batch = LIST_OF(it, struct batch, of_dirty);
		if (!audience_is_live(batch->audience))
			append_batch(hub, batch);
	}
	hub->pending_bytes = 0;
	delivery_write(hub);
}

void delivery_send_idle_cursors(struct hub *hub)
{
	struct cursor_blocks cursor = {.position = hub->position, .serial = hub->serial};
	if (hub->in_turn || !*hub->position->text)
		return;
	list_for_each (it, users_list(hub->users)) {
		struct user *user = LIST_OF(it, struct user, of_users);
		list_for_each (at, &user->audiences) {
			struct audience *audience = LIST_OF(at, struct audience, of_user);
			if (!audience_is_live(audience) || audience->cursor_serial == hub->serial)
				continue;
			audience->cursor_serial = hub->serial;
			if (audience->protocol->cursor)
				add_cursor(dirty_batch(hub, audience), audience->protocol, &cursor);
		}
	}
	delivery_append(hub);
	clear_cursor(&cursor);
	delivery_write(hub);
}

/* ---- writing ---- */

/* A client that has abandoned its stream catches up with a window. */
static void catch_up(struct client *client, const char *types, struct window *window)
{
	struct audience *audience = client->audience;
	struct hub *hub = client->hub;
	window_rewind(window, hub->history);
	struct audience *to = audience_get(audience->user, audience->protocol, types, window);
	window_clear(window);
	hub_add_catchup(hub, to);
	reader_move(&client->reader, &to->stream);
	client_set_audience(client, to);
}

static void fall_behind(struct client *client)
{
	struct audience *audience = client->audience;
	struct window rest = {0};
	if (!reader_abandon(&client->reader, &rest)) {
		reader_move(&client->reader, &audience->stream);
		return;
	}
	metric_add(METRIC_FALLEN_BEHIND, 1);
	catch_up(client, audience->types, &rest);
}

/* A page verifies the position of its window, for the members of one audience. */
static void unshare_unverified(struct window *window)
{
	struct position *shared = window->from;
	if (!shared->unverified)
		return;
	window->from = position_create(shared->text, shared->cursor);
	window->from->unverified = true;
	window->from->history = shared->history;
	position_unref(&shared);
}

void delivery_change_types(struct client *client, const char *types)
{
	struct audience *audience = client->audience;
	struct hub *hub = client->hub;
	const struct window here = {.from = hub->position};
	struct window rest = {0};
	if (!reader_abandon(&client->reader, &rest))
		rest = window_copy(audience_is_live(audience) ? &here : &audience->catchup->window);
	unshare_unverified(&rest);
	catch_up(client, types, &rest);
	audience_release_if_idle(audience);
	hub_want_turn(hub);
}

void delivery_write_client(struct client *client)
{
	client_write(client);
	if (client_is_full(client))
		fall_behind(client);
}

/* Writes to the first n members, which go to the end of the list. */
static void write_members(struct audience *audience, size_t n)
{
	struct list *it = audience->members.next, *next;
	for (; n && it != &audience->members; n--, it = next) {
		struct client *client = LIST_OF(it, struct client, of_audience);
		next = it->next;
		client_write(client);
		if (client_is_full(client))
			fall_behind(client);
	}
	list_rotate(&audience->members, it);
}

/* Everything is written: frees a batch that has nothing pending, and an audience without members.
 */
static void finish_batch(struct hub *hub, struct batch *batch)
{
	struct audience *audience = batch->audience;
	list_remove(&batch->of_unwritten);
	if (list_empty(&batch->of_dirty))
		batch_destroy(&audience->batch);
	if (list_empty(&audience->members))
		audience_release(&audience);
	else if (!audience_is_live(audience))
		hub_want_turn(hub); /* for its next page */
}

bool hub_write(struct hub *hub)
{
	uint64_t until = clock_ms() + WRITE_SLICE;
	size_t written = 0;
	while (!list_empty(&hub->unwritten)) {
		struct batch *batch = LIST_OF(hub->unwritten.next, struct batch, of_unwritten);
		size_t n = batch->unwritten < WRITE_CLIENTS ? batch->unwritten : WRITE_CLIENTS;
		batch->unwritten -= n;
		write_members(batch->audience, n);
		if (!batch->unwritten)
			finish_batch(hub, batch);
		written += n + 1;
		if (written >= WRITE_CLIENTS) {
			written = 0;
			if (clock_ms() >= until)
				break;
		}
	}
	return !list_empty(&hub->unwritten);
}

void delivery_write(struct hub *hub)
{
	if (hub_write(hub) && hub->unwritten_left)
		hub->unwritten_left(hub->unwritten_ctx);
}
