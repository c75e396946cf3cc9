/* Answers to init: requested by clients, found once for all clients of a uid, and inserted into the
 * stream of each where the turn ends whose snapshot they have. An answer that is found outside of
 * the turn has a ticket: its clients wait there, and then catch up. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "metrics.h"
#include "state.h"

/* Requests of one client that wait for an answer. */
#define MAX_INIT_REQUESTS 32

/* Init queries of a turn at first; then as many as take so many milliseconds. */
#define FIRST_INIT_BUDGET 8
#define LONG_TURN 100
#define SHORT_TURN 30

static bool is_requested(const struct client *client, const char *type)
{
	for (const struct init_request *it = client->init_requests; it; it = it->next)
		if (!strcmp(it->type, type))
			return true;
	return false;
}

static void add_request(struct client *client, char *type, const char *ref, bool ack)
{
	struct init_request *request = xcalloc(1, sizeof(*request));
	request->client = client;
	request->type = type;
	request->ref = ref ? xstrdup(ref) : NULL;
	request->ack = ack;
	list_init(&request->of_ticket);
	request->next = client->init_requests;
	client->init_requests = request;
	list_append(&client->hub->init_requests, &request->of_hub);
	client->n_init_requests++;
	metric_add(METRIC_INIT_REQUESTS, 1);
	hub_want_turn(client->hub);
}

void init_request(struct client *client, const char *types, const char *ref)
{
	for (const char *p = types, *end; p; p = *end ? end + 1 : NULL) {
		end = p + strcspn(p, ",");
		if (client->n_init_requests >= MAX_INIT_REQUESTS) {
			client_send_error(client, "too_many_requests",
				"too many requests are waiting for an answer", ref);
			return;
		}
		char *type = xstrndup(p, (size_t)(end - p));
		if (ref || !is_requested(client, type))
			add_request(client, type, ref, !*end);
		else
			free(type);
	}
}

void init_stop(struct client *client, const char *type)
{
	for (struct init_request *it = client->init_requests, *next; it; it = next) {
		next = it->next;
		if (!strcmp(it->type, type))
			init_request_destroy(&it);
	}
}

/* The number of the query for a user's type in this turn, added when there is none;
 * MAX_INIT_QUERIES when there is no room. */
static size_t find_query(struct hub *hub, const struct user *user, const char *type)
{
	size_t i = 0;
	while (i < hub->plan.n_init_queries &&
		(hub->init_results[i].user != user || strcmp(hub->init_queries[i].type, type) != 0))
		i++;
	if (i == (hub->init_mode == INIT_IN_TURN ? hub->init_budget : MAX_INIT_QUERIES))
		return MAX_INIT_QUERIES;
	if (i == hub->plan.n_init_queries) {
		hub->init_queries[i] = (struct init_query){.type = type, .uid = user->uid};
		hub->init_results[i] = (struct init_result){.user = user};
		hub->plan.n_init_queries++;
	}
	return i;
}

/* Outside of the turn one answer at a time: there its place in the stream is fixed. */
static bool has_query(const struct client *client)
{
	for (const struct init_request *it = client->init_requests; it; it = it->next)
		if (it->query)
			return true;
	return false;
}

/* A client that is catching up is answered when it is live: the answer's place in its stream is the
 * end of a turn. */
void init_plan(struct hub *hub)
{
	if (!hub->init_budget)
		hub->init_budget = FIRST_INIT_BUDGET;
	if (hub->init_mode == INIT_WAITS)
		return;
	if (!*hub->position->text) {
		hub->turn_wanted |= !list_empty(&hub->init_requests);
		return;
	}
	if (hub->init_pause && !list_empty(&hub->init_requests)) {
		hub->init_pause = false;
		hub->turn_wanted = true;
		return;
	}
	list_for_each (it, &hub->init_requests) {
		struct init_request *request = LIST_OF(it, struct init_request, of_hub);
		struct client *client = request->client;
		if (!audience_is_live(client->audience) || client_is_full(client))
			continue;
		if (hub->init_mode == INIT_APART && has_query(client))
			continue;
		size_t i = find_query(hub, client->audience->user, request->type);
		if (i == MAX_INIT_QUERIES) {
			hub->turn_wanted = true;
			return;
		}
		const struct protocol *protocol = client->audience->protocol;
		hub->init_results[i].protocols[protocol->encoding] = protocol;
		request->query = i + 1;
	}
}

void hub_turn_init(
	struct hub *hub, size_t query, const char *message, size_t len, const char *error)
{
	struct init_result *result = &hub->init_results[query];
	result->error = error;
	if (error) {
		free(result->reason);
		result->reason = message ? xstrdup(message) : NULL;
		return;
	}
	for (size_t i = 0; message && i < ENCODINGS; i++)
		if (result->protocols[i])
			encoded_block(&result->message, result->protocols[i], message, len);
}

struct ticket *hub_turn_hold(struct hub *hub, size_t query)
{
	struct ticket *ticket = xcalloc(1, sizeof(*ticket));
	list_init(&ticket->requests);
	hub->init_results[query].ticket = ticket;
	return ticket;
}

