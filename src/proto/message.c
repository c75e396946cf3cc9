#include "message.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "alloc.h"

/* Nesting of a message; bounds the stack that printing it again takes. */
#define MAX_DEPTH 32

#define PLAIN (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

static const char *const commands[] = {
#define COMMAND(id, name) [COMMAND_##id] = #name,
#include "commands.def"
#undef COMMAND
};

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

/* True for a number with a fraction or an exponent by RFC 8259, 6: json-c keeps its text and is not
 * strict. */
static bool is_strict_double(const char *text)
{
	text += *text == '-';
	size_t whole = digits(text);
	if (whole == 0 || (*text == '0' && whole > 1))
		return false;
	text += whole;
	if (*text == '.') {
		size_t fraction = digits(++text);
		if (fraction == 0)
			return false;
		text += fraction;
	}
	return *text == '\0' || *text == 'e' || *text == 'E';
}

/* False for a number that json-c changes or a browser refuses: json-c clamps integers, which would
 * turn a uid of many digits into another one, and reads NaN and Infinity. */
static bool is_exact(json_object *value)
{
	if (json_object_is_type(value, json_type_double))
		return isfinite(json_object_get_double(value)) &&
		       is_strict_double(json_object_get_string(value));
	if (json_object_is_type(value, json_type_int))
		return json_object_get_int64(value) != INT64_MIN &&
		       json_object_get_uint64(value) != UINT64_MAX;
	return true;
}

static bool are_exact(json_object *value)
{
	if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			if (!are_exact(json_object_array_get_idx(value, i)))
				return false;
		}
	} else if (json_object_is_type(value, json_type_object)) {
		struct json_object_iterator it = json_object_iter_begin(value);
		struct json_object_iterator end = json_object_iter_end(value);
		for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
			if (!are_exact(json_object_iter_peek_value(&it)))
				return false;
		}
	}
	return is_exact(value);
}

/* NULL unless the whole text is one object. */
static json_object *parse_object(const char *text, size_t len)
{
	if (len > INT_MAX)
		return NULL;
	json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	json_object *value = json_tokener_parse_ex(tokener, text, (int)len);
	bool whole = json_tokener_get_error(tokener) == json_tokener_success &&
		     json_tokener_get_parse_end(tokener) == len;
	json_tokener_free(tokener);
	if (!whole || !json_object_is_type(value, json_type_object) || !are_exact(value)) {
		json_object_put(value);
		return NULL;
	}
	return value;
}

/* A copy of a member's string; NULL when it is not a string, or has a NUL. */
static char *member_string(json_object *object, const char *key)
{
	json_object *value = json_object_object_get(object, key);
	if (!json_object_is_type(value, json_type_string))
		return NULL;
	const char *text = json_object_get_string(value);
	size_t len = (size_t)json_object_get_string_len(value);
	return strlen(text) == len ? xstrdup(text) : NULL;
}

static char *to_text(json_object *value)
{
	return xstrdup(json_object_to_json_string_ext(value, PLAIN));
}

static enum command command_of(const char *name)
{
	size_t i = 0;
	while (i < COMMAND_UNKNOWN && strcmp(name, commands[i]) != 0)
		i++;
	return (enum command)i;
}

/* The strings of an array, comma-separated; NULL when it is something else, or a string has a
 * comma. */
static char *join_strings(json_object *array)
{
	if (!json_object_is_type(array, json_type_array) || !json_object_array_length(array))
		return NULL;
	char *joined = NULL;
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		json_object *value = json_object_array_get_idx(array, i);
		const char *text = json_object_get_string(value);
		if (!json_object_is_type(value, json_type_string) || strchr(text, ',') ||
			strlen(text) != (size_t)json_object_get_string_len(value)) {
			free(joined);
			return NULL;
		}
		char *longer = joined ? xasprintf("%s,%s", joined, text) : xstrdup(text);
		free(joined);
		joined = longer;
	}
	return joined;
}

/* "type", or "types". */
static bool read_types(struct message *message, json_object *object, const char **error)
{
	json_object *value;
	if (json_object_object_get_ex(object, "type", &value)) {
		message->types = member_string(object, "type");
		*error = "\"type\" must be a string";
		return message->types;
	}
	if (json_object_object_get_ex(object, "types", &value)) {
		message->types = join_strings(value);
		*error = "\"types\" must be an array of strings without commas";
		return message->types;
	}
	return true;
}

