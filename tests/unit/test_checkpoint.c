#include "unit.h"

#include <stdbool.h>
#include <stdio.h>

#include "checkpoint.h"
#include "clock.h"

static uint64_t now_ms;

uint64_t clock_ms(void)
{
	return now_ms;
}

static void add_at(struct checkpoint *checkpoint, uint64_t ms)
{
	char text[24];
	now_ms = ms;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
	struct position *position = position_create(text, text);
	checkpoint_add(checkpoint, position);
	position_unref(&position);
}

static void expect(const struct checkpoint *checkpoint, size_t i, const char *text)
{
	struct position *position = checkpoint_at(checkpoint, i);
	if (!text) {
		assert_null(position);
		return;
	}
	assert_non_null(position);
	assert_string_equal(position->text, text);
}

static int set_up(void **state)
{
	*state = checkpoint_create();
	return 0;
}

static int tear_down(void **state)
{
	struct checkpoint *checkpoint = *state;
	checkpoint_destroy(&checkpoint);
	assert_null(checkpoint);
	checkpoint_destroy(&checkpoint);
	return 0;
}

static void test_checkpoint_new_is_empty(void **state)
{
	expect(*state, 0, NULL);
}

static void test_checkpoint_first_is_current(void **state)
{
	for (uint64_t ms = 5000; ms < 8000; ms += 7) {
		char text[24];
		add_at(*state, ms);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
		expect(*state, 0, text);
	}
}

static void test_checkpoint_keeps_one_per_second(void **state)
{
	for (uint64_t ms = 1000; ms <= 6000; ms++)
		add_at(*state, ms);
	size_t n = 0;
	uint64_t last = UINT64_MAX;
	for (; checkpoint_at(*state, n); n++) {
		uint64_t ms = strtoull(checkpoint_at(*state, n)->text, NULL, 10);
		assert_true(ms < last);
		assert_true(n < 2 || last - ms >= 1000);
		last = ms;
	}
	assert_int_equal(n, 6);
	assert_int_equal(last, 1000);
}

static void test_checkpoint_keeps_position_before_idle_time(void **state)
{
	add_at(*state, 1000);
	add_at(*state, 90000);
	add_at(*state, 90001);
	expect(*state, 0, "90001");
	expect(*state, 1, "90000");
	expect(*state, 2, "1000");
	expect(*state, 3, NULL);
}

static void test_checkpoint_drops_after_a_minute(void **state)
{
	for (uint64_t s = 1; s <= 200; s++)
		add_at(*state, s * 1000);
	size_t n = 0;
	while (checkpoint_at(*state, n))
		n++;
	assert_in_range(n, 60, 70);
	expect(*state, 0, "200000");
	expect(*state, 60, "140000");
}

static void test_checkpoint_drop_removes_newest(void **state)
{
	for (uint64_t s = 1; s <= 5; s++)
		add_at(*state, s * 1000);
	checkpoint_drop(*state, 0);
	expect(*state, 0, "5000");
	checkpoint_drop(*state, 2);
	expect(*state, 0, "3000");
	expect(*state, 2, "1000");
	expect(*state, 3, NULL);
	add_at(*state, 6000);
	expect(*state, 0, "6000");
	expect(*state, 1, "3000");
}

static void test_checkpoint_drop_all_then_add(void **state)
{
	add_at(*state, 1000);
	add_at(*state, 5000);
	checkpoint_drop(*state, SIZE_MAX);
	expect(*state, 0, NULL);
	checkpoint_drop(*state, 1);
	add_at(*state, 6000);
	expect(*state, 0, "6000");
	expect(*state, 1, NULL);
}

static void test_checkpoint_drop_leaves_other_references(void **state)
{
	struct position *position = position_create("1.2.3.4", "1.2.3.4");
	now_ms = 1000;
	checkpoint_add(*state, position);
	checkpoint_drop(*state, 1);
	assert_string_equal(position->text, "1.2.3.4");
	assert_int_equal(position->refs, 1);
	position_unref(&position);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_checkpoint_new_is_empty),
		TEST(test_checkpoint_first_is_current),
		TEST(test_checkpoint_keeps_one_per_second),
		TEST(test_checkpoint_keeps_position_before_idle_time),
		TEST(test_checkpoint_drops_after_a_minute),
		TEST(test_checkpoint_drop_removes_newest),
		TEST(test_checkpoint_drop_all_then_add),
		TEST(test_checkpoint_drop_leaves_other_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
