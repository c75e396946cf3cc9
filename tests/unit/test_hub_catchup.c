/* Catching up from the journal: after joining during a turn, resuming, falling behind, an aborted
 * turn, and lost history. */
#include "hub_fixture.h"

#include <stdio.h>

static void insert_many(int n, size_t len)
{
	for (int i = 0; i < n; i++)
		insert_len("u1", "log", len);
}

static void test_join_during_a_turn_gets_all_of_its_events(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert_many(2, 0);
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	join(&b, "u1", NULL, V1);
	fake_turn_end(&journal);
	assert_received(&a, "E 1", "E 2", NULL);
	assert_received(&b, HELLO("0", "false"), NULL);
	insert("u1", "log");
	fake_turns(&journal);
	assert_received(&b, "E 1", "E 2", "E 3", CURSOR("3"), NULL);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&b, "E 4", CURSOR("4"), NULL);
}

static void test_resume_gets_the_missed_events(void **state)
{
	insert_many(3, 0);
	insert("u2", "log");
	fake_turn(&journal);
	resume(&a, "1.0.0.1", V1);
	resume(&b, "1.0.0.4", V1);
	fake_turns(&journal);
	assert_received(&a, HELLO("1", "true"), "E 2", "E 3", CURSOR("4"), NULL);
	assert_received(&b, HELLO("4", "true"), CURSOR("4"), NULL);
	assert_true(audience_is_live(a.client->audience));
	assert_ptr_equal(a.client->audience, b.client->audience);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, "E 5", CURSOR("5"), NULL);
}

static void test_resume_reads_page_by_page(void **state)
{
	const size_t many = 40000;
	for (size_t i = 0; i < many; i++)
		fake_journal_write(&journal, 1, "u1", "log", false, 0);
	fake_journal_commit(&journal, 1);
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	unsigned turns = journal.turns;
	fake_turns(&journal);
	assert_true(journal.turns - turns > 2);
	assert_int_equal(a.n_received, many);
	for (size_t i = 0; i < many; i++)
		assert_int_equal(strtoul(a.received[i].head + 2, NULL, 10), i + 1);
	assert_true(audience_is_live(a.client->audience));
}

/* Turns broke off for reasons of their own: pages are as large as before soon after. */
static void test_page_size_recovers_from_aborted_turns(void **state)
{
	insert_many(5000, 0);
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	for (int i = 0; i < 8; i++)
		hub_turn_plan(hub), hub_turn_abort(hub);
	assert_int_equal(hub_turn_plan(hub)->page_events, 8);
	hub_turn_abort(hub);
	for (int i = 0; i < 8; i++) {
		fake_turn_plan(&journal);
		fake_ms += 100;
		fake_turn_end(&journal);
	}
	assert_true(hub_turn_plan(hub)->page_events >= 1024);
	hub_turn_abort(hub);
}

/* After a turn with many pages no page is read for the time that it took. */
static void test_resume_beyond_the_pages_of_a_turn_waits_for_a_pause(void **state)
{
	static struct fake_conn many[MAX_PAGES];
	insert("u1", "log");
	for (size_t i = 0; i < LENGTH(many); i++) {
		char uid[8];
		snprintf(uid, sizeof(uid), "m%zu", i);
		const struct client_config config = {
			.uid = uid, .since = "1.0.0.0", .protocol = V1};
		fake_conn_join(&many[i], hub, &config);
	}
	resume(&a, "1.0.0.0", PLAIN);
	fake_turn_plan(&journal);
	fake_ms += 20;
	fake_turn_end(&journal);
	assert_true(journal.wanted);
	fake_ms += 19;
	fake_turn(&journal);
	assert_true(hub_pages_postponed(hub));
	assert_received(&a, NULL);
	fake_ms += 1;
	fake_turn(&journal);
	assert_false(hub_pages_postponed(hub));
	assert_received(&a, "E 1", NULL);
	for (size_t i = 0; i < LENGTH(many); i++) {
		assert_int_equal(many[i].n_received, 2);
		fake_conn_clear(&many[i]);
	}
}

