#include "unit.h"

#include <stdbool.h>
#include <stdio.h>

#include "clock.h"
#include "fake_conn.h"
#include "fake_journal.h"
#include "hub.h"
#include "state.h"

#define SEND_BUFFER 8192
#define SLOW_TIMEOUT 60000
#define PING_INTERVAL 25000

#define HELLO "{\"type\":\"pgcast\",\"op\":\"hello\",\"uid\":\"u1\",\"cursor\":\"1.0.0."
#define CURSOR "{\"type\":\"pgcast\",\"op\":\"cursor\",\"cursor\":\"1.0.0."
#define RESET "{\"type\":\"pgcast\",\"op\":\"reset\",\"reason\":"
#define ERROR "{\"type\":\"pgcast\",\"op\":\"error\",\"code\":"
#define ACK "{\"type\":\"pgcast\",\"op\":\"ack\",\"ref\":"

static struct settings settings;
static struct hub *hub;
static struct fake_journal journal;
static struct fake_conn a, b, c;
static uint64_t now;

/* The hub's clock stands still until a test moves it. */
uint64_t clock_ms(void)
{
	return now;
}

static void insert_len(const char *uid, size_t len)
{
	fake_journal_write(&journal, 1, uid, "log", false, len);
	fake_journal_commit(&journal, 1);
}

static void broadcast(void)
{
	fake_journal_write(&journal, 1, NULL, "log", true, 0);
	fake_journal_commit(&journal, 1);
}

static void resume(struct fake_conn *conn, const char *since, const struct protocol *protocol)
{
	const struct client_config request = {.uid = "u1", .since = since, .protocol = protocol};
	fake_conn_request(conn, hub, &request);
}

/* ---- who gets what ---- */

static void an_event_reaches_every_client_of_its_uid_and_nobody_else(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_join(&c, hub, "u2", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u3", "log");
	fake_turn(&journal);
	assert_got(&a, "E 1 log", NULL);
	assert_got(&b, "E 1 log", NULL);
	assert_got(&c, NULL);
}

static void events_of_a_turn_come_in_order_and_in_one_write(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_clog(&a, 1);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "chat");
	fake_turn(&journal);
	assert_true(a.congested);
	assert_got(&a, "E 1 log", "E 2 chat", NULL);
}

static void an_event_comes_once_however_many_turns_follow(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	fake_turn(&journal);
	assert_got(&a, "E 1 log", NULL);
}

static void one_that_becomes_visible_late_comes_late_but_comes(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_write(&journal, 1, "u1", "slow", false, 0);
	fake_journal_insert(&journal, "u1", "fast");
	fake_turn(&journal);
	assert_got(&a, "E 2 fast", NULL);
	fake_journal_commit(&journal, 1);
	fake_turn(&journal);
	assert_got(&a, "E 1 slow", NULL);
}

static void a_broadcast_reaches_everybody(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u2", "log", PLAIN);
	fake_conn_join(&c, hub, "u3", "chat", PLAIN);
	broadcast();
	fake_turn(&journal);
	assert_got(&a, "E 1 log", NULL);
	assert_got(&b, "E 1 log", NULL);
	assert_got(&c, NULL);
}

static void an_event_of_nobody_reaches_nobody(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, NULL, "log");
	fake_turn(&journal);
	assert_got(&a, NULL);
}

static void a_client_gets_the_types_that_it_asked_for(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", "log", PLAIN);
	fake_conn_join(&b, hub, "u1", "chat,logs", PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "logs");
	fake_turn(&journal);
	assert_got(&a, "E 1 log ", NULL);
	assert_got(&b, "E 2 logs ", NULL);
}

static void what_was_before_the_handshake_does_not_come(void **state)
{
	(void)state;
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_turn(&journal);
	assert_got(&a, NULL);
}

static void who_leaves_gets_nothing_more(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_leave(&a);
	assert_null(a.client);
	assert_int_equal(hub_clients(hub), 1);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, NULL);
	assert_got(&b, "E 1 log", NULL);
}