static bool read_message(struct message *message, json_object *object, const char **error)
{
	json_object *ref;
	char *cmd = member_string(object, "cmd");
	if (!cmd) {
		*error = "\"cmd\" must be a string";
		return false;
	}
	message->command = command_of(cmd);
	free(cmd);
	if (!read_types(message, object, error))
		return false;
	if (json_object_object_get_ex(object, "ref", &ref))
		message->ref = to_text(ref);
	return true;
}

bool message_parse(struct message *message, const char *text, size_t len, const char **error)
{
	*message = (struct message){.command = COMMAND_UNKNOWN};
	json_object *object = parse_object(text, len);
	if (!object) {
		*error = "must be a JSON object, with no number out of range";
		return false;
	}
	bool ok = read_message(message, object, error);
	json_object_put(object);
	return ok;
}

void message_clear(struct message *message)
{
	free(message->types);
	free(message->ref);
	*message = (struct message){.command = COMMAND_UNKNOWN};
}

static void add_text(json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

/* Adds JSON text, which json-c prints as it is in place of a value. */
static void add_json(json_object *object, const char *key, const char *json)
{
	json_object *value = json_object_new_object();
	json_object_set_serializer(value, json_object_userdata_to_json_string, xstrdup(json),
		json_object_free_userdata);
	json_object_object_add(object, key, value);
}

static json_object *control(const char *op)
{
	json_object *object = json_object_new_object();
	add_text(object, "type", "pgcast");
	add_text(object, "op", op);
	return object;
}

/* Prints the object and releases it. */
static char *finish(json_object *object)
{
	char *text = to_text(object);
	json_object_put(object);
	return text;
}

static json_object *split(const char *types)
{
	json_object *array = json_object_new_array();
	for (const char *p = types; *p;) {
		size_t len = strcspn(p, ",");
		if (len)
			json_object_array_add(array, json_object_new_string_len(p, (int)len));
		p += len;
		p += *p == ',';
	}
	return array;
}

char *message_hello(
	const char *uid, const char *types, const char *cursor, bool resumed, const char *version)
{
	json_object *object = control("hello");
	add_text(object, "uid", uid);
	json_object_object_add(object, "types", types && *types != ',' ? split(types) : NULL);
	add_text(object, "cursor", cursor);
	json_object_object_add(object, "resumed", json_object_new_boolean(resumed));
	add_text(object, "version", version);
	return finish(object);
}

char *message_cursor(const char *cursor)
{
	json_object *object = control("cursor");
	add_text(object, "cursor", cursor);
	return finish(object);
}

char *message_reset(const char *reason)
{
	json_object *object = control("reset");
	add_text(object, "reason", reason);
	return finish(object);
}

char *message_error(const char *code, const char *text, const char *ref)
{
	json_object *object = control("error");
	add_text(object, "code", code);
	add_text(object, "message", text);
	if (ref)
		add_json(object, "ref", ref);
	return finish(object);
}

static char *reply(const char *op, const char *ref)
{
	json_object *object = control(op);
	if (ref)
		add_json(object, "ref", ref);
	return finish(object);
}

char *message_ack(const char *ref)
{
	return reply("ack", ref);
}

char *message_pong(const char *ref)
{
	return reply("pong", ref);
}

/* The uid as text; a number keeps the digits of the payload. */
static char *payload_uid(json_object *payload)
{
	json_object *value = json_object_object_get(payload, "uid");
	if (json_object_is_type(value, json_type_int) ||
		json_object_is_type(value, json_type_double))
		return xstrdup(json_object_get_string(value));
	return member_string(payload, "uid");
}

char *message_channel(const char *channel, const char *payload, char **uid)
{
	*uid = NULL;
	json_object *data = parse_object(payload, strlen(payload));
	if (!data)
		return NULL;
	*uid = payload_uid(data);
	if (!*uid) {
		json_object_put(data);
		return NULL;
	}
	json_object *object = json_object_new_object();
	add_text(object, "type", channel);
	add_text(object, "op", "publish");
	json_object_object_add(object, "data", data);
	return finish(object);
}
