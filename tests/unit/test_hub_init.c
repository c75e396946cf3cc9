/* Answers to init: their place in the stream, their receivers, and the limits. */
#include "hub_fixture.h"

#include <stdio.h>

static void test_init_answer_stands_at_its_snapshot(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert("u1", "log");
	fake_conn_send(&a, INIT_LOG);
	assert_true(journal.wanted);
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	insert("u1", "log");
	fake_turn_end(&journal);
	fake_turn(&journal);
	assert_received(&a, "E 1", "I log 1 u1", "E 2", NULL);
}

static void test_init_of_a_uid_is_one_query_for_all_that_asked(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	join(&c, "u1", NULL, PLAIN);
	fake_conn_send(&a, INIT_LOG);
	fake_conn_send(&b, INIT_LOG);
	const struct plan *plan = hub_turn_plan(hub);
	assert_int_equal(plan->n_init_queries, 1);
	assert_string_equal(plan->init_queries[0].type, "log");
	assert_string_equal(plan->init_queries[0].uid, "u1");
	hub_turn_abort(hub);
	fake_turn(&journal);
	assert_received(&a, "I log", NULL);
	assert_received(&b, "I log", NULL);
	assert_received(&c, NULL);
}

static void test_init_with_a_ref_is_acknowledged(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, "{\"cmd\":\"init\",\"type\":\"log\",\"ref\":[7]}");
	fake_turn(&journal);
	assert_received(&a, "I log", ACK("[7]"), NULL);
}

static void test_init_of_an_unknown_type_is_an_error(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, "{\"cmd\":\"init\",\"type\":\"unknown\",\"ref\":7}");
	fake_turn(&journal);
	assert_received(&a, ERROR("unknown_type"), NULL);
	assert_int_equal(a.client->n_init_requests, 0);
}

static void test_init_during_a_turn_is_answered_by_the_next(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert("u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_send(&a, INIT_LOG);
	fake_turn_end(&journal);
	assert_received(&a, "E 1", NULL);
	assert_true(journal.wanted);
	fake_turn(&journal);
	assert_received(&a, "I log 1", NULL);
}

static void test_init_is_answered_after_an_aborted_turn(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_send(&a, INIT_LOG);
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 0);
	fake_turn_abort(&journal);
	fake_turn(&journal);
	assert_received(&a, "I log 0", NULL);
}

/* The answer arrived, but the turn did not end: its events are missing. */
static void test_init_refused_after_aborted_turns_comes_without_their_answer(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, INIT_LOG);
	for (int i = 0; i < 2; i++) {
		struct position *to = position_create("1.0.0.5", "1.0.0.5");
		hub_turn_plan(hub);
		hub_turn_begin(hub, to);
		hub_turn_init(hub, 0, "I log 5 u1", 10, NULL);
		hub_turn_abort(hub);
		position_unref(&to);
	}
	assert_received(&a, ERROR("timeout"), NULL);
}

static void test_init_beyond_the_queries_of_a_turn_is_answered_by_the_next(void **state)
{
	static struct fake_conn many[MAX_INIT_QUERIES + 50];
	char uid[8];
	for (size_t i = 0; i < LENGTH(many); i++) {
		snprintf(uid, sizeof(uid), "w%zu", i);
		join(&many[i], uid, NULL, PLAIN);
		fake_conn_send(&many[i], INIT_LOG);
	}
	fake_turns(&journal);
	for (size_t i = 0; i < LENGTH(many); i++) {
		assert_received(&many[i], "I log", NULL);
		fake_conn_clear(&many[i]);
	}
	assert_int_equal(journal.turns, 6); /* of 8, 16, 32, 64, 128 and 58 queries */
}

static void test_init_beyond_the_limit_of_a_client_is_refused(void **state)
{
	char text[64];
	join_v1(&a);
	for (int i = 0; i < 33; i++) {
		snprintf(text, sizeof(text), "{\"cmd\":\"init\",\"type\":\"t%d\"}", i);
		fake_conn_send(&a, text);
	}
	assert_received(&a, ERROR("too_many_requests"), NULL);
	fake_turns(&journal);
	assert_int_equal(a.n_received, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_init_answer_stands_at_its_snapshot),
		TEST(test_init_of_a_uid_is_one_query_for_all_that_asked),
		TEST(test_init_with_a_ref_is_acknowledged),
		TEST(test_init_of_an_unknown_type_is_an_error),
		TEST(test_init_during_a_turn_is_answered_by_the_next),
		TEST(test_init_is_answered_after_an_aborted_turn),
		TEST(test_init_refused_after_aborted_turns_comes_without_their_answer),
		TEST(test_init_beyond_the_queries_of_a_turn_is_answered_by_the_next),
		TEST(test_init_beyond_the_limit_of_a_client_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
