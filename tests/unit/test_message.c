#include "unit.h"

#include "alloc.h"
#include "message.h"

static void parse(struct message *message, const char *text)
{
	const char *error = NULL;
	if (!message_parse(message, text, strlen(text), &error))
		fail_msg("%s: %s", text, error);
}

static void refuse(const char *text, size_t len, const char *why)
{
	struct message message;
	const char *error = NULL;
	if (message_parse(&message, text, len, &error))
		fail_msg("accepted: %s", text);
	assert_non_null(strstr(error, why));
}

static void test_message_init(void **state)
{
	struct message message;
	parse(&message, " {\"cmd\":\"init\",\"type\":\"log\",\"more\":[1,{}],\"ref\":1} ");
	assert_int_equal(message.command, COMMAND_INIT);
	assert_string_equal(message.types, "log");
	assert_string_equal(message.ref, "1");
	message_clear(&message);
	assert_null(message.types);
}

static void test_message_types_are_joined(void **state)
{
	struct message message;
	parse(&message, "{\"cmd\":\"stop\",\"types\":[\"a\",\"b c\",\"\"]}");
	assert_int_equal(message.command, COMMAND_STOP);
	assert_string_equal(message.types, "a,b c,");
	message_clear(&message);
}

static void test_message_absent_members_are_null(void **state)
{
	struct message message;
	parse(&message, "{\"cmd\":\"dance\"}");
	assert_int_equal(message.command, COMMAND_UNKNOWN);
	assert_null(message.types);
	assert_null(message.ref);
	message_clear(&message);
}

static void test_message_ref_may_be_any_json(void **state)
{
	const char *refs[] = {
		"null", "true", "\"a/\\\"b\"", "1.50", "-7", "[1,{\"x\":null}]", "{}"};
	for (size_t i = 0; i < LENGTH(refs); i++) {
		struct message message;
		char *text = xasprintf("{\"cmd\":\"init\",\"type\":\"log\",\"ref\":%s}", refs[i]);
		parse(&message, text);
		assert_string_equal(message.ref, refs[i]);
		char *ack = message_ack(message.ref);
		char *want = xasprintf("{\"type\":\"pgcast\",\"op\":\"ack\",\"ref\":%s}", refs[i]);
		assert_string_equal(ack, want);
		free(want);
		free(ack);
		free(text);
		message_clear(&message);
	}
}

#define REFUSE(text, why) refuse(text, sizeof(text) - 1, why)

static void test_message_malformed_is_refused(void **state)
{
	REFUSE("", "must be a JSON object");
	REFUSE("hello", "must be a JSON object");
	REFUSE("{\"cmd\":\"init\"", "must be a JSON object");
	REFUSE("{\"cmd\":\"init\"} {}", "must be a JSON object");
	REFUSE("{\"cmd\":\"init\"}\0", "must be a JSON object");
	REFUSE("[\"init\"]", "must be a JSON object");
	REFUSE("\"init\"", "must be a JSON object");
	REFUSE("null", "must be a JSON object");
	REFUSE("{'cmd':'init'}", "must be a JSON object");
	REFUSE("{\"cmd\":\"\xFF\"}", "must be a JSON object");
	REFUSE("{\"cmd\":\"init\",\"ref\":NaN}", "must be a JSON object");
	REFUSE("{\"cmd\":\"init\",\"ref\":1e999}", "out of range");
	REFUSE("{\"cmd\":\"init\",\"ref\":[123456789012345678901234567890]}", "out of range");
	REFUSE("{}", "\"cmd\"");
	REFUSE("{\"cmd\":\"init\",\"types\":\"a\"}", "\"types\"");
	REFUSE("{\"cmd\":\"init\",\"types\":[]}", "\"types\"");
	REFUSE("{\"cmd\":\"init\",\"types\":[\"a\",1]}", "\"types\"");
	REFUSE("{\"cmd\":\"init\",\"types\":[\"a,b\"]}", "\"types\"");
	REFUSE("{\"cmd\":\"init\",\"types\":[\"a\\u0000\"]}", "\"types\"");
	REFUSE("{\"cmd\":1}", "\"cmd\"");
	REFUSE("{\"cmd\":null}", "\"cmd\"");
	REFUSE("{\"cmd\":\"init\\u0000\"}", "\"cmd\"");
	REFUSE("{\"cmd\":\"init\",\"type\":7}", "\"type\"");
	REFUSE("{\"cmd\":\"init\",\"type\":\"l\\u0000g\"}", "\"type\"");
}

static void test_message_nested_deeply_is_refused(void **state)
{
	size_t depth = 100000;
	char *text = xmalloc(depth + 1);
	memset(text, '[', depth);
	refuse(text, depth, "must be a JSON object");
	memcpy(text, "{\"a\":", 5);
	refuse(text, depth, "must be a JSON object");
	free(text);
}

