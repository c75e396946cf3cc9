#include "unit.h"

#include "wheel.h"

static struct wheel wheel;

struct thing {
	struct wheel_entry entry;
	uint64_t came_at;
	struct thing *removes;
	uint64_t again; /* after so many ticks, 0: not */
};

static void came(void *ctx, struct wheel_entry *entry)
{
	assert_ptr_equal(ctx, &wheel);
	struct thing *thing = LIST_OF(entry, struct thing, entry);
	thing->came_at = wheel.now;
	if (thing->removes)
		wheel_remove(&thing->removes->entry);
	if (thing->again)
		wheel_set(&wheel, entry, wheel.now + thing->again);
}

static void advance(uint64_t now)
{
	wheel_advance(&wheel, now, came, &wheel);
}

static void each_comes_at_its_tick(void **state)
{
	(void)state;
	static const uint64_t after[] = {1, 2, 2, 511, 512, 513, 5000};
	struct thing things[7] = {0};
	wheel_init(&wheel, 1000);
	for (size_t i = 0; i < 7; i++)
		wheel_set(&wheel, &things[i].entry, 1000 + after[i]);
	for (uint64_t now = 1001; now < 7000; now++)
		advance(now);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(things[i].came_at, 1000 + after[i]);
}

static void what_is_over_comes_at_the_next_tick(void **state)
{
	(void)state;
	struct thing thing = {0};
	wheel_init(&wheel, 1000);
	wheel_set(&wheel, &thing.entry, 3);
	advance(1001);
	assert_int_equal(thing.came_at, 1001);
}

static void moved_and_removed_ones_do_not_come(void **state)
{
	(void)state;
	struct thing moved = {0}, removed = {0}, never = {0};
	wheel_init(&wheel, 0);
	wheel_set(&wheel, &moved.entry, 5);
	wheel_set(&wheel, &moved.entry, 600);
	wheel_set(&wheel, &removed.entry, 5);
	wheel_remove(&removed.entry);
	wheel_remove(&removed.entry);
	wheel_remove(&never.entry);
	for (uint64_t now = 1; now < 1200; now++)
		advance(now);
	assert_int_equal(moved.came_at, 600);
	assert_int_equal(removed.came_at, 0);
}

static void one_that_comes_may_remove_another_and_come_again(void **state)
{
	(void)state;
	struct thing second = {0}, first = {.removes = &second, .again = WHEEL_SLOTS};
	wheel_init(&wheel, 0);
	wheel_set(&wheel, &first.entry, 5);
	wheel_set(&wheel, &second.entry, 5);
	advance(5);
	assert_int_equal(first.came_at, 5);
	assert_int_equal(second.came_at, 0);
	advance(5 + WHEEL_SLOTS);
	assert_int_equal(first.came_at, 5 + WHEEL_SLOTS);
	wheel_remove(&first.entry);
}

static void none_is_lost_in_a_long_stop(void **state)
{
	(void)state;
	struct thing things[WHEEL_SLOTS * 3] = {0};
	wheel_init(&wheel, 0);
	for (uint64_t i = 0; i < WHEEL_SLOTS * 3; i++)
		wheel_set(&wheel, &things[i].entry, i + 1);
	advance(1000000);
	for (size_t i = 0; i < WHEEL_SLOTS * 3; i++)
		assert_true(things[i].came_at > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_comes_at_its_tick),
		cmocka_unit_test(what_is_over_comes_at_the_next_tick),
		cmocka_unit_test(moved_and_removed_ones_do_not_come),
		cmocka_unit_test(one_that_comes_may_remove_another_and_come_again),
		cmocka_unit_test(none_is_lost_in_a_long_stop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
