#include "unit.h"

#include "position.h"

static void test_position_is_freed_with_its_last_reference(void **state)
{
	struct position *first = position_create("1.2", "3.4"), *second = position_ref(first);
	assert_true(position_equal(first, second));
	position_unref(&first);
	assert_null(first);
	assert_string_equal(second->text, "1.2");
	assert_string_equal(second->cursor, "3.4");
	position_unref(&second);
	position_unref(&second);
	assert_null(position_ref(NULL));
}

static void test_cursor_wellformed(void **state)
{
	static const char *const cursors[] = {
		"7301234567890123456.41.1700000000000000.900",
		"18446744073709551615.0.0.0",
		"1.2.3.4.5.6.7.8.9.10",
		"1.2.3-4-5.6",
		"1.2.3-4-5-6.7.8",
		"1.2.3-4-5-6_7_8.9",
		"1.2.3-4-5--6-.7",
		"1.2.3-4-5-6_7-8-00ff1e.9",
		"1.999999999999999999.999999999999999999.999999999999999999",
	};
	for (size_t i = 0; i < LENGTH(cursors); i++)
		assert_true(cursor_is_wellformed(cursors[i]));
}

static void test_cursor_malformed(void **state)
{
	static const char *const cursors[] = {"", ".", "1", "1.2.3", "1.2.3.", ".1.2.3.4",
		"1..2.3.4", "1.2.3.4 ", " 1.2.3.4", "-1.2.3.4", "1.2.3.-4", "1.2.3.4,5", "1.2.3.x",
		"1.2.3-.4", "1.2.3-4.5", "1.2.3-4-.5", "1.2.3-4-5-.6", "1.2.3-4-5-6_.7",
		"1.2.3-4-5-6-7.8", "1.2.3-4-5--7-f.8", "1.2.3-4-5--7-0g.8", "1.2.3-4-5-6-7-00-8.9",
		"1.2.-3-4.5", "1.2-3-4.3.4", "1.2.3-4-5-1000000000000000000.6",
		"1.2.3.4'; drop table log", "123456789012345678901.2.3.4",
		"1.2.3.1000000000000000000"};
	for (size_t i = 0; i < LENGTH(cursors); i++)
		if (cursor_is_wellformed(cursors[i]))
			fail_msg("accepted: \"%s\"", cursors[i]);
}

static void test_cursor_has_a_max_length(void **state)
{
	char text[CURSOR_MAX + 3] = "1.2.3.4";
	while (strlen(text) < CURSOR_MAX - 1)
		strcat(text, ".5");
	assert_int_equal(strlen(text), CURSOR_MAX - 1);
	strcat(text, "5");
	assert_true(cursor_is_wellformed(text));
	strcat(text, "5");
	assert_false(cursor_is_wellformed(text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_position_is_freed_with_its_last_reference),
		cmocka_unit_test(test_cursor_wellformed),
		cmocka_unit_test(test_cursor_malformed),
		cmocka_unit_test(test_cursor_has_a_max_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
