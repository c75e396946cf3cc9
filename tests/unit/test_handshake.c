#include "unit.h"

#include "alloc.h"
#include "handshake.h"

static void take(struct handshake *handshake, const char *pair)
{
	handshake_parameter(handshake, pair, strlen(pair));
}

static void check_uid(const char *uid, const char *refusal)
{
	struct handshake handshake = {0};
	char *pair = xasprintf("uid=%s", uid);
	take(&handshake, pair);
	free(pair);
	if (refusal)
		assert_string_equal(handshake_refusal(&handshake), refusal);
	else
		assert_null(handshake_refusal(&handshake));
	handshake_clear(&handshake);
}

static void the_query_says_uid_types_and_cursor(void **state)
{
	(void)state;
	struct handshake handshake = {0};
	take(&handshake, "types=log,chat");
	take(&handshake, "uid=a=b&c");
	take(&handshake, "since=");
	take(&handshake, "uids=x");
	take(&handshake, "token");
	assert_null(handshake_refusal(&handshake));
	assert_string_equal(handshake.uid, "a=b&c");
	assert_string_equal(handshake.types, "log,chat");
	assert_string_equal(handshake.since, "");
	handshake_clear(&handshake);
	assert_null(handshake.uid);
}

static void the_first_of_two_counts(void **state)
{
	(void)state;
	struct handshake handshake = {0};
	take(&handshake, "uid=mine");
	take(&handshake, "uid=yours");
	assert_string_equal(handshake.uid, "mine");
	handshake_clear(&handshake);
}

static void a_uid_is_short_text(void **state)
{
	(void)state;
	char longest[HANDSHAKE_UID_MAX + 2];
	memset(longest, 'x', sizeof longest);
	longest[HANDSHAKE_UID_MAX] = '\0';
	check_uid(longest, NULL);
	longest[HANDSHAKE_UID_MAX] = 'x';
	longest[HANDSHAKE_UID_MAX + 1] = '\0';
	check_uid(longest, "uid too long");
	check_uid("", "uid missing");
	check_uid("\xC3\xBC", NULL);
	check_uid("\xC3", "query is not UTF-8");

	struct handshake handshake = {0};
	assert_string_equal(handshake_refusal(&handshake), "uid missing");
	handshake_parameter(&handshake, "uid=a\0b", 7);
	assert_string_equal(handshake_refusal(&handshake), "query is not UTF-8");
	handshake_clear(&handshake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_query_says_uid_types_and_cursor),
		cmocka_unit_test(the_first_of_two_counts),
		cmocka_unit_test(a_uid_is_short_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
