/* One client: joining, leaving, control messages, and timeouts. */
#include "hub_fixture.h"

static void test_client_limit_per_uid(void **state)
{
	settings.max_clients_per_uid = 2;
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	join(&c, "u1", NULL, PLAIN);
	assert_null(c.client);
	assert_int_equal(c.closed, CLOSE_TOO_MANY_CLIENTS);
	assert_int_equal(hub_clients(hub), 2);
	fake_conn_leave(&a);
	join(&c, "u1", NULL, PLAIN);
	assert_non_null(c.client);
}

static void test_client_gone_gets_nothing(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	fake_conn_leave(&a);
	assert_null(a.client);
	fake_conn_leave(&a);
	assert_int_equal(hub_clients(hub), 1);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, NULL);
	assert_received(&b, "E 1 log", NULL);
}

static void test_client_gone_during_a_turn_leaves_the_others_their_events(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u2", NULL, PLAIN);
	fake_conn_send(&a, INIT_LOG);
	fake_conn_send(&b, INIT_LOG);
	insert("u1", "log");
	insert("u2", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_leave(&a);
	fake_turn_end(&journal);
	assert_received(&a, NULL);
	assert_received(&b, "E 2 log", "I log 2", NULL);
}

static void test_client_without_a_position_gets_hello_first(void **state)
{
	join(&a, "u1", NULL, V1);
	fake_conn_send(&a, "junk");
	hub_publish(hub, "u1", "P 1", 3, "log");
	assert_received(&a, NULL);
	fake_turns(&journal);
	assert_received(&a, HELLO("0", "false"), ERROR("bad_message"), "P 1", NULL);
}

static void test_client_without_a_position_starts_with_the_first_turn(void **state)
{
	insert("u1", "log");
	join(&a, "u1", NULL, V1);
	fake_conn_send(&a, INIT_LOG);
	assert_true(journal.wanted);
	fake_turns(&journal);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, HELLO("1", "false"), "I log 1", "E 2", CURSOR("2"), NULL);
}

static void test_client_plain_gets_no_control_message(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	resume(&b, "2.0.0.0", PLAIN);
	resume(&c, "junk", PLAIN);
	fake_conn_send(&a, "junk");
	fake_conn_send(&a, "{\"cmd\":\"dance\",\"ref\":1}");
	fake_conn_send(&a, "{\"cmd\":\"init\"}");
	fake_conn_send(&a, "{\"cmd\":\"init\",\"type\":\"unknown\",\"ref\":2}");
	fake_turns(&journal);
	insert("u1", "log");
	fake_turn(&journal);
	tick(PING_INTERVAL);
	assert_received(&a, "E 1 log", NULL);
	assert_received(&b, "E 1 log", NULL);
	assert_received(&c, "E 1 log", NULL);
}

static void test_client_message_errors(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, "junk");
	fake_conn_send(&a, "{\"cmd\":\"dance\",\"ref\":1}");
	fake_conn_send(&a, "{\"cmd\":\"init\",\"ref\":\"r\"}");
	assert_received(
		&a, ERROR("bad_message"), ERROR("unknown_command"), ERROR("bad_message"), NULL);
}

static void test_client_without_progress_is_closed(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	fake_ms += 10 * SLOW_TIMEOUT;
	fake_conn_congest(&a, 1);
	insert("u1", "log");
	fake_turn(&journal);
	tick(SLOW_TIMEOUT);
	assert_int_equal(a.closed, 0);
	tick(1);
	assert_int_equal(a.closed, CLOSE_TOO_SLOW);
	assert_int_equal(b.closed, 0);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, "E 1", NULL);
	assert_received(&b, "E 1", "E 2", NULL);
}

static void test_client_with_little_progress_is_not_closed(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 1);
	insert_len("u1", "log", 1000000);
	fake_turn(&journal);
	for (int i = 0; i < 10; i++) {
		tick(SLOW_TIMEOUT);
		fake_conn_drain(&a, 1);
	}
	assert_int_equal(a.closed, 0);
}

static void test_client_that_does_not_read_has_a_limited_queue(void **state)
{
	journal.answer_len = 1000;
	join(&a, "u1", NULL, V1);
	fake_conn_congest(&a, 0);
	for (int i = 0; i < 200; i++) {
		fake_conn_send(&a, "{\"cmd\":\"init\",\"type\":\"log\",\"ref\":1}");
		fake_conn_send(&a, "junk");
		fake_turn(&journal);
	}
	assert_true(a.client->reader.queued < SEND_BUFFER + 32 * 1200);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_int_equal(a.client->n_init_requests, 0);
	assert_int_equal(a.client->reader.queued, 0);
}

static void test_close_begins_with_the_oldest_clients(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	join(&c, "u2", NULL, PLAIN);
	hub_close(hub, 2, CLOSE_RESTART, "restart");
	assert_int_equal(a.closed, CLOSE_RESTART);
	assert_int_equal(b.closed, CLOSE_RESTART);
	assert_int_equal(c.closed, 0);
	hub_close(hub, 2, CLOSE_RESTART, "restart");
	assert_int_equal(c.closed, CLOSE_RESTART);
	insert("u1", "log");
	fake_conn_send(&a, INIT_LOG);
	fake_turn(&journal);
	assert_received(&a, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_client_limit_per_uid),
		TEST(test_client_gone_gets_nothing),
		TEST(test_client_gone_during_a_turn_leaves_the_others_their_events),
		TEST_WITHOUT_POSITION(test_client_without_a_position_gets_hello_first),
		TEST_WITHOUT_POSITION(test_client_without_a_position_starts_with_the_first_turn),
		TEST(test_client_plain_gets_no_control_message),
		TEST(test_client_message_errors),
		TEST(test_client_without_progress_is_closed),
		TEST(test_client_with_little_progress_is_not_closed),
		TEST(test_client_that_does_not_read_has_a_limited_queue),
		TEST(test_close_begins_with_the_oldest_clients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