/* All prefixes of a message are refused; with one byte changed, it is read or refused. */
static void test_message_with_a_changed_byte_is_read_or_refused(void **state)
{
	const char good[] =
		"{\"cmd\":\"init\",\"type\":\"l\\u00e9g\",\"ref\":[-1.5e3,{\"a\":null}]}";
	size_t len = sizeof good - 1, read = 0;
	for (size_t i = 0; i < len; i++) {
		refuse(good, i, "must be a JSON object");
		for (int byte = 0; byte < 256; byte++) {
			char text[sizeof good];
			const char *error = NULL;
			struct message message;
			memcpy(text, good, sizeof good);
			text[i] = (char)byte;
			if (message_parse(&message, text, len, &error)) {
				read++;
				message_clear(&message);
			} else {
				assert_non_null(error);
			}
		}
	}
	assert_true(read > len);
}

#define ASSERT_TEXT(call, want)                                                                    \
	do {                                                                                       \
		char *text_ = (call);                                                              \
		assert_string_equal(text_, want);                                                  \
		free(text_);                                                                       \
	} while (0)

static void test_control_messages(void **state)
{
	ASSERT_TEXT(message_hello("u\"1", NULL, "c/1", true, "0.1.0"),
		"{\"type\":\"pgcast\",\"op\":\"hello\",\"uid\":\"u\\\"1\",\"types\":null,"
		"\"cursor\":\"c/1\",\"resumed\":true,\"version\":\"0.1.0\"}");
	ASSERT_TEXT(message_hello("u", "a,,b\"", "c", false, "1"),
		"{\"type\":\"pgcast\",\"op\":\"hello\",\"uid\":\"u\",\"types\":[\"a\",\"b\\\"\"],"
		"\"cursor\":\"c\",\"resumed\":false,\"version\":\"1\"}");
	ASSERT_TEXT(
		message_cursor("c1"), "{\"type\":\"pgcast\",\"op\":\"cursor\",\"cursor\":\"c1\"}");
	ASSERT_TEXT(message_reset("epoch"),
		"{\"type\":\"pgcast\",\"op\":\"reset\",\"reason\":\"epoch\"}");
	ASSERT_TEXT(message_error("bad", "no\nway", "[1]"),
		"{\"type\":\"pgcast\",\"op\":\"error\",\"code\":\"bad\",\"message\":\"no\\nway\","
		"\"ref\":[1]}");
	ASSERT_TEXT(message_ack(NULL), "{\"type\":\"pgcast\",\"op\":\"ack\"}");
	ASSERT_TEXT(message_pong("1"), "{\"type\":\"pgcast\",\"op\":\"pong\",\"ref\":1}");
}

static void check_channel(const char *payload, const char *want_uid, const char *want_data)
{
	char *uid;
	char *text = message_channel("jobs", payload, &uid);
	char *want = xasprintf("{\"type\":\"jobs\",\"op\":\"publish\",\"data\":%s}", want_data);
	assert_non_null(text);
	assert_string_equal(uid, want_uid);
	assert_string_equal(text, want);
	free(want);
	free(text);
	free(uid);
}

static void test_channel_payload_has_a_uid(void **state)
{
	check_channel("{\"uid\":\"u1\",\"n\":[1, 2]}", "u1", "{\"uid\":\"u1\",\"n\":[1,2]}");
	check_channel("{\"uid\":42}", "42", "{\"uid\":42}");
	check_channel("{\"uid\":1.50}", "1.50", "{\"uid\":1.50}");
	check_channel("{\"uid\":18446744073709551614}", "18446744073709551614",
		"{\"uid\":18446744073709551614}");
}

/* Among them numbers that json-c would change. */
static void test_channel_payload_invalid_is_refused(void **state)
{
	const char *payloads[] = {"", "u1", "{\"n\":1}", "{\"uid\":null}", "{\"uid\":true}",
		"{\"uid\":[1]}", "{\"uid\":\"a\\u0000b\"}", "[{\"uid\":\"u1\"}]", "{\"uid\":\"u1\"",
		"{\"uid\":123456789012345678901}", "{\"uid\":-123456789012345678901}",
		"{\"uid\":\"u1\",\"n\":00.5}", "{\"uid\":\"u1\",\"n\":1.}"};
	for (size_t i = 0; i < LENGTH(payloads); i++) {
		char *uid;
		if (message_channel("jobs", payloads[i], &uid))
			fail_msg("accepted: %s", payloads[i]);
		assert_null(uid);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_init),
		cmocka_unit_test(test_message_types_are_joined),
		cmocka_unit_test(test_message_absent_members_are_null),
		cmocka_unit_test(test_message_ref_may_be_any_json),
		cmocka_unit_test(test_message_malformed_is_refused),
		cmocka_unit_test(test_message_nested_deeply_is_refused),
		cmocka_unit_test(test_message_with_a_changed_byte_is_read_or_refused),
		cmocka_unit_test(test_control_messages),
		cmocka_unit_test(test_channel_payload_has_a_uid),
		cmocka_unit_test(test_channel_payload_invalid_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