static void who_leaves_in_mid_turn_takes_nothing_from_the_others(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u2", NULL, PLAIN);
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_conn_say(&b, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u2", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_leave(&a);
	fake_turn_end(&journal);
	assert_got(&a, NULL);
	assert_got(&b, "E 2 log", "I log 2", NULL);
}

static void a_uid_has_only_so_many_clients(void **state)
{
	(void)state;
	settings.max_clients_per_uid = 2;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_join(&c, hub, "u1", NULL, PLAIN);
	assert_null(c.client);
	assert_int_equal(c.closed, CLOSE_TOO_MANY_CLIENTS);
	assert_int_equal(hub_clients(hub), 2);
	fake_conn_leave(&a);
	fake_conn_join(&c, hub, "u1", NULL, PLAIN);
	assert_non_null(c.client);
}

static void events_that_no_buffer_holds_all_arrive(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	for (int i = 0; i < 12; i++)
		insert_len("u1", 700000);
	fake_turn(&journal);
	assert_int_equal(a.n_got, 12);
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(a.got[i].len, 700000);
}

/* ---- control messages ---- */

static void a_v1_client_is_greeted_first_and_told_a_cursor_after_each_batch(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	assert_got(&a, HELLO "0\",\"resumed\":false", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, "E 1", "E 2", CURSOR "2\"", NULL);
	fake_journal_insert(&journal, "u2", "log");
	fake_turn(&journal);
	assert_got(&a, NULL);
}

static void a_quiet_v1_client_is_told_each_new_cursor_once_in_a_while(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	fake_journal_insert(&journal, "u2", "log");
	fake_turn(&journal);
	a.n_got = 0;
	now += PING_INTERVAL;
	hub_tick(hub);
	assert_got(&a, CURSOR "1\"", NULL);
	now += PING_INTERVAL;
	hub_tick(hub);
	assert_got(&a, NULL);
}

/* The cursor behind a batch that came without a new position counts for that position only. */
static void a_cursor_told_twice_does_not_stand_for_the_next_one(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	fake_turn_plan(&journal);
	hub_publish(hub, "u1", "P", 1, "log");
	fake_turn_end(&journal);
	fake_journal_insert(&journal, "u2", "log");
	fake_turn(&journal);
	a.n_got = 0;
	now += PING_INTERVAL;
	hub_tick(hub);
	assert_got(&a, CURSOR "1\"", NULL);
}

static void a_plain_client_never_gets_a_control_message(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	resume(&b, "2.0.0.0", PLAIN);
	resume(&c, "junk", PLAIN);
	fake_conn_say(&a, "junk");
	fake_conn_say(&a, "{\"cmd\":\"dance\",\"ref\":1}");
	fake_conn_say(&a, "{\"cmd\":\"init\"}");
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"unknown\",\"ref\":2}");
	fake_journal_insert(&journal, "u1", "log");
	fake_turns(&journal);
	fake_turn(&journal);
	now += PING_INTERVAL;
	hub_tick(hub);
	assert_got(&a, "E 1 log", NULL);
}

static void what_is_wrong_with_a_message_is_said(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	a.n_got = 0;
	fake_conn_say(&a, "junk");
	fake_conn_say(&a, "{\"cmd\":\"dance\",\"ref\":1}");
	fake_conn_say(&a, "{\"cmd\":\"init\",\"ref\":\"r\"}");
	assert_got(&a, ERROR "\"bad_message\"", ERROR "\"unknown_command\"",
		ERROR "\"bad_message\"", NULL);
}

/* ---- init ---- */

static void an_answer_to_init_stands_exactly_where_its_snapshot_is(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	assert_true(journal.wanted);
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn_end(&journal);
	fake_turn(&journal);
	assert_got(&a, "E 1", "I log 1", "E 2", NULL);
}

