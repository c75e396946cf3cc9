#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "position.h"
#include "witness.h"

static void check_position(
	const struct witness *witness, const char *position, const char *expected)
{
	char *text = witness_position(witness, position);
	assert_string_equal(text, expected);
	assert_true(cursor_is_wellformed(text));
	free(text);
}

/* now, low, newest, number, sum and those that have ended */
static void test_witness_of_one_transaction_is_the_anchor(void **state)
{
	struct witness *witness = witness_create();
	check_position(witness, "1.0.0.0", "1.0.0.0");
	witness_add(witness, "1.9.70.100", "50 0 70 1 70", false);
	check_position(witness, "1.9.70.100", "1.9.70.100");
	witness_destroy(&witness);
	witness_destroy(&witness);
}

static void test_witness_sums_up_the_turns_since_one_that_all_followed(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.100", "80 0 70 1 70", false);
	/* began to write before the first turn's snapshot */
	witness_add(witness, "1.12.75.103.1", "90 100 75 2 149", false);
	check_position(witness, "1.12.75.103.1", "1.12.75-219-103.103.1");
	/* after it, and before the second one's */
	witness_add(witness, "1.14.85.110", "95 103 85 2 170 102", false);
	check_position(witness, "1.14.85.110", "1.14.85-319-10.110");
	/* after the second one's: those that were open then are named */
	witness_add(witness, "1.14.85.110", "97 110 92 1 92 109", false);
	check_position(witness, "1.14.85.110", "1.14.85-262-7-8.110");
	witness_destroy(&witness);
}

static void test_witness_of_one_that_was_open(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.100.3.5", "80 0 70 1 70", false);
	witness_add(witness, "1.9.70.100", "95 100 94 2 187 95 97", false);
	check_position(witness, "1.9.70.100", "1.9.70-187-0-5_3.100");
	witness_add(witness, "1.10.99.101", "100 100 99 1 99", false);
	check_position(witness, "1.10.99.101", "1.10.99.101");
	witness_destroy(&witness);
}

static void test_witness_in_order_is_the_last_turn(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.100", "80 0 70 1 70", true);
	witness_add(witness, "1.12.75.103", "90 100 75 2 149", true);
	check_position(witness, "1.12.75.103", "1.12.75-149-3.103");
	witness_destroy(&witness);
}

static void test_witness_restarts_from_a_position(void **state)
{
	static const char *const positions[] = {
		"1.9.70.100", "1.9.70-187-0-5_3.100", "1.12.75-219-103.103.1"};
	for (size_t i = 0; i < LENGTH(positions); i++) {
		struct witness *witness = witness_create();
		witness_add(witness, "1.1.1.1", "2 0 1 1 1", false);
		witness_restart(witness, positions[i]);
		check_position(witness, positions[i], positions[i]);
		witness_destroy(&witness);
	}
	struct witness *witness = witness_create();
	witness_restart(witness, "1.9.70-187-0-5.100");
	witness_add(witness, "1.11.99.102", "120 100 99 1 99", false);
	check_position(witness, "1.11.99.102", "1.11.99-286-2-7.102");
	witness_add(witness, "1.13.130.103", "140 102 130 1 130", false);
	check_position(witness, "1.13.130.103", "1.13.130.103");
	witness_restart(witness, "");
	check_position(witness, "1.0.0.0", "1.0.0.0");
	witness_destroy(&witness);
}

static void test_witness_of_many_turns_keeps_their_sum(void **state)
{
	struct witness *witness = witness_create();
	char position[64], brought[64];
	/* One writes for the whole time, and each turn brings only older ones. */
	for (unsigned i = 1; i <= 200; i++) {
		snprintf(position, sizeof(position), "1.%u.1.%u", i, 100 + i);
		snprintf(brought, sizeof(brought), "%u %u 1 1 1", 1000 + i, 99 + i);
		witness_add(witness, position, brought, false);
	}
	check_position(witness, "1.200.1.300", "1.200.1-200-200.300");
	witness_destroy(&witness);
}

static void test_witness_of_too_many_transactions_is_the_anchor(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.1000", "50 0 70 513 700", false);
	check_position(witness, "1.9.70.1000", "1.9.70.1000");
	witness_destroy(&witness);
}

static void test_witness_of_an_earlier_cursor(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.100.1.2.70", "80 90 70 2 139", false);
	char *text = witness_earlier_cursor(witness, "1.9.70.100.1.2.70", "1.3.40.20");
	/* 91 to 100, of which 98 and 99 are open */
	assert_string_equal(text, "1.3.40-139-10--100-8001.20");
	assert_true(cursor_is_wellformed(text));
	free(text);
	text = witness_earlier_cursor(witness, "1.9.70.100.1.2.70", "1.3.40-1-2-3.20.4");
	assert_string_equal(text, "1.3.40-139-10--100-8001.20.4");
	free(text);
	witness_destroy(&witness);
}

static void test_witness_that_does_not_fit_an_earlier_cursor(void **state)
{
	struct witness *witness = witness_create();
	witness_add(witness, "1.9.70.10000.1", "80 90 70 2 139", false);
	char *text = witness_earlier_cursor(witness, "1.9.70.10000.1", "1.3.40.20");
	assert_string_equal(text, "1.3.40.20");
	free(text);
	witness_destroy(&witness);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_witness_of_one_transaction_is_the_anchor),
		cmocka_unit_test(test_witness_sums_up_the_turns_since_one_that_all_followed),
		cmocka_unit_test(test_witness_of_one_that_was_open),
		cmocka_unit_test(test_witness_in_order_is_the_last_turn),
		cmocka_unit_test(test_witness_restarts_from_a_position),
		cmocka_unit_test(test_witness_of_many_turns_keeps_their_sum),
		cmocka_unit_test(test_witness_of_too_many_transactions_is_the_anchor),
		cmocka_unit_test(test_witness_of_an_earlier_cursor),
		cmocka_unit_test(test_witness_that_does_not_fit_an_earlier_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
