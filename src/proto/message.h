/* The JSON of the protocol that is made or read in C: what clients send, control messages, and
 * NOTIFY payloads that are passed through. The only user of json-c; rows never come through here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* One row per command a client may send: see commands.def. */
enum command {
#define COMMAND(id, name, help) COMMAND_##id,
#include "commands.def"
#undef COMMAND
	COMMAND_UNKNOWN, /* well-formed, but not ours */
};

struct message {
	enum command command;
	char *type; /* NULL when absent */
	char *ref;  /* the ref's JSON text, NULL when absent */
};

/* Reads a client's message. False: it is not a JSON object with a text "cmd"; *error says what is
 * wrong (static text). The caller clears a message that was read. */
bool message_parse(struct message *message, const char *text, size_t len, const char **error);
void message_clear(struct message *message);

/* Control messages; the caller frees the text. ref is JSON text, or NULL. */
char *message_hello(const char *uid, const char *cursor, bool resumed, const char *version);
char *message_cursor(const char *cursor);
char *message_reset(const char *reason);
char *message_error(const char *code, const char *text, const char *ref);
char *message_ack(const char *ref);

/* A NOTIFY payload of a passed-through channel: {"uid":"u1", ...}. Returns the message for the
 * clients of *uid (type: the channel, op: publish, data: the payload), both freed by the caller;
 * NULL when the payload is not a JSON object with a text or number "uid". */
char *message_channel(const char *channel, const char *payload, char **uid);