static void an_init_is_answered_to_all_who_asked_and_to_nobody_else(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_join(&c, hub, "u1", NULL, PLAIN);
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_conn_say(&b, "{\"cmd\":\"init\",\"type\":\"log\"}");
	const struct plan *plan = hub_turn_plan(hub);
	assert_int_equal(plan->n_init_queries, 1);
	assert_string_equal(plan->init_queries[0].type, "log");
	assert_string_equal(plan->init_queries[0].uid, "u1");
	hub_turn_abort(hub);
	fake_turn(&journal);
	assert_got(&a, "I log", NULL);
	assert_got(&b, "I log", NULL);
	assert_got(&c, NULL);
}

static void an_init_with_a_ref_is_acknowledged(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	a.n_got = 0;
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\",\"ref\":[7]}");
	fake_turn(&journal);
	assert_got(&a, "I log", ACK "[7]", NULL);
}

static void a_type_that_is_not_known_is_an_error(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	a.n_got = 0;
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"unknown\",\"ref\":7}");
	fake_turn(&journal);
	assert_got(&a, ERROR "\"unknown_type\"", NULL);
	assert_int_equal(a.client->n_init_requests, 0);
}

static void an_init_that_came_during_a_turn_waits_for_the_next(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_turn_end(&journal);
	assert_got(&a, "E 1", NULL);
	assert_true(journal.wanted);
	fake_turn(&journal);
	assert_got(&a, "I log 1", NULL);
}

static void an_init_outlives_a_turn_that_breaks_off(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 0);
	fake_turn_abort(&journal);
	fake_turn(&journal);
	assert_got(&a, "I log 0", NULL);
}

static void more_wishes_than_a_turn_takes_are_all_answered(void **state)
{
	(void)state;
	static struct fake_conn many[MAX_INIT_QUERIES + 50];
	char uid[8];
	for (size_t i = 0; i < MAX_INIT_QUERIES + 50; i++) {
		snprintf(uid, sizeof(uid), "w%zu", i);
		fake_conn_join(&many[i], hub, uid, NULL, PLAIN);
		fake_conn_say(&many[i], "{\"cmd\":\"init\",\"type\":\"log\"}");
	}
	fake_turns(&journal);
	for (size_t i = 0; i < MAX_INIT_QUERIES + 50; i++) {
		assert_got(&many[i], "I log", NULL);
		fake_conn_clear(&many[i]);
	}
	assert_int_equal(journal.turns, 2);
}

static void who_asks_for_too_much_is_told_to_wait(void **state)
{
	(void)state;
	char text[64];
	fake_conn_join(&a, hub, "u1", NULL, V1);
	a.n_got = 0;
	for (int i = 0; i < 33; i++) {
		snprintf(text, sizeof(text), "{\"cmd\":\"init\",\"type\":\"t%d\"}", i);
		fake_conn_say(&a, text);
	}
	assert_got(&a, ERROR "\"too_many_requests\"", NULL);
	fake_turn(&journal);
	assert_int_equal(a.n_got, 32);
}

/* ---- joining before and during turns ---- */