static void test_resume_from_an_invalid_cursor_is_reset(void **state)
{
	insert_many(3, 0);
	fake_turn(&journal);
	journal.pruned = 2;
	resume(&a, "2.0.0.3", V1);
	resume(&b, "1.0.0.1", V1);
	resume(&c, "1.0.0.9", V1);
	fake_turns(&journal);
	assert_received(&a, HELLO("3", "false"), RESET("epoch"), NULL);
	assert_received(&b, HELLO("3", "false"), RESET("pruned"), NULL);
	assert_received(&c, HELLO("3", "false"), RESET("cursor"), NULL);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, "E 4", CURSOR("4"), NULL);
}

static void test_resume_from_a_malformed_cursor_is_reset_at_once(void **state)
{
	resume(&a, "'; drop table log", V1);
	assert_received(&a, HELLO("0", "false"), RESET("cursor"), NULL);
	assert_true(audience_is_live(a.client->audience));
}

static void test_resume_ahead_of_a_standby_waits_for_it(void **state)
{
	journal.lags = true;
	insert("u1", "log");
	resume(&a, "1.0.0.2", V1);
	fake_turn(&journal);
	fake_turn(&journal);
	assert_received(&a, NULL);
	insert_many(2, 0);
	fake_turn(&journal);
	assert_received(&a, HELLO("2", "true"), "E 3", CURSOR("3"), NULL);
	assert_true(audience_is_live(a.client->audience));
}

static void test_resume_ahead_of_a_standby_is_reset_after_a_timeout(void **state)
{
	journal.lags = true;
	resume(&a, "1.0.0.2", V1);
	fake_turn(&journal);
	assert_received(&a, NULL);
	fake_ms += 5000;
	fake_turn(&journal);
	assert_received(&a, HELLO("0", "false"), RESET("cursor"), NULL);
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, "E 1", CURSOR("1"), NULL);
}

static void test_resume_while_congested_continues_after_a_wake(void **state)
{
	insert("u1", "log");
	fake_turn(&journal);
	resume(&a, "1.0.0.0", V1);
	fake_conn_congest(&a, 0);
	fake_turns(&journal);
	assert_true(a.wake_requested);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_received(&a, HELLO("0", "true"), "E 1", CURSOR("1"), NULL);
}

static void test_slow_client_gets_the_rest_from_the_journal(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 0);
	for (int i = 0; i < 4; i++) {
		insert_len("u1", "log", SEND_BUFFER / 3);
		fake_turn(&journal);
	}
	assert_false(audience_is_live(a.client->audience));
	assert_int_equal(a.client->reader.queued, 0);
	assert_received(&b, "E 1", "E 2", "E 3", "E 4", NULL);
	assert_received(&a, NULL);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_received(&a, "E 1", "E 2", "E 3", "E 4", NULL);
	assert_true(audience_is_live(a.client->audience));
}

static void test_slow_client_within_send_buffer_stays_live(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 0);
	insert_len("u1", "log", SEND_BUFFER / 2);
	fake_turn(&journal);
	assert_true(audience_is_live(a.client->audience));
	assert_received(&a, NULL);
	fake_conn_drain(&a, 0);
	assert_received(&a, "E 1", NULL);
	assert_false(journal.wanted);
}

static void test_slow_client_gets_a_half_written_message_whole(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 1);
	insert_len("u1", "log", 200000);
	insert("u1", "log");
	fake_turn(&journal);
	assert_true(a.in_message);
	fake_conn_drain(&a, 0);
	fake_turns(&journal);
	assert_received(&a, "E 1", "E 2", NULL);
	assert_int_equal(a.received[0].len, 200000);
}

