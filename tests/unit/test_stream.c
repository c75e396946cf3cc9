#include "unit.h"

#include <stdbool.h>

#include "alloc.h"
#include "stream.h"
#include "websocket.h"

static struct position *start;

/* Appends one short message of the journal (id 0: of nobody's), and tells the readers. */
static void append(
	struct stream *run, const char *text, int64_t id, struct reader *a, struct reader *b)
{
	struct block *block = websocket_text(text, strlen(text));
	const struct window mark = {.from = start, .to = start, .after = id - 1};
	stream_append(run, block, id ? &mark : NULL);
	if (a)
		a->queued += block->len;
	if (b)
		b->queued += block->len;
	block_unref(&block);
}

static void insert(struct reader *reader, struct stream *run, const char *text)
{
	struct block *block = websocket_text(text, strlen(text));
	reader_insert(reader, run, block);
	block_unref(&block);
}

/* Writes everything and asserts that these were the messages' texts. */
static void assert_reads(struct reader *reader, const char *want)
{
	char got[64] = "";
	const unsigned char *bytes;
	size_t len;
	while (reader_peek(reader, &bytes, &len)) {
		strncat(got, (const char *)bytes + 2, len - 2);
		reader_advance(reader, len);
	}
	assert_string_equal(got, want);
	assert_int_equal(reader->queued, 0);
}

/* A message of two slices, the first of them written. */
static struct block *append_half_written(struct stream *run, struct reader *reader, int64_t id)
{
	size_t len = WEBSOCKET_FRAGMENT_MAX + 100;
	char *text = xcalloc(1, len);
	memset(text, 'x', len);
	struct block *block = websocket_text(text, len);
	const struct window mark = {.from = start, .to = start, .after = id - 1};
	stream_append(run, block, &mark);
	reader->queued += block->len;
	const unsigned char *bytes;
	assert_true(reader_peek(reader, &bytes, &len));
	assert_int_equal(len, block->slice);
	reader_advance(reader, len);
	free(text);
	return block;
}

static void what_is_appended_is_read_in_order(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	assert_reads(&reader, "");
	append(&run, "a", 1, &reader, NULL);
	append(&run, "b", 2, &reader, NULL);
	assert_int_equal(reader.queued, 6);
	assert_reads(&reader, "ab");
	append(&run, "c", 3, &reader, NULL);
	assert_reads(&reader, "c");
	reader_finish(&reader);
	stream_finish(&run);
}

static void each_reader_begins_where_the_run_ended_then(void **state)
{
	(void)state;
	struct stream run;
	struct reader early, late;
	stream_init(&run);
	reader_attach(&early, &run);
	append(&run, "a", 1, &early, NULL);
	reader_attach(&late, &run);
	append(&run, "b", 2, &early, &late);
	assert_reads(&late, "b");
	assert_reads(&early, "ab");
	reader_finish(&early);
	reader_finish(&late);
	stream_finish(&run);
}

static void a_block_is_freed_when_the_slowest_reader_has_passed(void **state)
{
	(void)state;
	struct stream run;
	struct reader fast, slow;
	stream_init(&run);
	reader_attach(&fast, &run);
	reader_attach(&slow, &run);
	struct block *block = websocket_text("a", 1);
	stream_append(&run, block, NULL);
	fast.queued = slow.queued = block->len;
	assert_int_equal(block->refs, 2);
	assert_reads(&fast, "a");
	assert_int_equal(block->refs, 2);
	assert_reads(&slow, "a");
	assert_int_equal(block->refs, 1);
	block_unref(&block);
	reader_finish(&fast);
	reader_finish(&slow);
	stream_finish(&run);
}

static void a_reader_that_leaves_frees_what_it_had_before_it(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	struct block *block = websocket_text("a", 1);
	stream_append(&run, block, NULL);
	insert(&reader, &run, "i");
	reader_finish(&reader);
	assert_int_equal(block->refs, 1);
	assert_null(reader.at);
	reader_finish(&reader);
	block_unref(&block);
	stream_finish(&run);
}

static void the_run_may_end_before_its_readers(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	append(&run, "a", 1, &reader, NULL);
	stream_finish(&run);
	assert_reads(&reader, "a");
	reader_finish(&reader);
}

