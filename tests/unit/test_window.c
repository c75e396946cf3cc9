#include "unit.h"

#include "window.h"

static struct window make(const char *from, const char *to, int64_t after)
{
	return (struct window){
		.from = position_create(from, from),
		.to = to ? position_create(to, to) : NULL,
		.after = after,
	};
}

static void test_window_copy_outlives_the_original(void **state)
{
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

static void test_window_equal_compares_all_members(void **state)
{
	struct window a = make("1", "2", 3), same = make("1", "2", 3);
	struct window others[] = {make("0", "2", 3), make("1", "0", 3), make("1", "2", 0),
		make("1", NULL, 3), make("1", "2", 3), {0}};
	others[4].from->unverified = true;
	assert_true(window_equal(&a, &a));
	assert_true(window_equal(&a, &same));
	for (size_t i = 0; i < LENGTH(others); i++) {
		assert_false(window_equal(&a, &others[i]));
		assert_false(window_equal(&others[i], &a));
		window_clear(&others[i]);
	}
	window_clear(&a);
	window_clear(&same);
}

static void test_window_rewind_verifies_windows_of_an_older_history(void **state)
{
	static const struct {
		const char *from;
		uint32_t history;
		bool rewinds;
	} cases[] = {{"1", 1, true}, {"1", 2, false}, {"", 1, false}};
	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct window window = make(cases[i].from, "2", 3);
		window.from->history = cases[i].history;
		window_rewind(&window, 2);
		assert_int_equal(window.from->unverified, cases[i].rewinds);
		assert_int_equal(window.to->unverified, cases[i].rewinds);
		window_clear(&window);
	}
}

static void check_cursor(const char *cursor)
{
	struct window window;
	assert_true(window_parse(&window, cursor, 7));
	assert_true(window.from->unverified && window.from->history == 7);
	char *text = window_cursor(&window);
	assert_string_equal(text, cursor);
	free(text);
	window_clear(&window);
}

static void test_window_of_a_cursor(void **state)
{
	struct window window;
	check_cursor("9.1.2.30.4");
	check_cursor("9.1.2.30.4~17~5.6.70.8.9");
	assert_true(window_parse(&window, "9.1.2.30~17~5.6.70", 7));
	assert_string_equal(window.from->text, "9.1.2.30");
	assert_string_equal(window.to->text, "9.5.6.70");
	assert_true(window.to->unverified && window.to->history == 7);
	assert_int_equal(window.after, 17);
	window_clear(&window);
}

static void test_window_of_a_malformed_cursor(void **state)
{
	static const char *const cursors[] = {"", "~", "1.2.3.4~", "1.2.3.4~5", "1.2.3.4~5~",
		"1.2.3.4~0~1.2.3", "1.2.3.4~~1.2.3", "1.2.3.4~-5~1.2.3", "1.2.3.4~5~1.2",
		"1.2.3~5~1.2.3", "1.2.3.4~5~1.2.3~6~1.2.3", "1.2.3.4~1000000000000000000~1.2.3"};
	struct window window;
	for (size_t i = 0; i < LENGTH(cursors); i++)
		if (window_parse(&window, cursors[i], 0))
			fail_msg("accepted: \"%s\"", cursors[i]);
}

static void test_window_without_room_for_a_cursor(void **state)
{
	char text[CURSOR_MAX + 1] = "1.2.3.4";
	while (strlen(text) < 300)
		strcat(text, ".5");
	struct position *position = position_create(text, text);
	assert_null(window_cursor(&(struct window){position, position, 1}));
	position_unref(&position);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_copy_outlives_the_original),
		cmocka_unit_test(test_window_equal_compares_all_members),
		cmocka_unit_test(test_window_rewind_verifies_windows_of_an_older_history),
		cmocka_unit_test(test_window_of_a_cursor),
		cmocka_unit_test(test_window_of_a_malformed_cursor),
		cmocka_unit_test(test_window_without_room_for_a_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