static void test_slow_client_catches_up_as_fast_as_it_reads(void **state)
{
	insert_many(40, SEND_BUFFER);
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	for (int i = 0; i < 100 && a.n_received < 40; i++) {
		fake_conn_congest(&a, 1);
		fake_turns(&journal);
		fake_conn_drain(&a, 1);
	}
	assert_int_equal(a.n_received, 40);
}

static void test_abort_before_a_flush_repeats_the_turn(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	insert_many(2, 0);
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 1);
	fake_turn_abort(&journal);
	assert_received(&a, NULL);
	fake_turn(&journal);
	assert_received(&a, "E 1", "E 2", NULL);
}

static void test_abort_amid_large_events_repeats_none(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u2", NULL, PLAIN);
	insert_many(10, 1000000);
	insert("u2", "log");
	fake_turn_plan(&journal);
	fake_turn_pull(&journal, 8);
	assert_received(&a, NULL);
	fake_turn_abort(&journal);
	insert("u1", "log");
	fake_turns(&journal);
	fake_turn(&journal);
	assert_received(&a, "E 1 ", "E 2 ", "E 3 ", "E 4 ", "E 5 ", "E 6 ", "E 7 ", "E 8 ", "E 9 ",
		"E 10 ", "E 12 ", NULL);
	assert_received(&b, "E 11 ", NULL);
}

static void test_large_pull_is_left_to_catching_up(void **state)
{
	journal.max_pull = 5;
	join_v1(&a);
	join(&b, "u2", NULL, PLAIN);
	insert_many(6, 0);
	insert("u3", "log");
	fake_turn(&journal);
	assert_received(&a, NULL);
	assert_true(journal.wanted);
	fake_turn(&journal);
	assert_false(audience_is_live(a.client->audience));
	assert_true(audience_is_live(b.client->audience));
	insert("u2", "log");
	fake_turns(&journal);
	assert_true(audience_is_live(a.client->audience));
	assert_received(&a, "E 1 ", "E 2 ", "E 3 ", "E 4 ", "E 5 ", "E 6 ", CURSOR("8"), NULL);
	assert_received(&b, "E 8 ", NULL);
}

static void test_large_pull_with_broadcasts_defers_everyone(void **state)
{
	journal.max_pull = 2;
	join(&a, "u1", NULL, PLAIN);
	join(&b, "u2", "chat", PLAIN);
	insert_many(2, 0);
	fake_journal_write(&journal, 1, NULL, "log", true, 0);
	fake_journal_commit(&journal, 1);
	fake_turns(&journal);
	fake_turn(&journal);
	fake_turns(&journal);
	assert_received(&a, "E 1 ", "E 2 ", "E 3 ", NULL);
	assert_received(&b, NULL);
	assert_true(audience_is_live(a.client->audience));
	assert_true(audience_is_live(b.client->audience));
}

static void test_pages_share_broadcasts(void **state)
{
	fake_turn(&journal);
	for (int i = 0; i < 50; i++) {
		fake_journal_write(&journal, 1, NULL, "log", true, 0);
		fake_journal_commit(&journal, 1);
	}
	insert("u2", "log");
	fake_turn(&journal);
	resume(&a, "1.0.0.0", PLAIN);
	fake_conn_join(&b, hub,
		&(struct client_config){.uid = "u2", .since = "1.0.0.30", .protocol = PLAIN});
	fake_turns(&journal);
	assert_int_equal(a.n_received, 50);
	assert_int_equal(b.n_received, 21);
	a.n_received = b.n_received = 0;
}

static void rewind_to(const char *text)
{
	struct position *valid = position_create(text, text);
	hub_rewind(hub, valid, "cursor");
	position_unref(&valid);
}