static void an_insert_comes_behind_what_was_there_and_before_what_follows(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader, other;
	stream_init(&run);
	reader_attach(&reader, &run);
	reader_attach(&other, &run);
	append(&run, "a", 1, &reader, &other);
	append(&run, "b", 2, &reader, &other);
	insert(&reader, &run, "i");
	append(&run, "c", 3, &reader, &other);
	insert(&reader, &run, "j");
	append(&run, "d", 4, &reader, &other);
	assert_reads(&reader, "abicjd");
	assert_reads(&other, "abcd");
	reader_finish(&reader);
	reader_finish(&other);
	stream_finish(&run);
}

static void an_insert_at_the_end_goes_out_and_leads_back(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	insert(&reader, &run, "i");
	assert_reads(&reader, "i");
	append(&run, "a", 1, &reader, NULL);
	assert_reads(&reader, "a");
	reader_finish(&reader);
	stream_finish(&run);
}

static void what_is_put_before_comes_first(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	append(&run, "a", 1, &reader, NULL);
	insert(&reader, &run, "i");
	struct block *block = websocket_text("h", 1);
	reader_prepend(&reader, block);
	block_unref(&block);
	append(&run, "b", 2, &reader, NULL);
	assert_reads(&reader, "haib");
	reader_finish(&reader);
	stream_finish(&run);
}

static void an_insert_does_not_break_a_half_written_message(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	stream_init(&run);
	reader_attach(&reader, &run);
	struct block *block = append_half_written(&run, &reader, 1);
	insert(&reader, &run, "i");
	const unsigned char *bytes;
	size_t len;
	assert_true(reader_peek(&reader, &bytes, &len));
	assert_memory_equal(bytes, block->bytes + block->slice, len);
	assert_int_equal(len, block->len - block->slice);
	reader_advance(&reader, len);
	assert_reads(&reader, "i");
	block_unref(&block);
	reader_finish(&reader);
	stream_finish(&run);
}

static void who_gives_up_is_told_what_it_misses(void **state)
{
	(void)state;
	struct stream run, next;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	stream_init(&next);
	reader_attach(&reader, &run);
	append(&run, "a", 4, &reader, NULL);
	assert_reads(&reader, "a");
	append(&run, "b", 7, &reader, NULL);
	append(&run, "c", 9, &reader, NULL);
	assert_true(reader_abandon(&reader, &rest));
	assert_ptr_equal(rest.from, start);
	assert_int_equal(rest.after, 6);
	assert_int_equal(reader.queued, 0);
	reader_move(&reader, &next);
	append(&next, "d", 10, &reader, NULL);
	assert_reads(&reader, "d");
	window_clear(&rest);
	reader_finish(&reader);
	stream_finish(&run);
	stream_finish(&next);
}

static void what_is_half_written_is_kept(void **state)
{
	(void)state;
	struct stream run, next;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	stream_init(&next);
	reader_attach(&reader, &run);
	struct block *block = append_half_written(&run, &reader, 1);
	append(&run, "b", 2, &reader, NULL);
	assert_true(reader_abandon(&reader, &rest));
	assert_int_equal(rest.after, 1);
	size_t left = block->len - block->slice;
	assert_int_equal(reader.queued, left);
	reader_move(&reader, &next);
	append(&next, "c", 3, &reader, NULL);
	const unsigned char *bytes;
	size_t len;
	assert_true(reader_peek(&reader, &bytes, &len));
	assert_int_equal(len, left);
	reader_advance(&reader, len);
	assert_reads(&reader, "c");
	block_unref(&block);
	window_clear(&rest);
	reader_finish(&reader);
	stream_finish(&run);
	stream_finish(&next);
}

static void what_is_for_this_reader_alone_is_kept_with_all_before_it(void **state)
{
	(void)state;
	struct stream run, next;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	stream_init(&next);
	reader_attach(&reader, &run);
	append(&run, "a", 1, &reader, NULL);
	insert(&reader, &run, "i");
	append(&run, "b", 2, &reader, NULL);
	assert_true(reader_abandon(&reader, &rest));
	assert_int_equal(rest.after, 1);
	assert_int_equal(reader.queued, 6);
	reader_move(&reader, &next);
	assert_reads(&reader, "ai");
	window_clear(&rest);
	reader_finish(&reader);
	stream_finish(&run);
	stream_finish(&next);
}

