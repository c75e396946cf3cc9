/* Delivery: which events, published messages and cursors a client gets, and when. */
#include "hub_fixture.h"

static void test_event_reaches_all_clients_of_its_uid(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	join(&c, "u2", NULL, PLAIN);
	insert("u1", "log");
	insert("u3", "log");
	insert(NULL, "log");
	fake_turn(&journal);
	assert_received(&a, "E 1 log", NULL);
	assert_received(&b, "E 1 log", NULL);
	assert_received(&c, NULL);
}

static void test_events_of_a_turn_are_written_at_once(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 1);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn(&journal);
	assert_true(a.congested);
	assert_received(&a, "E 1 log", "E 2 chat", NULL);
}

static void test_event_committed_late_arrives_once(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_journal_write(&journal, 1, "u1", "slow", false, 0);
	insert("u1", "fast");
	fake_turn(&journal);
	assert_received(&a, "E 2 fast", NULL);
	fake_journal_commit(&journal, 1);
	fake_turn(&journal);
	fake_turn(&journal);
	assert_received(&a, "E 1 slow", NULL);
}

static void test_event_before_the_handshake_is_not_sent(void **state)
{
	insert("u1", "log");
	fake_turn(&journal);
	join(&a, "u1", NULL, PLAIN);
	fake_turn(&journal);
	assert_received(&a, NULL);
}

static void test_event_reaches_clients_that_want_its_type(void **state)
{
	join(&a, "u1", "log", PLAIN);
	join(&b, "u1", "chat,logs", PLAIN);
	insert("u1", "log");
	insert("u1", "logs");
	fake_turn(&journal);
	assert_received(&a, "E 1 log ", NULL);
	assert_received(&b, "E 2 logs ", NULL);
}

static void test_broadcast_reaches_all_uids(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u2", "log", PLAIN);
	join(&c, "u3", "chat", PLAIN);
	fake_journal_write(&journal, 1, NULL, "log", true, 0);
	fake_journal_commit(&journal, 1);
	fake_turn(&journal);
	assert_received(&a, "E 1 log", NULL);
	assert_received(&b, "E 1 log", NULL);
	assert_received(&c, NULL);
}

/* More bytes than one flush. */
static void test_events_of_a_large_turn_arrive_whole(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	for (int i = 0; i < 12; i++)
		insert_len("u1", "log", 700000);
	fake_turn(&journal);
	assert_int_equal(a.n_received, 12);
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(a.received[i].len, 700000);
}

static void test_delivery_continues_beside_a_broken_connection(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	a.broken = true;
	for (int i = 0; i < 3; i++) {
		insert_len("u1", "log", SEND_BUFFER);
		fake_turn(&journal);
	}
	fake_conn_leave(&a);
	fake_turns(&journal);
	assert_received(&b, "E 1", "E 2", "E 3", NULL);
}

static void test_cursor_follows_each_batch(void **state)
{
	join(&a, "u1", NULL, V1);
	assert_received(&a, HELLO("0", "false"), NULL);
	insert("u1", "log");
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, "E 1", "E 2", CURSOR("2"), NULL);
	tick(PING_INTERVAL);
	assert_received(&a, NULL);
	insert("u2", "log");
	fake_turn(&journal);
	assert_received(&a, NULL);
}

static void test_cursor_is_sent_once_to_an_idle_client(void **state)
{
	join_v1(&a);
	insert("u2", "log");
	fake_turn(&journal);
	tick(PING_INTERVAL - 1);
	assert_received(&a, NULL);
	tick(1);
	assert_received(&a, CURSOR("1"), NULL);
	tick(PING_INTERVAL);
	assert_received(&a, NULL);
}

/* The cursor behind a batch that came without a new position counts for that position only. */
static void test_cursor_of_an_old_position_does_not_replace_the_next(void **state)
{
	join_v1(&a);
	fake_turn_plan(&journal);
	hub_publish(hub, "u1", "P", 1, "log");
	fake_turn_end(&journal);
	assert_received(&a, "P", CURSOR("0"), NULL);
	insert("u2", "log");
	fake_turn(&journal);
	tick(PING_INTERVAL);
	assert_received(&a, CURSOR("1"), NULL);
}

static void test_publish_is_sent_at_once_to_its_uid(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u2", NULL, PLAIN);
	join(&c, "u1", "log", PLAIN);
	hub_publish(hub, "u1", "P 1", 3, "chat");
	hub_publish(hub, "stranger", "P 2", 3, "chat");
	assert_received(&a, "P 1", NULL);
	assert_received(&b, NULL);
	assert_received(&c, NULL);
}

static void test_publish_during_a_turn_is_sent_once(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert("u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	hub_publish(hub, "u1", "P 1", 3, "chat");
	fake_turn_end(&journal);
	assert_received(&a, "E 1", "P 1", NULL);
}

static void test_publish_before_a_join_is_not_sent(void **state)
{
	fake_turn_plan(&journal);
	join(&a, "u1", NULL, PLAIN);
	hub_publish(hub, "u1", "P 1", 3, "chat");
	join(&b, "u1", NULL, PLAIN);
	fake_turn_end(&journal);
	fake_turns(&journal);
	assert_received(&a, "P 1", NULL);
	assert_received(&b, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_event_reaches_all_clients_of_its_uid),
		TEST(test_events_of_a_turn_are_written_at_once),
		TEST(test_event_committed_late_arrives_once),
		TEST(test_event_before_the_handshake_is_not_sent),
		TEST(test_event_reaches_clients_that_want_its_type),
		TEST(test_broadcast_reaches_all_uids),
		TEST(test_events_of_a_large_turn_arrive_whole),
		TEST(test_delivery_continues_beside_a_broken_connection),
		TEST(test_cursor_follows_each_batch),
		TEST(test_cursor_is_sent_once_to_an_idle_client),
		TEST(test_cursor_of_an_old_position_does_not_replace_the_next),
		TEST(test_publish_is_sent_at_once_to_its_uid),
		TEST(test_publish_during_a_turn_is_sent_once),
		TEST(test_publish_before_a_join_is_not_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
