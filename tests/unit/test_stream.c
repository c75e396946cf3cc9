#include "unit.h"

#include <stdbool.h>

#include "alloc.h"
#include "stream.h"
#include "websocket.h"

static struct position *position;
static struct stream stream, next;
static struct reader reader, other; /* the first one is attached to the stream */

/* Appends a block and counts it for the attached readers. Id 0: it is not from the journal. */
static void append_block(struct stream *to, struct block *block, int64_t id)
{
	const struct window resume_point = {.from = position, .to = position, .after = id - 1};
	stream_append(to, block, id ? &resume_point : NULL);
	reader.queued += reader.at ? block->len : 0;
	other.queued += other.at ? block->len : 0;
}

static void append(struct stream *to, const char *text, int64_t id)
{
	struct block *block = websocket_text(text, strlen(text));
	append_block(to, block, id);
	block_unref(&block);
}

static void insert(struct stream *to, const char *text)
{
	struct block *block = websocket_text(text, strlen(text));
	reader_insert(&reader, to, block);
	block_unref(&block);
}

/* Writes everything and compares the concatenated texts. */
static void assert_reads(struct reader *from, const char *want)
{
	char text[64] = "";
	const unsigned char *bytes;
	size_t len;
	while (reader_peek(from, &bytes, &len)) {
		strncat(text, (const char *)bytes + 2, len - 2);
		reader_advance(from, len);
	}
	assert_string_equal(text, want);
	assert_int_equal(from->queued, 0);
}

/* A message of two slices, of which one is written; the caller owns a reference. */
static struct block *append_half_written(int64_t id)
{
	size_t len = WEBSOCKET_FRAGMENT_MAX + 100;
	char *text = xmalloc(len);
	memset(text, 'x', len);
	struct block *block = websocket_text(text, len);
	free(text);
	append_block(&stream, block, id);
	const unsigned char *bytes;
	assert_true(reader_peek(&reader, &bytes, &len));
	assert_int_equal(len, block->slice);
	reader_advance(&reader, len);
	return block;
}

/* Writes the other slice and releases the block. */
static void assert_reads_second_slice(struct block *block)
{
	const unsigned char *bytes;
	size_t len;
	assert_true(reader_peek(&reader, &bytes, &len));
	assert_int_equal(len, block->len - block->slice);
	assert_memory_equal(bytes, block->bytes + block->slice, len);
	reader_advance(&reader, len);
	block_unref(&block);
}

/* After 0: nothing is missed. */
static void assert_abandons(int64_t after, size_t kept)
{
	struct window rest = {0};
	assert_int_equal(reader_abandon(&reader, &rest), after != 0);
	assert_ptr_equal(rest.from, after ? position : NULL);
	assert_int_equal(rest.after, after);
	assert_int_equal(reader.queued, kept);
	window_clear(&rest);
}

static void test_stream_is_read_in_order(void **state)
{
	assert_reads(&reader, "");
	append(&stream, "a", 1);
	append(&stream, "b", 2);
	assert_int_equal(reader.queued, 6);
	assert_reads(&reader, "ab");
	append(&stream, "c", 3);
	assert_reads(&reader, "c");
}

static void test_reader_starts_at_the_end_of_the_stream(void **state)
{
	append(&stream, "a", 1);
	reader_attach(&other, &stream);
	append(&stream, "b", 2);
	assert_reads(&other, "b");
	assert_reads(&reader, "ab");
}

static void test_block_is_freed_behind_the_slowest_reader(void **state)
{
	struct block *block = websocket_text("a", 1);
	reader_attach(&other, &stream);
	append_block(&stream, block, 0);
	assert_int_equal(block->refs, 2);
	assert_reads(&reader, "a");
	assert_int_equal(block->refs, 2);
	assert_reads(&other, "a");
	assert_int_equal(block->refs, 1);
	block_unref(&block);
}

static void test_reader_finish_frees_its_blocks(void **state)
{
	struct block *block = websocket_text("a", 1);
	append_block(&stream, block, 0);
	insert(&stream, "i");
	reader_finish(&reader);
	assert_int_equal(block->refs, 1);
	assert_null(reader.at);
	reader_finish(&reader);
	block_unref(&block);
}

static void test_stream_may_finish_before_its_readers(void **state)
{
	append(&stream, "a", 1);
	stream_finish(&stream);
	assert_reads(&reader, "a");
}

