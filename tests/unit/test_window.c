#include "unit.h"

#include <stdbool.h>
#include <stdio.h>

#include "window.h"

static struct window make(const char *from, const char *to, int64_t after)
{
	return (struct window){
		.from = position_create(from, from),
		.to = to ? position_create(to, to) : NULL,
		.after = after,
	};
}

static void a_copy_outlives_the_original(void **state)
{
	(void)state;
	struct window window = make("1.2.3.4", "1.2.3.9", 7), copy = window_copy(&window);
	window_clear(&window);
	assert_null(window.from);
	assert_null(window.to);
	assert_int_equal(window.after, 0);
	assert_string_equal(copy.from->text, "1.2.3.4");
	assert_string_equal(copy.to->text, "1.2.3.9");
	assert_int_equal(copy.after, 7);
	window_clear(&copy);
	window_clear(&copy);
}

static void windows_are_equal_when_their_texts_are(void **state)
{
	(void)state;
	struct window a = make("1", "2", 3), same = make("1", "2", 3);
	struct window others[] = {
		make("0", "2", 3), make("1", "0", 3), make("1", "2", 0), make("1", NULL, 3), {0}};
	assert_true(window_equal(&a, &a));
	assert_true(window_equal(&a, &same));
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		assert_false(window_equal(&a, &others[i]));
		assert_false(window_equal(&others[i], &a));
		window_clear(&others[i]);
	}
	window_clear(&a);
	window_clear(&same);
}

static void a_position_from_outside_is_not_the_same_as_our_own(void **state)
{
	(void)state;
	struct window a = make("1", NULL, 0), foreign = make("1", NULL, 0);
	foreign.from->unverified = true;
	assert_false(window_equal(&a, &foreign));
	window_clear(&a);
	window_clear(&foreign);
}

static void cursors_that_sql_can_read_are_accepted(void **state)
{
	(void)state;
	static const char *const good[] = {
		"7301234567890123456.41.1700000000000000.900",
		"18446744073709551615.0.0.0",
		"1.2.3.4.5.6.7.8.9.10",
		"1.999999999999999999.999999999999999999.999999999999999999",
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		assert_true(cursor_is_wellformed(good[i]));
}

static void all_else_is_refused_as_a_cursor(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		".",
		"1",
		"1.2.3",
		"1.2.3.",
		".1.2.3.4",
		"1..2.3.4",
		"1.2.3.4 ",
		" 1.2.3.4",
		"-1.2.3.4",
		"1.2.3.-4",
		"1.2.3.4,5",
		"1.2.3.x",
		"1.2.3.4'; drop table log",
		"123456789012345678901.2.3.4",
		"1.2.3.1000000000000000000",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (cursor_is_wellformed(bad[i]))
			fail_msg("\"%s\" is no cursor", bad[i]);
}

static void a_cursor_has_a_greatest_length(void **state)
{
	(void)state;
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
		cmocka_unit_test(a_copy_outlives_the_original),
		cmocka_unit_test(windows_are_equal_when_their_texts_are),
		cmocka_unit_test(a_position_from_outside_is_not_the_same_as_our_own),
		cmocka_unit_test(cursors_that_sql_can_read_are_accepted),
		cmocka_unit_test(all_else_is_refused_as_a_cursor),
		cmocka_unit_test(a_cursor_has_a_greatest_length),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
