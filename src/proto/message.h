/* The JSON that is written or read in C: messages from clients, control messages, and NOTIFY
 * payloads that are passed through. The only user of json-c; the JSON of rows is made by SQL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum command {
#define COMMAND(id, name) COMMAND_##id,
#include "commands.def"
#undef COMMAND
	COMMAND_UNKNOWN, /* well-formed, but no row of commands.def */
};

/* A message from a client. */
struct message {
	enum command command;
	char *types; /* "type" or "types", comma-separated; NULL: absent */
	char *ref;   /* JSON text; NULL: absent */
};

/* Reads a message. False unless it is a JSON object with a string "cmd"; *error says why (static
 * text). The caller clears a message that was read. */
bool message_parse(struct message *message, const char *text, size_t len, const char **error);
void message_clear(struct message *message);

/* Control messages; the caller frees the text. ref is JSON text, or NULL; types are
 * comma-separated, NULL: all. */
char *message_hello(
	const char *uid, const char *types, const char *cursor, bool resumed, const char *version);
char *message_cursor(const char *cursor);
char *message_reset(const char *reason);
char *message_error(const char *code, const char *text, const char *ref);
char *message_ack(const char *ref);
char *message_pong(const char *ref);

/* A NOTIFY payload of a passed-through channel: {"uid":"u1", ...}. Returns the message for the
 * clients of *uid (type: the channel, op: publish, data: the payload), both freed by the caller;
 * NULL unless the payload is a JSON object with a string or number "uid". */
char *message_channel(const char *channel, const char *payload, char **uid);
