/* What a client asks for. */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

/* A client that waits for more answers than this gets an error instead. */
#define MAX_REQUESTS 32

static bool requested(const struct client *client, const char *type)
{
	for (const struct request *it = client->requests; it; it = it->next)
		if (!strcmp(it->type, type))
			return true;
	return false;
}

static void command_init(struct client *client, const struct message *message)
{
	if (!message->type) {
		client_complain(client, "bad_message", "init needs a type", message->ref);
		return;
	}
	if (client->n_requests >= MAX_REQUESTS) {
		client_complain(
			client, "too_many_requests", "wait for the answers first", message->ref);
		return;
	}
	if (requested(client, message->type) && !message->ref)
		return;
	struct request *request = xcalloc(1, sizeof(*request));
	request->client = client;
	request->type = xstrdup(message->type);
	request->ref = message->ref ? xstrdup(message->ref) : NULL;
	request->next = client->requests;
	client->requests = request;
	list_append(&client->hub->requests, &request->of_hub);
	client->n_requests++;
	turn_want(client->hub);
}

void client_received(struct client *client, const char *text, size_t len)
{
	struct message message;
	const char *error;
	if (!client->audience)
		return;
	metric_add(METRIC_MESSAGES, 1);
	if (!message_parse(&message, text, len, &error)) {
		client_complain(client, "bad_message", error, NULL);
		return;
	}
	switch (message.command) {
	case COMMAND_INIT:
		command_init(client, &message);
		break;
	case COMMAND_UNKNOWN:
		client_complain(client, "unknown_command", "there is no such cmd", message.ref);
		break;
	}
	message_clear(&message);
}
