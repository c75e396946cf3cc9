/* The clients: joining, leaving, and what time does to them. */
#include "hub.h"

#include <stdlib.h>

#include "alloc.h"
#include "clock.h"
#include "metrics.h"
#include "state.h"

struct hub *hub_create(const struct settings *settings)
{
	struct hub *hub = xcalloc(1, sizeof(*hub));
	hub->settings = settings;
	hub->users = users_create();
	hub->position = position_create("", "");
	hub->pages = xcalloc(MAX_PAGES, sizeof(*hub->pages));
	hub->page_owners = xcalloc(MAX_PAGES, sizeof(struct catchup *));
	list_init(&hub->clients);
	list_init(&hub->catching_up);
	list_init(&hub->init_requests);
	list_init(&hub->stops);
	list_init(&hub->dirty);
	list_init(&hub->unwritten);
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
	users_destroy(&old->users);
	position_unref(&old->position);
	position_unref(&old->rewound);
	free(old->broadcasts);
	free(old->page_owners);
	free(old->pages);
	free(old);
}

void hub_on_wanted(struct hub *hub, void (*wanted)(void *ctx), void *ctx)
{
	hub->wanted = wanted;
	hub->wanted_ctx = ctx;
}

void hub_on_unwritten(struct hub *hub, void (*left)(void *ctx), void *ctx)
{
	hub->unwritten_left = left;
	hub->unwritten_ctx = ctx;
}

struct position *hub_position(struct hub *hub)
{
	return hub->position;
}

void hub_live_uids(struct hub *hub, void (*each)(void *ctx, const char *uid), void *ctx)
{
	list_for_each (it, users_list(hub->users)) {
		struct user *user = LIST_OF(it, struct user, of_users);
		bool live = false;
		list_for_each (at, &user->audiences)
			live |= audience_is_live(LIST_OF(at, struct audience, of_user));
		if (live)
			each(ctx, user->uid);
	}
}

size_t hub_clients(const struct hub *hub)
{
	return hub->n_clients;
}

/* ---- joining ---- */

static struct audience *catching_up_audience(struct hub *hub, struct user *user,
	const struct client_config *config, const struct window *window)
{
	struct audience *audience = audience_get(user, config->protocol, config->types, window);
	hub_add_catchup(hub, audience);
	return audience;
}

/* NULL when `since` is not a cursor. */
static struct audience *audience_from_cursor(
	struct hub *hub, struct user *user, const struct client_config *config)
{
	struct window window;
	if (!config->since || !window_parse(&window, config->since, hub->history))
		return NULL;
	struct audience *audience = catching_up_audience(hub, user, config, &window);
	window_clear(&window);
	return audience;
}

/* During a turn its position may be later than the handshake, and some of its events are delivered
 * already: the client begins where the turn began. */
static struct audience *audience_from_now(
	struct hub *hub, struct user *user, const struct client_config *config)
{
	struct window window = {.from = hub->position};
	if (!hub->in_turn && *hub->position->text)
		return audience_get(user, config->protocol, config->types, NULL);
	return catching_up_audience(hub, user, config, &window);
}

static void start_client(struct client *client, const struct client_config *config)
{
	struct hub *hub = client->hub;
	struct user *user = users_acquire(hub->users, config->uid);
	struct audience *resumed = audience_from_cursor(hub, user, config);
	client->hello_sent = !config->protocol->control;
	client_set_audience(client, resumed ? resumed : audience_from_now(hub, user, config));
	reader_attach(&client->reader, &client->audience->stream);
	if (!audience_is_live(client->audience))
		hub_want_turn(hub);
	if (config->init)
		init_request(client, config->init, NULL);
	if (resumed || !*hub->position->text)
		return; /* the turn sends hello */
	client_send_hello(client, hub->position->cursor, false);
	if (config->since)
		client_send_reset(client, "cursor");
}

static void update_metrics(const struct hub *hub)
{
	metric_set(METRIC_CLIENTS, hub->n_clients);
	metric_set(METRIC_UIDS, users_count(hub->users));
}