static void who_joins_in_mid_turn_gets_all_of_that_turn(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_conn_join(&b, hub, "u1", NULL, V1);
	fake_turn_end(&journal);
	assert_got(&a, "E 1", "E 2", NULL);
	assert_got(&b, HELLO "0\"", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_turns(&journal);
	assert_got(&b, "E 1", "E 2", "E 3", CURSOR "3\"", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&b, "E 4", CURSOR "4\"", NULL);
}

static void who_joins_before_the_first_turn_starts_with_it(void **state)
{
	(void)state;
	struct hub *fresh = hub_create(&settings);
	struct fake_journal its;
	fake_journal_init(&its, fresh);
	fake_journal_insert(&its, "u1", "log");
	fake_conn_join(&a, fresh, "u1", NULL, V1);
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	assert_true(its.wanted);
	fake_turns(&its);
	fake_journal_insert(&its, "u1", "log");
	fake_turn(&its);
	assert_got(&a, HELLO "1\"", "I log 1", "E 2", CURSOR "2\"", NULL);
	fake_conn_leave(&a);
	fake_journal_finish(&its);
	hub_destroy(&fresh);
}

static void whatever_is_for_a_client_comes_behind_its_hello(void **state)
{
	(void)state;
	struct hub *fresh = hub_create(&settings);
	struct fake_journal its;
	fake_journal_init(&its, fresh);
	fake_conn_join(&a, fresh, "u1", NULL, V1);
	fake_conn_say(&a, "junk");
	hub_publish(fresh, "u1", "P 1", 3, "log");
	assert_got(&a, NULL);
	fake_turns(&its);
	assert_got(&a, HELLO "0\"", ERROR "\"bad_message\"", "P 1", NULL);
	fake_conn_leave(&a);
	fake_journal_finish(&its);
	hub_destroy(&fresh);
}

/* ---- resuming ---- */

static void who_resumes_gets_what_it_missed(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u2", "log");
	fake_turn(&journal);
	resume(&a, "1.0.0.1", V1);
	fake_turns(&journal);
	assert_got(&a, HELLO "1\",\"resumed\":true", "E 2", "E 3", CURSOR "4\"", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, "E 5", CURSOR "5\"", NULL);
}

static void who_resumes_with_nothing_missed_is_live(void **state)
{
	(void)state;
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	resume(&a, "1.0.0.1", V1);
	fake_turns(&journal);
	assert_true(audience_is_live(a.client->audience));
	assert_got(&a, HELLO "1\",\"resumed\":true", CURSOR "1\"", NULL);
}

static void who_missed_more_than_a_page_gets_it_page_by_page(void **state)
{
	(void)state;
	const size_t many = 5000;
	for (size_t i = 0; i < many; i++)
		fake_journal_write(&journal, 1, "u1", "log", false, 0);
	fake_journal_commit(&journal, 1);
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	unsigned turns = journal.turns;
	fake_turns(&journal);
	assert_true(journal.turns - turns > 2);
	assert_int_equal(a.n_got, many);
	for (size_t i = 0; i < many; i++)
		assert_int_equal(strtoul(a.got[i].head + 2, NULL, 10), i + 1);
	assert_true(audience_is_live(a.client->audience));
}

static void a_cursor_that_does_not_hold_is_a_reset(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	journal.pruned = 2;
	resume(&a, "2.0.0.3", V1);
	resume(&b, "1.0.0.1", V1);
	resume(&c, "1.0.0.9", V1);
	fake_turns(&journal);
	assert_got(&a, HELLO "3\",\"resumed\":false", RESET "\"epoch\"", NULL);
	assert_got(&b, HELLO "3\",\"resumed\":false", RESET "\"pruned\"", NULL);
	assert_got(&c, HELLO "3\",\"resumed\":false", RESET "\"cursor\"", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, "E 4", CURSOR "4\"", NULL);
}

static void who_is_ahead_of_a_standby_waits_for_it(void **state)
{
	(void)state;
	journal.lags = true;
	fake_journal_insert(&journal, "u1", "log");
	resume(&a, "1.0.0.2", V1);
	fake_turn(&journal);
	fake_turn(&journal);
	assert_got(&a, NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, HELLO "2\",\"resumed\":true", "E 3", CURSOR "3\"", NULL);
	assert_true(audience_is_live(a.client->audience));
}

static void who_is_ahead_of_a_standby_for_long_is_reset(void **state)
{
	(void)state;
	journal.lags = true;
	resume(&a, "1.0.0.2", V1);
	fake_turn(&journal);
	assert_got(&a, NULL);
	now += 5000;
	fake_turn(&journal);
	assert_got(&a, HELLO "0\",\"resumed\":false", RESET "\"cursor\"", NULL);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, "E 1", CURSOR "1\"", NULL);
}

static void what_is_no_cursor_is_a_reset_at_once(void **state)
{
	(void)state;
	resume(&a, "'; drop table log", V1);
	assert_got(&a, HELLO "0\",\"resumed\":false", RESET "\"cursor\"", NULL);
	assert_true(audience_is_live(a.client->audience));
}

