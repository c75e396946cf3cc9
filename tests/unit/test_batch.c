#include "unit.h"

#include <stdbool.h>

#include "batch.h"
#include "websocket.h"

static struct batch *batch;
static struct stream stream;
static struct reader reader;
static struct position *from, *to;

static void add(const char *text, int64_t id)
{
	struct block *block = websocket_text(text, strlen(text));
	batch_add(batch, block, id);
	block_unref(&block);
}

/* `want` NULL: any bytes. */
static void assert_writes(const char *want, size_t len)
{
	const unsigned char *bytes;
	size_t n;
	assert_true(reader_peek(&reader, &bytes, &n));
	assert_int_equal(n, len);
	if (want)
		assert_memory_equal(bytes, want, n);
	reader.queued += n;
	reader_advance(&reader, n);
}

static void test_batch_is_written_at_once(void **state)
{
	add("one", 7);
	add("two", 8);
	add("p", 0);
	assert_int_equal(batch->bytes, 13);
	batch_join(batch);
	assert_int_equal(batch->n, 1);
	batch_append(batch, &stream, from, to);
	assert_writes("\x81\x03one\x81\x03two\x81\x01p", 13);
	batch_clear(batch);
	assert_int_equal(batch->n, 0);
	assert_int_equal(batch->bytes, 0);
}

static void test_batch_writes_are_not_longer_than_a_fragment(void **state)
{
	static char text[30001];
	memset(text, 'x', sizeof(text) - 1);
	for (int64_t id = 1; id <= 5; id++)
		add(text, id);
	assert_int_equal(batch->bytes, 5 * 30004);
	batch_join(batch);
	batch_append(batch, &stream, from, to);
	assert_writes(NULL, 2 * 30004);
	assert_writes(NULL, 2 * 30004);
	assert_writes(NULL, 30004);
}

static void test_batch_resumes_before_its_first_event(void **state)
{
	struct window rest = {0};
	add("p", 0);
	add("one", 7);
	add("two", 8);
	batch_join(batch);
	batch_append(batch, &stream, from, to);
	assert_true(reader_abandon(&reader, &rest));
	assert_ptr_equal(rest.from, from);
	assert_ptr_equal(rest.to, to);
	assert_int_equal(rest.after, 6);
	window_clear(&rest);
}

static void test_batch_releases_blocks_when_destroyed(void **state)
{
	struct block *block = websocket_text("x", 1);
	batch_add(batch, block, 1);
	assert_int_equal(block->refs, 2);
	batch_destroy(&batch);
	assert_null(batch);
	assert_int_equal(block->refs, 1);
	block_unref(&block);
}

static int set_up(void **state)
{
	batch = batch_create(NULL);
	stream_init(&stream);
	reader_attach(&reader, &stream);
	from = position_create("1.2.3.4", "1.2.3.4");
	to = position_create("1.2.3.5", "1.2.3.5");
	return 0;
}

static int tear_down(void **state)
{
	batch_destroy(&batch);
	reader_finish(&reader);
	stream_finish(&stream);
	int leaked = from->refs != 1 || to->refs != 1;
	position_unref(&from);
	position_unref(&to);
	return leaked;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_batch_is_written_at_once),
		TEST(test_batch_writes_are_not_longer_than_a_fragment),
		TEST(test_batch_resumes_before_its_first_event),
		TEST(test_batch_releases_blocks_when_destroyed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
