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

static void test_window_rewind_opens_windows_of_an_older_history(void **state)
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
		assert_int_equal(!window.to, cases[i].rewinds);
		assert_int_equal(window.after, cases[i].rewinds ? 0 : 3);
		window_clear(&window);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window_copy_outlives_the_original),
		cmocka_unit_test(test_window_equal_compares_all_members),
		cmocka_unit_test(test_window_rewind_opens_windows_of_an_older_history),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
