/* Who is connected: joining, leaving, and what happens to clients as time goes by. */
#include "hub.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

struct hub *hub_create(const struct settings *settings)
{
	struct hub *hub = xcalloc(1, sizeof(*hub));
	hub->settings = settings;
	hub->registry = registry_create();
	hub->position = position_create("", "");
	hub->pages = xcalloc(MAX_PAGES, sizeof(*hub->pages));
	hub->pagers = xcalloc(MAX_PAGES, sizeof(*hub->pagers));
	list_init(&hub->clients);
	list_init(&hub->behind);
	list_init(&hub->requests);
	list_init(&hub->touched);
	return hub;
}

void hub_destroy(struct hub **hub)
{
	struct hub *old = *hub;
	*hub = NULL;
	if (!old)
		return;
	if (old->in_turn)
		hub_turn_abort(old);
	registry_destroy(&old->registry);
	position_unref(&old->position);
	free(old->pagers);
	free(old->pages);
	free(old);
}

void hub_on_wanted(struct hub *hub, void (*wanted)(void *ctx), void *ctx)
{
	hub->wanted = wanted;
	hub->wanted_ctx = ctx;
}

struct position *hub_position(struct hub *hub)
{
	return hub->position;
}

size_t hub_clients(const struct hub *hub)
{
	return hub->n_clients;
}

static void count(struct hub *hub)
{
	metric_set(METRIC_CLIENTS, hub->n_clients);
	metric_set(METRIC_UIDS, registry_count(hub->registry));
}

static struct audience *audience_behind(struct hub *hub, struct user *user,
	const struct client_request *request, struct window *since)
{
	struct audience *audience = audience_get(user, request->kind, request->types, since);
	hub_behind(hub, audience);
	return audience;
}

static struct audience *audience_since(
	struct hub *hub, struct user *user, const struct client_request *request)
{
	struct window since = {.from = position_create(request->since, request->since)};
	since.from->foreign = true;
	since.from->history = hub->history;
	struct audience *audience = audience_behind(hub, user, request, &since);
	window_clear(&since);
	return audience;
}

/* Where a client starts that has no cursor. What a turn in flight brings may be later than this
 * client's handshake, and some of it has gone by: it starts from where that turn started. */
static struct audience *audience_now(
	struct hub *hub, struct user *user, const struct client_request *request)
{
	struct window since = {.from = hub->position};
	if (!hub->in_turn && *hub->position->text)
		return audience_get(user, request->kind, request->types, NULL);
	return audience_behind(hub, user, request, &since);
}

static void start(struct hub *hub, struct client *client, const struct client_request *request)
{
	bool resumes = request->since && cursor_wellformed(request->since);
	client->greeted = request->kind == KIND_PLAIN;
	client_move(client, resumes ? audience_since(hub, client->user, request)
				    : audience_now(hub, client->user, request));
	reader_attach(&client->reader, &client->audience->run);
	if (!audience_live(client->audience))
		turn_want(hub);
	if (resumes || !*hub->position->text)
		return; /* the turn will say hello */
	client_hello(client, hub->position->cursor, false);
	if (request->since && !client_plain(client))
		client_tell(client, message_reset("cursor"));
}

struct client *hub_join(struct hub *hub, const struct client_request *request,
	const struct transport *transport, void *conn, uint16_t *code, const char **reason)
{
	struct user *known = registry_find(hub->registry, request->uid);
	int64_t most = hub->settings->max_clients_per_uid;
	if (known && most && known->clients >= (size_t)most) {
		*code = CLOSE_TOO_MANY_CLIENTS;
		*reason = "too many connections of this uid";
		return NULL;
	}
	struct client *client = xcalloc(1, sizeof(*client));
	client->hub = hub;
	client->transport = transport;
	client->conn = conn;
	client_progressed(client);
	client->user = registry_enter(hub->registry, request->uid);
	list_init(&client->of_audience);
	list_append(&hub->clients, &client->of_hub);
	hub->n_clients++;
	metric_add(METRIC_JOINS, 1);
	count(hub);

	start(hub, client, request);
	return client;
}

void client_gone(struct client **client)
{
	struct client *gone = *client;
	*client = NULL;
	if (!gone)
		return;
	struct hub *hub = gone->hub;
	client_finish(gone);
	list_remove(&gone->of_hub);
	hub->n_clients--;
	registry_leave(hub->registry, &gone->user);
	count(hub);
	free(gone);
}

void client_writable(struct client *client)
{
	if (client_resume(client))
		turn_want(client->hub);
}

/* No byte has gone out for slow_timeout although some are waiting. */
static bool stuck(const struct client *client)
{
	return client->audience && client->waiting &&
	       client_waits(client) > client->hub->settings->slow_timeout;
}

/* A walk over all clients misses the cache at each: only when there can be one. */
static void close_stuck(struct hub *hub)
{
	if (!hub->n_waiting)
		return;
	list_for_each (it, &hub->clients) {
		struct client *client = LIST_OF(it, struct client, of_hub);
		if (!stuck(client))
			continue;
		metric_add(METRIC_TOO_SLOW, 1);
		client_close(client, CLOSE_TOO_SLOW, "too slow");
	}
}

void hub_tick(struct hub *hub)
{
	uint64_t now = clock_ms();
	close_stuck(hub);
	if (now - hub->cursors_ms < (uint64_t)hub->settings->ping_interval)
		return;
	hub->cursors_ms = now;
	delivery_idle_cursors(hub);
}

void hub_close(struct hub *hub, size_t n, uint16_t code, const char *reason)
{
	list_for_each_safe (it, &hub->clients) {
		struct client *client = LIST_OF(it, struct client, of_hub);
		if (!client->audience)
			continue; /* closed before */
		if (!n--)
			return;
		client_close(client, code, reason);
	}
}

void hub_publish(struct hub *hub, const char *uid, const char *text, size_t len, const char *type)
{
	struct user *user = registry_find(hub->registry, uid);
	if (!user)
		return;
	struct block *frame = websocket_text(text, len);
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (audience_wants(audience, type))
			delivery_add(hub, audience, frame, 0);
	}
	block_unref(&frame);
	if (!hub->in_turn)
		delivery_flush(hub);
}

void hub_rewind(struct hub *hub, struct position *position)
{
	position_unref(&hub->position);
	hub->position = position ? position_ref(position) : position_create("", "");
	hub->position->history = ++hub->history;
	hub->serial++;
	list_for_each (it, &hub->behind)
		window_rewind(&LIST_OF(it, struct behind, of_hub)->window, hub->history);
	list_for_each (it, &hub->clients) {
		struct client *client = LIST_OF(it, struct client, of_hub);
		if (client->audience && audience_live(client->audience) && !client_plain(client))
			client_tell(client, message_reset("cursor"));
	}
}
