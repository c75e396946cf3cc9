#include "unit.h"

#include "wheel.h"

static struct wheel wheel;

struct timer {
	struct wheel_entry entry;
	uint64_t fired_at;
	struct timer *removes;
	uint64_t repeat_after; /* ticks; 0: fires once */
};

static void on_due(void *ctx, struct wheel_entry *entry)
{
	assert_ptr_equal(ctx, &wheel);
	struct timer *timer = LIST_OF(entry, struct timer, entry);
	timer->fired_at = wheel.now;
	if (timer->removes)
		wheel_remove(&timer->removes->entry);
	if (timer->repeat_after)
		wheel_set(&wheel, entry, wheel.now + timer->repeat_after);
}

static void advance(uint64_t now)
{
	wheel_advance(&wheel, now, on_due, &wheel);
}

static void test_wheel_due_at_tick(void **state)
{
	(void)state;
	static const uint64_t after[] = {1, 2, 2, 511, 512, 513, 5000};
	struct timer timers[7] = {0};
	wheel_init(&wheel, 1000);
	for (size_t i = 0; i < 7; i++)
		wheel_set(&wheel, &timers[i].entry, 1000 + after[i]);
	for (uint64_t now = 1001; now < 7000; now++)
		advance(now);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(timers[i].fired_at, 1000 + after[i]);
}

static void test_wheel_late_deadline_is_due_next(void **state)
{
	(void)state;
	struct timer timer = {0};
	wheel_init(&wheel, 1000);
	wheel_set(&wheel, &timer.entry, 3);
	advance(1001);
	assert_int_equal(timer.fired_at, 1001);
}

static void test_wheel_moved_and_removed_entries(void **state)
{
	(void)state;
	struct timer moved = {0}, removed = {0}, never = {0};
	wheel_init(&wheel, 0);
	wheel_set(&wheel, &moved.entry, 5);
	wheel_set(&wheel, &moved.entry, 600);
	wheel_set(&wheel, &removed.entry, 5);
	wheel_remove(&removed.entry);
	wheel_remove(&removed.entry);
	wheel_remove(&never.entry);
	for (uint64_t now = 1; now < 1200; now++)
		advance(now);
	assert_int_equal(moved.fired_at, 600);
	assert_int_equal(removed.fired_at, 0);
}

static void test_wheel_callback_may_remove_and_set(void **state)
{
	(void)state;
	struct timer second = {0}, first = {.removes = &second, .repeat_after = WHEEL_SLOTS};
	wheel_init(&wheel, 0);
	wheel_set(&wheel, &first.entry, 5);
	wheel_set(&wheel, &second.entry, 5);
	advance(5);
	assert_int_equal(first.fired_at, 5);
	assert_int_equal(second.fired_at, 0);
	advance(5 + WHEEL_SLOTS);
	assert_int_equal(first.fired_at, 5 + WHEEL_SLOTS);
	wheel_remove(&first.entry);
}

static void test_wheel_long_pause_loses_none(void **state)
{
	(void)state;
	struct timer timers[WHEEL_SLOTS * 3] = {0};
	wheel_init(&wheel, 0);
	for (uint64_t i = 0; i < WHEEL_SLOTS * 3; i++)
		wheel_set(&wheel, &timers[i].entry, i + 1);
	advance(1000000);
	for (size_t i = 0; i < WHEEL_SLOTS * 3; i++)
		assert_true(timers[i].fired_at > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wheel_due_at_tick),
		cmocka_unit_test(test_wheel_late_deadline_is_due_next),
		cmocka_unit_test(test_wheel_moved_and_removed_entries),
		cmocka_unit_test(test_wheel_callback_may_remove_and_set),
		cmocka_unit_test(test_wheel_long_pause_loses_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