/* ---- slow clients ---- */

static void who_is_too_slow_gets_the_rest_from_the_journal(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_clog(&a, 0);
	for (int i = 0; i < 4; i++) {
		insert_len("u1", SEND_BUFFER / 3);
		fake_turn(&journal);
	}
	assert_false(audience_is_live(a.client->audience));
	assert_int_equal(a.client->reader.queued, 0);
	assert_got(&b, "E 1", "E 2", "E 3", "E 4", NULL);
	assert_got(&a, NULL);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_got(&a, "E 1", "E 2", "E 3", "E 4", NULL);
	assert_true(audience_is_live(a.client->audience));
}

static void who_is_only_a_little_slow_stays_live(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_clog(&a, 0);
	insert_len("u1", SEND_BUFFER / 2);
	fake_turn(&journal);
	assert_true(audience_is_live(a.client->audience));
	assert_got(&a, NULL);
	fake_conn_drain(&a, 0);
	assert_got(&a, "E 1", NULL);
	assert_false(journal.wanted);
}

static void a_message_that_is_half_written_is_finished_first(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_clog(&a, 1);
	insert_len("u1", 200000);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_true(a.in_message);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_got(&a, "E 1", "E 2", NULL);
	assert_int_equal(a.got[0].len, 200000);
}

static void who_catches_up_slowly_is_given_more_when_it_can_take_it(void **state)
{
	(void)state;
	for (int i = 0; i < 40; i++)
		insert_len("u1", SEND_BUFFER);
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	for (int i = 0; i < 100 && a.n_got < 40; i++) {
		fake_conn_clog(&a, 1);
		fake_turns(&journal);
		fake_conn_drain(&a, 1);
	}
	assert_int_equal(a.n_got, 40);
}

static void who_takes_nothing_for_too_long_is_closed(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	now += 10 * SLOW_TIMEOUT;
	fake_conn_clog(&a, 1);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	now += SLOW_TIMEOUT;
	hub_tick(hub);
	assert_int_equal(a.closed, 0);
	now++;
	hub_tick(hub);
	assert_int_equal(a.closed, CLOSE_TOO_SLOW);
	assert_int_equal(b.closed, 0);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, "E 1", NULL);
	assert_got(&b, "E 1", "E 2", NULL);
}

static void who_takes_a_little_now_and_then_is_not_closed(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_clog(&a, 1);
	insert_len("u1", 1000000);
	fake_turn(&journal);
	for (int i = 0; i < 10; i++) {
		now += SLOW_TIMEOUT;
		hub_tick(hub);
		fake_conn_drain(&a, 1);
	}
	assert_int_equal(a.closed, 0);
}

static void who_asks_and_never_reads_costs_only_so_much(void **state)
{
	(void)state;
	journal.answer_len = 1000;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	fake_conn_clog(&a, 0);
	for (int i = 0; i < 200; i++) {
		fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\",\"ref\":1}");
		fake_conn_say(&a, "junk");
		fake_turn(&journal);
	}
	assert_true(a.client->reader.queued < SEND_BUFFER + 32 * 1200);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_int_equal(a.client->n_init_requests, 0);
	assert_int_equal(a.client->reader.queued, 0);
}

static void a_broken_connection_harms_nobody(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	a.broken = true;
	for (int i = 0; i < 3; i++) {
		insert_len("u1", SEND_BUFFER);
		fake_turn(&journal);
	}
	fake_conn_leave(&a);
	fake_turns(&journal);
	assert_got(&b, "E 1", "E 2", "E 3", NULL);
}

/* ---- turns that break off ---- */

static void what_a_broken_turn_told_is_told_again_and_comes_once(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_turn_abort(&journal);
	assert_got(&a, NULL);
	fake_turn(&journal);
	assert_got(&a, "E 1", "E 2", NULL);
}

