/* The commands that a client may send: a row of commands.def and a function each. */
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "message.h"
#include "metrics.h"
#include "state.h"

static void command_init(struct client *client, const struct message *message)
{
	if (message->types)
		init_request(client, message->types, message->ref);
	else
		client_send_error(client, "bad_message", "init needs a type", message->ref);
}

/* A comma-separated list becomes one stop each. */
static void command_stop(struct client *client, const struct message *message)
{
	if (!message->types) {
		client_send_error(client, "bad_message", "stop needs a type", message->ref);
		return;
	}
	for (const char *p = message->types, *end; p; p = *end ? end + 1 : NULL) {
		end = p + strcspn(p, ",");
		char *type = xstrndup(p, (size_t)(end - p));
		stop_type(client, type);
		free(type);
	}
	if (message->ref)
		client_send_ack(client, message->ref);
}

static void command_ping(struct client *client, const struct message *message)
{
	char *pong = message_pong(message->ref);
	client_send_text(client, pong);
	free(pong);
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
	/* Several client libraries send this text to keep a connection alive. */
	if (len == strlen("ping") && memcmp(text, "ping", len) == 0) {
		client_send_text(client, "pong");
		return;
	}
	if (!message_parse(&message, text, len, &error)) {
		client_send_error(client, "bad_message", error, NULL);
		return;
	}
	commands[message.command](client, &message);
	message_clear(&message);
}