static void nothing_is_missed_when_nothing_was_of_the_journal(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	reader_attach(&reader, &run);
	append(&run, "p", 0, &reader, NULL);
	assert_false(reader_abandon(&reader, &rest));
	assert_null(rest.from);
	reader_move(&reader, &run);
	append(&run, "a", 1, &reader, NULL);
	assert_reads(&reader, "a");
	reader_finish(&reader);
	stream_finish(&run);
}

static void what_was_not_of_the_journal_is_skipped_in_what_is_missed(void **state)
{
	(void)state;
	struct stream run;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	reader_attach(&reader, &run);
	append(&run, "p", 0, &reader, NULL);
	append(&run, "a", 5, &reader, NULL);
	assert_true(reader_abandon(&reader, &rest));
	assert_int_equal(rest.after, 4);
	window_clear(&rest);
	reader_finish(&reader);
	stream_finish(&run);
}

static void a_run_that_continues_leads_its_readers_into_the_next(void **state)
{
	(void)state;
	struct stream run, next;
	struct reader slow, fast;
	stream_init(&run);
	stream_init(&next);
	append(&next, "-", 1, NULL, NULL);
	reader_attach(&slow, &run);
	reader_attach(&fast, &run);
	append(&run, "a", 2, &slow, &fast);
	assert_reads(&fast, "a");
	stream_continue(&run, &next);
	stream_finish(&run);
	append(&next, "b", 3, &slow, &fast);
	insert(&slow, &next, "i");
	append(&next, "c", 4, &slow, &fast);
	assert_reads(&slow, "abic");
	assert_reads(&fast, "bc");
	reader_finish(&slow);
	reader_finish(&fast);
	stream_finish(&next);
}

static void who_gives_up_before_the_seam_misses_what_lies_before_it(void **state)
{
	(void)state;
	struct stream run, next;
	struct reader reader;
	struct window rest = {0};
	stream_init(&run);
	stream_init(&next);
	reader_attach(&reader, &run);
	append(&run, "a", 2, &reader, NULL);
	stream_continue(&run, &next);
	stream_finish(&run);
	append(&next, "b", 30, &reader, NULL);
	assert_true(reader_abandon(&reader, &rest));
	assert_int_equal(rest.after, 1);
	window_clear(&rest);
	reader_finish(&reader);
	stream_finish(&next);
}

static int set_up(void **state)
{
	(void)state;
	start = position_create("1.2.3.4", "1.2.3.4");
	return 0;
}

/* Every mark is freed with its node. */
static int tear_down(void **state)
{
	(void)state;
	int leaked = start->refs != 1;
	position_unref(&start);
	return leaked;
}

#define OUTBOX_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OUTBOX_TEST(what_is_appended_is_read_in_order),
		OUTBOX_TEST(each_reader_begins_where_the_run_ended_then),
		OUTBOX_TEST(a_block_is_freed_when_the_slowest_reader_has_passed),
		OUTBOX_TEST(a_reader_that_leaves_frees_what_it_had_before_it),
		OUTBOX_TEST(the_run_may_end_before_its_readers),
		OUTBOX_TEST(an_insert_comes_behind_what_was_there_and_before_what_follows),
		OUTBOX_TEST(an_insert_at_the_end_goes_out_and_leads_back),
		OUTBOX_TEST(what_is_put_before_comes_first),
		OUTBOX_TEST(an_insert_does_not_break_a_half_written_message),
		OUTBOX_TEST(who_gives_up_is_told_what_it_misses),
		OUTBOX_TEST(what_is_half_written_is_kept),
		OUTBOX_TEST(what_is_for_this_reader_alone_is_kept_with_all_before_it),
		OUTBOX_TEST(nothing_is_missed_when_nothing_was_of_the_journal),
		OUTBOX_TEST(what_was_not_of_the_journal_is_skipped_in_what_is_missed),
		OUTBOX_TEST(a_run_that_continues_leads_its_readers_into_the_next),
		OUTBOX_TEST(who_gives_up_before_the_seam_misses_what_lies_before_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
