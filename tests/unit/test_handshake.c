#include "unit.h"

#include <stdbool.h>

#include "handshake.h"

static void take(struct handshake *handshake, const char *pair)
{
	handshake_parameter(handshake, pair, strlen(pair));
}

static void test_handshake_takes_known_parameters(void **state)
{
	(void)state;
	struct handshake handshake = {0};
	take(&handshake, "types=log,chat");
	take(&handshake, "uid=a=b&c");
	take(&handshake, "since=");
	take(&handshake, "init=log");
	take(&handshake, "uids=x");
	take(&handshake, "token");
	assert_false(handshake.malformed);
	assert_string_equal(handshake.uid, "a=b&c");
	assert_string_equal(handshake.types, "log,chat");
	assert_string_equal(handshake.since, "");
	assert_string_equal(handshake.init, "log");
	handshake_clear(&handshake);
	assert_null(handshake.uid);
}

static void test_handshake_takes_the_first_of_two_values(void **state)
{
	(void)state;
	struct handshake handshake = {0};
	take(&handshake, "uid=mine");
	take(&handshake, "uid=yours");
	assert_string_equal(handshake.uid, "mine");
	handshake_clear(&handshake);
}

static void test_handshake_refuses_bytes_that_are_not_text(void **state)
{
	(void)state;
	static const struct {
		const char *pair;
		size_t len;
		bool malformed;
	} cases[] = {
		{"uid=\xC3\xBC", 6, false},
		{"uid=\xC3", 5, true},
		{"uid=a\0b", 7, true},
		{"types=\xFF", 7, true},
		{"other=\xFF", 7, false},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct handshake handshake = {0};
		handshake_parameter(&handshake, cases[i].pair, cases[i].len);
		assert_int_equal(handshake.malformed, cases[i].malformed);
		handshake_clear(&handshake);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake_takes_known_parameters),
		cmocka_unit_test(test_handshake_takes_the_first_of_two_values),
		cmocka_unit_test(test_handshake_refuses_bytes_that_are_not_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