static void what_a_broken_turn_has_written_comes_once_too(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u2", NULL, PLAIN);
	for (int i = 0; i < 10; i++)
		insert_len("u1", 1000000);
	fake_journal_insert(&journal, "u2", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 8);
	assert_true(a.n_got > 0 && a.n_got < 10);
	fake_turn_abort(&journal);
	insert_len("u1", 0);
	fake_turns(&journal);
	fake_turn(&journal);
	assert_got(&a, "E 1 ", "E 2 ", "E 3 ", "E 4 ", "E 5 ", "E 6 ", "E 7 ", "E 8 ", "E 9 ",
		"E 10 ", "E 12 ", NULL);
	assert_got(&b, "E 11 ", NULL);
}

/* ---- when history went another way ---- */

static void after_a_rewind_clients_are_told_and_go_on(void **state)
{
	(void)state;
	struct position *holds = position_create("1.0.0.1", "1.0.0.1");
	fake_conn_join(&a, hub, "u1", NULL, V1);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	a.n_got = b.n_got = 0;
	fake_journal_lose(&journal, 1);
	hub_rewind(hub, holds);
	position_unref(&holds);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn(&journal);
	assert_got(&a, RESET "\"cursor\"", "E 3", CURSOR "2\"", NULL);
	assert_got(&b, "E 3", NULL);
}

static void while_no_position_is_known_no_cursor_is_told(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, V1);
	a.n_got = 0;
	hub_rewind(hub, NULL);
	now += PING_INTERVAL;
	hub_tick(hub);
	assert_got(&a, RESET "\"cursor\"", NULL);
}

/* ---- published, and the end ---- */

static void what_is_published_goes_out_at_once_to_its_uid(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u2", NULL, PLAIN);
	fake_conn_join(&c, hub, "u1", "log", PLAIN);
	hub_publish(hub, "u1", "P 1", 3, "chat");
	hub_publish(hub, "stranger", "P 2", 3, "chat");
	assert_got(&a, "P 1", NULL);
	assert_got(&b, NULL);
	assert_got(&c, NULL);
}

