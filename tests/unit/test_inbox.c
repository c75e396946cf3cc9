#include "unit.h"

#include "inbox.h"

static struct inbox inbox;

/* How spend_all messages may come right now. */
static unsigned spend_all(void)
{
	unsigned n = 0;
	while (inbox_spend(&inbox))
		n++;
	return n;
}

static void test_inbox_assembles_fragments(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(inbox_len(&inbox), 0);
	for (int i = 0; i < 100; i++)
		inbox_append(&inbox, "abc", 3);
	assert_int_equal(inbox_len(&inbox), 300);
	assert_memory_equal(inbox_text(&inbox) + 294, "abcabc", 6);
	inbox_clear(&inbox);
	assert_int_equal(inbox_len(&inbox), 0);
	inbox_append(&inbox, "x", 1);
	assert_memory_equal(inbox_text(&inbox), "x", 1);
	inbox_clear(&inbox);
}

static void test_inbox_allowance_is_limited_to_one_second(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(spend_all(), 20);
	inbox_top_up(&inbox, 100, 20, true);
	assert_int_equal(spend_all(), 2);
	inbox_top_up(&inbox, 10000, 20, true);
	assert_int_equal(spend_all(), 20);
}

static void test_inbox_frequent_top_ups(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	assert_int_equal(spend_all(), 20);
	for (uint32_t now = 1; now <= 500; now++)
		inbox_top_up(&inbox, now, 20, true);
	assert_int_equal(spend_all(), 10);
}

static void test_inbox_paused_time_is_not_limited(void **state)
{
	(void)state;
	inbox_init(&inbox, 0, 20);
	inbox_top_up(&inbox, 3000, 20, false);
	assert_int_equal(spend_all(), 80);
	inbox_top_up(&inbox, UINT32_MAX, 10000, false);
	assert_int_equal(inbox.allowance, UINT32_MAX);
}

static void test_inbox_time_wraps(void **state)
{
	(void)state;
	inbox_init(&inbox, UINT32_MAX - 50, 20);
	assert_int_equal(spend_all(), 20);
	inbox_top_up(&inbox, 49, 20, true);
	assert_int_equal(spend_all(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inbox_assembles_fragments),
		cmocka_unit_test(test_inbox_allowance_is_limited_to_one_second),
		cmocka_unit_test(test_inbox_frequent_top_ups),
		cmocka_unit_test(test_inbox_paused_time_is_not_limited),
		cmocka_unit_test(test_inbox_time_wraps),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
