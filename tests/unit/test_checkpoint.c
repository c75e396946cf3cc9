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

static void go_to(struct past *past, uint64_t ms)
{
	char text[24];
	now_ms = ms;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
	struct position *position = position_create(text, text);
	past_add(past, position);
	position_unref(&position);
}

static void expect(const struct past *past, size_t i, const char *text)
{
	struct position *position = past_at(past, i);
	if (!text) {
		assert_null(position);
		return;
	}
	assert_non_null(position);
	assert_string_equal(position->text, text);
}

static int set_up(void **state)
{
	*state = past_create();
	return 0;
}

static int tear_down(void **state)
{
	struct past *past = *state;
	past_destroy(&past);
	assert_null(past);
	past_destroy(&past);
	return 0;
}

static void who_has_been_nowhere_remembers_nothing(void **state)
{
	expect(*state, 0, NULL);
}

static void the_first_is_always_where_it_is_now(void **state)
{
	for (uint64_t ms = 5000; ms < 8000; ms += 7) {
		char text[24];
		go_to(*state, ms);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
		expect(*state, 0, text);
	}
}

static void one_a_second_is_kept_however_many_there_are(void **state)
{
	for (uint64_t ms = 1000; ms <= 6000; ms++)
		go_to(*state, ms);
	size_t n = 0;
	uint64_t last = UINT64_MAX;
	for (; past_at(*state, n); n++) {
		uint64_t ms = strtoull(past_at(*state, n)->text, NULL, 10);
		assert_true(ms < last);
		assert_true(n < 2 || last - ms >= 1000);
		last = ms;
	}
	assert_int_equal(n, 6);
	assert_int_equal(last, 1000);
}

static void where_it_rested_long_ago_is_kept(void **state)
{
	go_to(*state, 1000);
	go_to(*state, 90000);
	go_to(*state, 90001);
	expect(*state, 0, "90001");
	expect(*state, 1, "90000");
	expect(*state, 2, "1000");
	expect(*state, 3, NULL);
}

static void what_was_more_than_a_minute_ago_is_forgotten(void **state)
{
	for (uint64_t s = 1; s <= 200; s++)
		go_to(*state, s * 1000);
	size_t n = 0;
	while (past_at(*state, n))
		n++;
	assert_in_range(n, 60, 70);
	expect(*state, 0, "200000");
	expect(*state, 60, "140000");
}

static void the_newest_can_be_forgotten(void **state)
{
	for (uint64_t s = 1; s <= 5; s++)
		go_to(*state, s * 1000);
	past_forget(*state, 0);
	expect(*state, 0, "5000");
	past_forget(*state, 2);
	expect(*state, 0, "3000");
	expect(*state, 2, "1000");
	expect(*state, 3, NULL);
	go_to(*state, 6000);
	expect(*state, 0, "6000");
	expect(*state, 1, "3000");
}

static void all_can_be_forgotten_and_the_rest_goes_on(void **state)
{
	go_to(*state, 1000);
	go_to(*state, 5000);
	past_forget(*state, SIZE_MAX);
	expect(*state, 0, NULL);
	past_forget(*state, 1);
	go_to(*state, 6000);
	expect(*state, 0, "6000");
	expect(*state, 1, NULL);
}

static void positions_outlive_what_they_were_remembered_by(void **state)
{
	struct position *position = position_create("1.2.3.4", "1.2.3.4");
	now_ms = 1000;
	past_add(*state, position);
	past_forget(*state, 1);
	assert_string_equal(position->text, "1.2.3.4");
	assert_int_equal(position->refs, 1);
	position_unref(&position);
}

#define STORY(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORY(who_has_been_nowhere_remembers_nothing),
		STORY(the_first_is_always_where_it_is_now),
		STORY(one_a_second_is_kept_however_many_there_are),
		STORY(where_it_rested_long_ago_is_kept),
		STORY(what_was_more_than_a_minute_ago_is_forgotten),
		STORY(the_newest_can_be_forgotten),
		STORY(all_can_be_forgotten_and_the_rest_goes_on),
		STORY(positions_outlive_what_they_were_remembered_by),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