static const char *error_text(const char *code)
{
	if (strcmp(code, "unknown_type") == 0)
		return "unknown type";
	if (strcmp(code, "unavailable") == 0)
		return "the connection to the database was lost";
	return "init took too long, or its table is locked";
}

/* With a block, or with the code of an error and its reason (NULL: the usual one). */
static void give_answer(
	struct init_request *request, struct block *block, const char *error, const char *reason)
{
	struct client *client = request->client;
	assert(block || error);
	if (block) {
		client->audience->cursor_serial = client->hub->serial;
		client_insert(client, block);
		if (request->ref && request->ack)
			client_send_ack(client, request->ref);
	} else {
		client_send_error(client, error, reason ? reason : error_text(error), request->ref);
	}
	init_request_destroy(&request);
}

/* The client waits where this turn ends. */
static void hold(struct hub *hub, struct init_request *request, struct ticket *ticket)
{
	struct client *client = request->client;
	struct audience *audience = client->audience;
	const struct window window = {.from = hub->position};
	struct audience *to =
		audience_create(audience->user, audience->protocol, audience->types, &window);
	to->catchup->held = true;
	hub_add_catchup(hub, to);
	reader_detach(&client->reader, &audience->stream, &to->stream);
	client_set_audience(client, to);
	audience_release_if_idle(audience);
	list_append(&ticket->requests, &request->of_ticket);
}

static void answer_request(struct hub *hub, struct init_request *request)
{
	struct client *client = request->client;
	struct audience *audience = client->audience;
	delivery_write_client(client);
	audience_release_if_idle(audience); /* the last one fell behind */
	if (!audience_is_live(client->audience))
		return; /* fell behind in this turn: the request stays until it is live again */
	const struct init_result *result = &hub->init_results[request->query - 1];
	struct block *block = result->message.blocks[client->audience->protocol->encoding];
	if (result->ticket)
		hold(hub, request, result->ticket);
	else if (block || result->error)
		give_answer(request, block, result->error, result->reason);
	else
		hub->turn_wanted = true;
}

void hub_answer(
	struct hub *hub, struct ticket **ticket, const char *message, size_t len, const char *error)
{
	struct encoded encoded = {0};
	list_for_each_safe (it, &(*ticket)->requests) {
		struct init_request *request = LIST_OF(it, struct init_request, of_ticket);
		struct audience *audience = request->client->audience;
		audience->catchup->held = false;
		list_remove(&request->of_ticket);
		if (error)
			give_answer(request, NULL, error, message);
		else if (message)
			give_answer(request,
				encoded_block(&encoded, audience->protocol, message, len), NULL,
				NULL);
		hub_want_turn(hub);
	}
	encoded_clear(&encoded);
	free(*ticket);
	*ticket = NULL;
	if (!hub->in_turn)
		stop_apply(hub);
}

void hub_set_init_mode(struct hub *hub, enum init_mode mode)
{
	hub->init_mode = mode;
}

void hub_inits_possible(struct hub *hub)
{
	if (!list_empty(&hub->init_requests))
		hub_want_turn(hub);
}

void init_answer(struct hub *hub)
{
	list_for_each_safe (it, &hub->init_requests) {
		struct init_request *request = LIST_OF(it, struct init_request, of_hub);
		if (request->query)
			answer_request(hub, request);
	}
}

static void adapt_budget(struct hub *hub)
{
	uint64_t took = clock_ms() - hub->planned_ms;
	if (!hub->plan.n_init_queries || hub->init_mode != INIT_IN_TURN)
		return;
	hub->init_pause = took > LONG_TURN; /* for events that came meanwhile */
	if (took > LONG_TURN && hub->init_budget > 1)
		hub->init_budget /= 2;
	else if (took < SHORT_TURN && hub->init_budget < MAX_INIT_QUERIES)
		hub->init_budget *= 2;
}

void init_clear(struct hub *hub)
{
	adapt_budget(hub);
	for (size_t i = 0; i < hub->plan.n_init_queries; i++) {
		encoded_clear(&hub->init_results[i].message);
		free(hub->init_results[i].reason);
		hub->init_results[i].reason = NULL;
	}
	list_for_each (it, &hub->init_requests)
		LIST_OF(it, struct init_request, of_hub)->query = 0;
}

static void drop_tickets(struct hub *hub)
{
	for (size_t i = 0; i < hub->plan.n_init_queries; i++) {
		free(hub->init_results[i].ticket);
		hub->init_results[i].ticket = NULL;
	}
}

void init_abort(struct hub *hub)
{
	drop_tickets(hub);
	if (hub->plan.n_init_queries > 1)
		hub->init_budget = 1;
	if (hub->plan.n_init_queries != 1 || ++hub->init_aborts < 2)
		return;
	hub->init_aborts = 0;
	/* An answer may have arrived, but not the events before it. */
	encoded_clear(&hub->init_results[0].message);
	hub->init_results[0].error = "timeout";
	init_answer(hub);
}