struct client *hub_join(struct hub *hub, const struct client_config *config,
	const struct transport *transport, void *conn, struct refusal *refusal)
{
	const struct user *known = users_find(hub->users, config->uid);
	int64_t max = hub->settings->max_clients_per_uid;
	if (known && max && known->clients >= (size_t)max) {
		*refusal = (struct refusal){
			CLOSE_TOO_MANY_CLIENTS, "too many connections of this uid"};
		return NULL;
	}
	struct client *client = xcalloc(1, sizeof(*client));
	client->hub = hub;
	client->transport = transport;
	client->conn = conn;
	client_note_progress(client);
	list_init(&client->of_audience);
	list_append(&hub->clients, &client->of_hub);
	hub->n_clients++;
	client->protocol = (uint8_t)(config->protocol - protocols);
	hub->n_by_protocol[client->protocol]++;
	metric_add(METRIC_JOINS, 1);
	update_metrics(hub);
	/* A comma in front would exclude types: see struct audience. */
	struct client_config included = *config;
	if (config->types)
		included.types += strspn(config->types, ",");
	start_client(client, &included);
	return client;
}

void client_gone(struct client **client)
{
	struct client *old = *client;
	*client = NULL;
	if (!old)
		return;
	struct hub *hub = old->hub;
	client_finish(old);
	list_remove(&old->of_hub);
	hub->n_clients--;
	hub->n_by_protocol[old->protocol]--;
	update_metrics(hub);
	free(old);
}

void client_writable(struct client *client)
{
	if (client_resume(client))
		hub_want_turn(client->hub);
}

/* ---- time ---- */

static bool is_too_slow(const struct client *client)
{
	return client->audience && client->awaits_wake &&
	       client_stalled_ms(client) > client->hub->settings->slow_timeout;
}

/* A walk over all clients misses the cache at each: only when one can be too slow. */
static void close_slow_clients(struct hub *hub)
{
	if (!hub->n_awaiting_wake)
		return;
	list_for_each (it, &hub->clients) {
		struct client *client = LIST_OF(it, struct client, of_hub);
		if (!is_too_slow(client))
			continue;
		metric_add(METRIC_TOO_SLOW, 1);
		client_close(client, CLOSE_TOO_SLOW, "too slow");
	}
}

void hub_tick(struct hub *hub)
{
	uint64_t now = clock_ms();
	close_slow_clients(hub);
	if (now - hub->idle_cursors_ms < (uint64_t)hub->settings->ping_interval)
		return;
	hub->idle_cursors_ms = now;
	delivery_send_idle_cursors(hub);
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

/* ---- events outside turns ---- */

void hub_publish(
	struct hub *hub, const char *uid, const char *message, size_t len, const char *type)
{
	struct encoded encoded = {0};
	struct user *user = users_find(hub->users, uid);
	if (!user)
		return;
	list_for_each (it, &user->audiences) {
		struct audience *audience = LIST_OF(it, struct audience, of_user);
		if (types_include(audience->types, type))
			delivery_add(hub, audience,
				encoded_block(&encoded, audience->protocol, message, len), 0);
	}
	encoded_clear(&encoded);
	if (hub->in_turn)
		return;
	delivery_append(hub);
	delivery_write(hub);
}

void hub_rewind(struct hub *hub, struct position *position, const char *reason)
{
	position_unref(&hub->position);
	hub->position = position ? position_ref(position) : position_create("", "");
	const uint64_t serial = hub->position->serial;
	hub->position->history = ++hub->history;
	hub->serial++;
	position_unref(&hub->rewound);
	hub->rewound = position_ref(hub->position);
	list_for_each (it, &hub->catching_up)
		window_rewind(&LIST_OF(it, struct catchup, of_hub)->window, hub->history);
	list_for_each (it, &hub->clients) {
		struct client *client = LIST_OF(it, struct client, of_hub);
		if (client->audience && audience_is_live(client->audience) &&
			(!position || client->audience->cursor_serial > serial))
			client_send_reset(client, reason);
	}
}