static void test_rewind_resets_clients_and_continues(void **state)
{
	join_v1(&a);
	join(&b, "u1", NULL, PLAIN);
	insert_many(2, 0);
	fake_turn(&journal);
	a.n_received = b.n_received = 0;
	fake_journal_lose(&journal, 1);
	rewind_to("1.0.0.1");
	insert("u1", "log");
	fake_turn(&journal);
	assert_received(&a, RESET("cursor"), "E 3", CURSOR("2"), NULL);
	assert_received(&b, "E 3", NULL);
}

static void test_rewind_resets_only_clients_that_received_something(void **state)
{
	struct fake_conn *other = &b;
	join_v1(&a);
	fake_conn_join(other, hub, &(struct client_config){.uid = "u2", .protocol = V1});
	insert("u2", "log");
	fake_turn(&journal);
	struct position *valid = position_ref(hub->position);
	a.n_received = other->n_received = 0;
	insert("u1", "log");
	fake_turn(&journal);
	fake_journal_lose(&journal, 1);
	hub_rewind(hub, valid, "cursor");
	position_unref(&valid);
	assert_received(&a, "E 2", CURSOR("2"), RESET("cursor"), NULL);
	assert_received(other, NULL);
}

/* The window may contain lost events: it is read on after a check. */
static void assert_unverified(const struct window *window)
{
	assert_true(window->from->unverified);
	assert_true(window->to->unverified);
}

static void test_rewind_verifies_the_window_of_a_client_that_is_behind(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 1);
	for (int i = 0; i < 3; i++) {
		insert_len("u1", "log", SEND_BUFFER);
		fake_turn(&journal);
	}
	assert_non_null(a.client->audience->catchup->window.to);
	hub_rewind(hub, NULL, "cursor");
	assert_unverified(&a.client->audience->catchup->window);
}

static void test_rewind_verifies_the_window_of_a_client_that_falls_behind(void **state)
{
	join(&a, "u1", NULL, PLAIN);
	fake_conn_congest(&a, 0);
	insert("u1", "log");
	fake_turn(&journal);
	rewind_to("1.0.0.1");
	insert_len("u1", "log", SEND_BUFFER);
	fake_turn(&journal);
	assert_unverified(&a.client->audience->catchup->window);
}

static void test_rewind_without_a_position_sends_no_cursor(void **state)
{
	join_v1(&a);
	hub_rewind(hub, NULL, "cursor");
	tick(PING_INTERVAL);
	assert_received(&a, RESET("cursor"), NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_join_during_a_turn_gets_all_of_its_events),
		TEST(test_resume_gets_the_missed_events),
		TEST(test_resume_reads_page_by_page),
		TEST(test_page_size_recovers_from_aborted_turns),
		TEST(test_resume_beyond_the_pages_of_a_turn_waits_for_a_pause),
		TEST(test_resume_from_an_invalid_cursor_is_reset),
		TEST(test_resume_from_a_malformed_cursor_is_reset_at_once),
		TEST(test_resume_ahead_of_a_standby_waits_for_it),
		TEST(test_resume_ahead_of_a_standby_is_reset_after_a_timeout),
		TEST(test_resume_while_congested_continues_after_a_wake),
		TEST(test_slow_client_gets_the_rest_from_the_journal),
		TEST(test_slow_client_within_send_buffer_stays_live),
		TEST(test_slow_client_gets_a_half_written_message_whole),
		TEST(test_slow_client_catches_up_as_fast_as_it_reads),
		TEST(test_abort_before_a_flush_repeats_the_turn),
		TEST(test_abort_amid_large_events_repeats_none),
		TEST(test_large_pull_is_left_to_catching_up),
		TEST(test_large_pull_with_broadcasts_defers_everyone),
		TEST(test_pages_share_broadcasts),
		TEST(test_rewind_resets_clients_and_continues),
		TEST(test_rewind_resets_only_clients_that_received_something),
		TEST(test_rewind_verifies_the_window_of_a_client_that_is_behind),
		TEST(test_rewind_verifies_the_window_of_a_client_that_falls_behind),
		TEST(test_rewind_without_a_position_sends_no_cursor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
