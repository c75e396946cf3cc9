/* Commands of clients besides init: stop and ping. */
#include "hub_fixture.h"

static void test_stop_ends_a_type(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn(&journal);
	fake_conn_send(&a, STOP_LOG);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turns(&journal);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn(&journal);
	assert_received(&a, "E 1 log", "E 2 chat", "E 4 chat", "E 6 chat", NULL);
}

static void test_stop_of_one_client_leaves_the_others_theirs(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	fake_conn_send(&a, STOP_LOG);
	insert("u1", "log");
	fake_turns(&journal);
	assert_received(&a, NULL);
	assert_received(&b, "E 1 log", NULL);
}

static void test_stop_of_several_types(void **state)
{
	join(&a, "u1", "log,chat,news", PLAIN);
	fake_conn_send(&a, "{\"cmd\":\"stop\",\"types\":[\"log\",\"other\",\"news\"]}");
	fake_turns(&journal);
	insert("u1", "log");
	insert("u1", "chat");
	insert("u1", "news");
	fake_turn(&journal);
	assert_received(&a, "E 2 chat", NULL);
	fake_conn_send(&a, "{\"cmd\":\"stop\",\"type\":\"chat\"}");
	insert("u1", "chat");
	fake_turns(&journal);
	fake_turn(&journal);
	assert_received(&a, NULL);
}

static void test_stop_during_a_turn_leaves_other_types_whole(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_send(&a, STOP_LOG);
	fake_turn_end(&journal);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turns(&journal);
	assert_received(&a, "E 2 chat", "E 4 chat", NULL);
}

static void test_stop_while_catching_up(void **state)
{
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	fake_conn_send(&a, STOP_LOG);
	fake_turns(&journal);
	assert_received(&a, "E 2 chat", NULL);
}

static void test_stop_drops_requests_of_the_type(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, INIT_LOG);
	fake_conn_send(&a, "{\"cmd\":\"init\",\"type\":\"chat\"}");
	fake_conn_send(&a, "{\"cmd\":\"stop\",\"type\":\"log\",\"ref\":1}");
	fake_turns(&journal);
	assert_received(&a, ACK("1"), CURSOR("0"), "I chat", NULL);
}

static void test_stop_of_a_client_that_leaves_in_the_turn(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_turn_plan(&journal);
	fake_conn_send(&a, STOP_LOG);
	fake_conn_leave(&a);
	fake_turn_end(&journal);
	assert_int_equal(hub_clients(hub), 0);
}

static void test_stop_without_a_type_is_an_error(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, "{\"cmd\":\"stop\"}");
	assert_received(&a, ERROR("bad_message"), NULL);
}

static void test_types_of_the_handshake_exclude_nothing(void **state)
{
	join(&a, "u1", ",log", PLAIN);
	insert("u1", "log");
	insert("u1", "chat");
	fake_turn(&journal);
	assert_received(&a, "E 1 log", NULL);
}

static void test_ping_is_answered_in_kind(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_send(&a, "ping");
	fake_conn_send(&a, "{\"cmd\":\"ping\",\"ref\":2}");
	assert_received(&a, "pong", CONTROL("pong", "\"ref\":2}"), NULL);
	join_v1(&b);
	fake_conn_send(&b, "ping");
	fake_conn_send(&b, "{\"cmd\":\"ping\"}");
	assert_received(&b, "pong", "{\"type\":\"pgcast\",\"op\":\"pong\"}", NULL);
}

static void test_init_of_several_types_is_acknowledged_once(void **state)
{
	join_v1(&a);
	fake_conn_send(&a, "{\"cmd\":\"init\",\"types\":[\"log\",\"chat\"],\"ref\":3}");
	fake_turns(&journal);
	assert_received(&a, "I log", "I chat", ACK("3"), NULL);
}

static void test_init_of_the_handshake(void **state)
{
	const struct client_config config = {.uid = "u1", .init = "log,chat", .protocol = PLAIN};
	insert("u1", "log");
	fake_turn(&journal);
	fake_conn_join(&a, hub, &config);
	insert("u1", "log");
	fake_turns(&journal);
	assert_received(&a, "E 2 log", "I log 2", "I chat 2", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stop_ends_a_type),
		TEST(test_stop_of_one_client_leaves_the_others_theirs),
		TEST(test_stop_of_several_types),
		TEST(test_stop_during_a_turn_leaves_other_types_whole),
		TEST(test_stop_while_catching_up),
		TEST(test_stop_drops_requests_of_the_type),
		TEST(test_stop_of_a_client_that_leaves_in_the_turn),
		TEST(test_stop_without_a_type_is_an_error),
		TEST(test_types_of_the_handshake_exclude_nothing),
		TEST(test_ping_is_answered_in_kind),
		TEST(test_init_of_several_types_is_acknowledged_once),
		TEST(test_init_of_the_handshake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