static void test_insert_stands_behind_the_queue_of_one_reader(void **state)
{
	reader_attach(&other, &stream);
	append(&stream, "a", 1);
	append(&stream, "b", 2);
	insert(&stream, "i");
	append(&stream, "c", 3);
	insert(&stream, "j");
	append(&stream, "d", 4);
	assert_reads(&reader, "abicjd");
	assert_reads(&other, "abcd");
}

static void test_insert_at_the_end_leads_back_into_the_stream(void **state)
{
	insert(&stream, "i");
	assert_reads(&reader, "i");
	append(&stream, "a", 1);
	assert_reads(&reader, "a");
}

static void test_insert_stands_behind_a_half_written_message(void **state)
{
	struct block *block = append_half_written(1);
	insert(&stream, "i");
	assert_reads_second_slice(block);
	assert_reads(&reader, "i");
}

static void test_prepend_stands_before_everything(void **state)
{
	append(&stream, "a", 1);
	insert(&stream, "i");
	struct block *block = websocket_text("h", 1);
	reader_prepend(&reader, block);
	block_unref(&block);
	append(&stream, "b", 2);
	assert_reads(&reader, "haib");
}

static void test_abandon_returns_the_missed_window(void **state)
{
	append(&stream, "a", 4);
	assert_reads(&reader, "a");
	append(&stream, "b", 7);
	append(&stream, "c", 9);
	assert_abandons(6, 0);
	reader_move(&reader, &next);
	append(&next, "d", 10);
	assert_reads(&reader, "d");
}

static void test_abandon_keeps_a_half_written_message(void **state)
{
	struct block *block = append_half_written(1);
	append(&stream, "b", 2);
	assert_abandons(1, block->len - block->slice);
	reader_move(&reader, &next);
	append(&next, "c", 3);
	assert_reads_second_slice(block);
	assert_reads(&reader, "c");
}

static void test_abandon_keeps_private_blocks_and_all_before_them(void **state)
{
	append(&stream, "a", 1);
	insert(&stream, "i");
	append(&stream, "b", 2);
	assert_abandons(1, 6);
	reader_move(&reader, &next);
	assert_reads(&reader, "ai");
}

static void test_abandon_without_journal_blocks_misses_nothing(void **state)
{
	append(&stream, "p", 0);
	assert_abandons(0, 0);
	reader_move(&reader, &stream);
	append(&stream, "p", 0);
	append(&stream, "a", 5);
	assert_abandons(4, 0);
}

static void test_continue_leads_readers_into_the_next_stream(void **state)
{
	reader_finish(&reader);
	append(&next, "-", 1);
	reader_attach(&reader, &stream);
	reader_attach(&other, &stream);
	append(&stream, "a", 2);
	assert_reads(&other, "a");
	stream_continue(&stream, &next);
	stream_finish(&stream);
	append(&next, "b", 3);
	insert(&next, "i");
	append(&next, "c", 4);
	assert_reads(&reader, "abic");
	assert_reads(&other, "bc");
}

static void test_continue_keeps_the_missed_window(void **state)
{
	append(&stream, "a", 2);
	stream_continue(&stream, &next);
	stream_finish(&stream);
	append(&next, "b", 30);
	assert_abandons(1, 0);
}

static int set_up(void **state)
{
	position = position_create("1.2.3.4", "1.2.3.4");
	stream_init(&stream);
	stream_init(&next);
	reader_attach(&reader, &stream);
	return 0;
}

/* Every resume point is freed with its node. */
static int tear_down(void **state)
{
	reader_finish(&reader);
	reader_finish(&other);
	stream_finish(&stream);
	stream_finish(&next);
	int leaked = position->refs != 1;
	position_unref(&position);
	return leaked;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_stream_is_read_in_order),
		TEST(test_reader_starts_at_the_end_of_the_stream),
		TEST(test_block_is_freed_behind_the_slowest_reader),
		TEST(test_reader_finish_frees_its_blocks),
		TEST(test_stream_may_finish_before_its_readers),
		TEST(test_insert_stands_behind_the_queue_of_one_reader),
		TEST(test_insert_at_the_end_leads_back_into_the_stream),
		TEST(test_insert_stands_behind_a_half_written_message),
		TEST(test_prepend_stands_before_everything),
		TEST(test_abandon_returns_the_missed_window),
		TEST(test_abandon_keeps_a_half_written_message),
		TEST(test_abandon_keeps_private_blocks_and_all_before_them),
		TEST(test_abandon_without_journal_blocks_misses_nothing),
		TEST(test_continue_leads_readers_into_the_next_stream),
		TEST(test_continue_keeps_the_missed_window),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