static void what_is_published_during_a_turn_comes_once(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_journal_insert(&journal, "u1", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	hub_publish(hub, "u1", "P 1", 3, "chat");
	fake_turn_end(&journal);
	assert_got(&a, "E 1", "P 1", NULL);
}

static void at_the_end_all_are_told_the_oldest_first(void **state)
{
	(void)state;
	fake_conn_join(&a, hub, "u1", NULL, PLAIN);
	fake_conn_join(&b, hub, "u1", NULL, PLAIN);
	fake_conn_join(&c, hub, "u2", NULL, PLAIN);
	hub_close(hub, 2, CLOSE_RESTART, "restart");
	assert_int_equal(a.closed, CLOSE_RESTART);
	assert_int_equal(b.closed, CLOSE_RESTART);
	assert_int_equal(c.closed, 0);
	hub_close(hub, 2, CLOSE_RESTART, "restart");
	assert_int_equal(c.closed, CLOSE_RESTART);
	fake_journal_insert(&journal, "u1", "log");
	fake_conn_say(&a, "{\"cmd\":\"init\",\"type\":\"log\"}");
	fake_turn(&journal);
	assert_got(&a, NULL);
}

/* ---- */

static int set_up(void **state)
{
	(void)state;
	now = 1000000;
	settings = (struct settings){
		.send_buffer = SEND_BUFFER,
		.slow_timeout = SLOW_TIMEOUT,
		.ping_interval = PING_INTERVAL,
	};
	hub = hub_create(&settings);
	fake_journal_init(&journal, hub);
	fake_turn(&journal);
	hub_tick(hub);
	journal.turns = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fake_conn_clear(&a);
	fake_conn_clear(&b);
	fake_conn_clear(&c);
	fake_journal_finish(&journal);
	int left = hub_clients(hub) != 0;
	hub_destroy(&hub);
	return left;
}

#define HUB_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HUB_TEST(an_event_reaches_every_client_of_its_uid_and_nobody_else),
		HUB_TEST(events_of_a_turn_come_in_order_and_in_one_write),
		HUB_TEST(an_event_comes_once_however_many_turns_follow),
		HUB_TEST(one_that_becomes_visible_late_comes_late_but_comes),
		HUB_TEST(a_broadcast_reaches_everybody),
		HUB_TEST(an_event_of_nobody_reaches_nobody),
		HUB_TEST(a_client_gets_the_types_that_it_asked_for),
		HUB_TEST(what_was_before_the_handshake_does_not_come),
		HUB_TEST(who_leaves_gets_nothing_more),
		HUB_TEST(who_leaves_in_mid_turn_takes_nothing_from_the_others),
		HUB_TEST(a_uid_has_only_so_many_clients),
		HUB_TEST(events_that_no_buffer_holds_all_arrive),
		HUB_TEST(a_v1_client_is_greeted_first_and_told_a_cursor_after_each_batch),
		HUB_TEST(a_quiet_v1_client_is_told_each_new_cursor_once_in_a_while),
		HUB_TEST(a_cursor_told_twice_does_not_stand_for_the_next_one),
		HUB_TEST(a_plain_client_never_gets_a_control_message),
		HUB_TEST(what_is_wrong_with_a_message_is_said),
		HUB_TEST(an_answer_to_init_stands_exactly_where_its_snapshot_is),
		HUB_TEST(an_init_is_answered_to_all_who_asked_and_to_nobody_else),
		HUB_TEST(an_init_with_a_ref_is_acknowledged),
		HUB_TEST(a_type_that_is_not_known_is_an_error),
		HUB_TEST(an_init_that_came_during_a_turn_waits_for_the_next),
		HUB_TEST(an_init_outlives_a_turn_that_breaks_off),
		HUB_TEST(more_wishes_than_a_turn_takes_are_all_answered),
		HUB_TEST(who_asks_for_too_much_is_told_to_wait),
		HUB_TEST(who_joins_in_mid_turn_gets_all_of_that_turn),
		HUB_TEST(who_joins_before_the_first_turn_starts_with_it),
		HUB_TEST(whatever_is_for_a_client_comes_behind_its_hello),
		HUB_TEST(who_resumes_gets_what_it_missed),
		HUB_TEST(who_resumes_with_nothing_missed_is_live),
		HUB_TEST(who_missed_more_than_a_page_gets_it_page_by_page),
		HUB_TEST(a_cursor_that_does_not_hold_is_a_reset),
		HUB_TEST(who_is_ahead_of_a_standby_waits_for_it),
		HUB_TEST(who_is_ahead_of_a_standby_for_long_is_reset),
		HUB_TEST(what_is_no_cursor_is_a_reset_at_once),
		HUB_TEST(who_is_too_slow_gets_the_rest_from_the_journal),
		HUB_TEST(who_is_only_a_little_slow_stays_live),
		HUB_TEST(a_message_that_is_half_written_is_finished_first),
		HUB_TEST(who_catches_up_slowly_is_given_more_when_it_can_take_it),
		HUB_TEST(who_takes_nothing_for_too_long_is_closed),
		HUB_TEST(who_takes_a_little_now_and_then_is_not_closed),
		HUB_TEST(who_asks_and_never_reads_costs_only_so_much),
		HUB_TEST(a_broken_connection_harms_nobody),
		HUB_TEST(what_a_broken_turn_told_is_told_again_and_comes_once),
		HUB_TEST(what_a_broken_turn_has_written_comes_once_too),
		HUB_TEST(after_a_rewind_clients_are_told_and_go_on),
		HUB_TEST(while_no_position_is_known_no_cursor_is_told),
		HUB_TEST(what_is_published_goes_out_at_once_to_its_uid),
		HUB_TEST(what_is_published_during_a_turn_comes_once),
		HUB_TEST(at_the_end_all_are_told_the_oldest_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
