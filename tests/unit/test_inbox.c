#include "unit.h"

#include "inbox.h"

static struct inbox inbox;

/* How many messages may come right now. */
static unsigned many(void)
{
	unsigned n = 0;
	while (inbox_take(&inbox))
		n++;
	return n;
}

static void pieces_become_a_message(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(inbox_len(&inbox), 0);
	for (int i = 0; i < 100; i++)
		inbox_gather(&inbox, "abc", 3);
	assert_int_equal(inbox_len(&inbox), 300);
	assert_memory_equal(inbox_text(&inbox) + 294, "abcabc", 6);
	inbox_forget(&inbox);
	assert_int_equal(inbox_len(&inbox), 0);
	inbox_gather(&inbox, "x", 1);
	assert_memory_equal(inbox_text(&inbox), "x", 1);
	inbox_finish(&inbox);
}

static void the_allowance_is_a_seconds_worth(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(many(), 20);
	inbox_top_up(&inbox, 100, 20, true);
	assert_int_equal(many(), 2);
	inbox_top_up(&inbox, 10000, 20, true);
	assert_int_equal(many(), 20);
}

static void small_steps_fill_it_as_well_as_large_ones(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(many(), 20);
	for (uint32_t now = 1; now <= 500; now++)
		inbox_top_up(&inbox, now, 20, true);
	assert_int_equal(many(), 10);
}

static void what_was_not_heard_counts_beyond_it(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	inbox_top_up(&inbox, 3000, 20, false);
	assert_int_equal(many(), 80);
	inbox_top_up(&inbox, UINT32_MAX, 10000, false);
	assert_int_equal(inbox.allowance, UINT32_MAX);
}

static void time_may_wrap(void **state)
{
	(void)state;
	inbox_init(&inbox, UINT32_MAX - 50, 20);
	assert_int_equal(many(), 20);
	inbox_top_up(&inbox, 49, 20, true);
	assert_int_equal(many(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces_become_a_message),
		cmocka_unit_test(the_allowance_is_a_seconds_worth),
		cmocka_unit_test(small_steps_fill_it_as_well_as_large_ones),
		cmocka_unit_test(what_was_not_heard_counts_beyond_it),
		cmocka_unit_test(time_may_wrap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
