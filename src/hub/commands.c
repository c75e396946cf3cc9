/* The commands that a client may send: a row of commands.def and a function each. */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

/* Requests of one client that wait for an answer. */
#define MAX_INIT_REQUESTS 32

static bool is_requested(const struct client *client, const char *type)
{
	for (const struct init_request *it = client->init_requests; it; it = it->next)
		if (!strcmp(it->type, type))
			return true;
	return false;
}

static void command_init(struct client *client, const struct message *message)
{
	if (!message->type) {
		client_send_error(client, "bad_message", "init needs a type", message->ref);
		return;
	}
	if (client->n_init_requests >= MAX_INIT_REQUESTS) {
		client_send_error(client, "too_many_requests",
			"too many requests are waiting for an answer", message->ref);
		return;
	}
	if (is_requested(client, message->type) && !message->ref)
		return;
	struct init_request *request = xcalloc(1, sizeof(*request));
	request->client = client;
	request->type = xstrdup(message->type);
	request->ref = message->ref ? xstrdup(message->ref) : NULL;
	request->next = client->init_requests;
	client->init_requests = request;
	list_append(&client->hub->init_requests, &request->of_hub);
	client->n_init_requests++;
	hub_want_turn(client->hub);
}

static void command_unknown(struct client *client, const struct message *message)
{
	client_send_error(client, "unknown_command", "unknown cmd", message->ref);
}

static void (*const commands[])(struct client *client, const struct message *message) = {
#define COMMAND(id, name) [COMMAND_##id] = command_##name,
#include "commands.def"
#undef COMMAND
	[COMMAND_UNKNOWN] = command_unknown,
};

void client_received(struct client *client, const char *text, size_t len)
{
	struct message message;
	const char *error;
	if (!client->audience)
		return;
	metric_add(METRIC_MESSAGES, 1);
	if (!message_parse(&message, text, len, &error)) {
		client_send_error(client, "bad_message", error, NULL);
		return;
	}
	commands[message.command](client, &message);
	message_clear(&message);
}
