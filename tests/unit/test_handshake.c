#include "unit.h"

#include "alloc.h"
#include "handshake.h"

static void add(struct handshake *handshake, const char *pair)
{
	handshake_parameter(handshake, pair, strlen(pair));
}

static void check_uid(const char *uid, const char *refusal)
{
	struct handshake handshake = {0};
	char *pair = xasprintf("uid=%s", uid);
	add(&handshake, pair);
	free(pair);
	if (refusal)
		assert_string_equal(handshake_refusal(&handshake), refusal);
	else
		assert_null(handshake_refusal(&handshake));
	handshake_clear(&handshake);
}

static void test_handshake_reads_uid_types_and_since(void **state)
{
	struct handshake handshake = {0};
	add(&handshake, "types=log,chat");
	add(&handshake, "uid=a=b&c");
	add(&handshake, "since=");
	add(&handshake, "uids=x");
	add(&handshake, "token");
	assert_null(handshake_refusal(&handshake));
	assert_string_equal(handshake.uid, "a=b&c");
	assert_string_equal(handshake.types, "log,chat");
	assert_string_equal(handshake.since, "");
	handshake_clear(&handshake);
	assert_null(handshake.uid);
}

static void test_handshake_first_value_counts(void **state)
{
	struct handshake handshake = {0};
	add(&handshake, "uid=mine");
	add(&handshake, "uid=yours");
	assert_string_equal(handshake.uid, "mine");
	handshake_clear(&handshake);
}

static void test_handshake_uid_limits(void **state)
{
	char uid[HANDSHAKE_UID_MAX + 2];
	memset(uid, 'x', sizeof uid);
	uid[HANDSHAKE_UID_MAX] = '\0';
	check_uid(uid, NULL);
	uid[HANDSHAKE_UID_MAX] = 'x';
	uid[HANDSHAKE_UID_MAX + 1] = '\0';
	check_uid(uid, "uid too long");
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
		cmocka_unit_test(test_handshake_reads_uid_types_and_since),
		cmocka_unit_test(test_handshake_first_value_counts),
		cmocka_unit_test(test_handshake_uid_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
