#include "unit.h"

#include <stdbool.h>

#include "alloc.h"
#include "protocol.h"
#include "websocket.h"

/* The bytes as a browser decodes them. */
struct decoded {
	char *text;
	size_t len, messages, frames;
	bool open; /* in the middle of a fragmented message */
};

static size_t payload_length(const unsigned char *at, size_t *header)
{
	assert_int_equal(at[1] & 0x80, 0); /* not masked */
	assert_int_not_equal(at[1], 127);
	*header = at[1] == 126 ? 4 : 2;
	size_t len = at[1] == 126 ? (size_t)at[2] << 8 | at[3] : at[1];
	assert_true(at[1] != 126 || len > 125); /* the shortest form */
	return len;
}

static void decode(struct decoded *to, const unsigned char *bytes, size_t len)
{
	size_t at = 0;
	to->text = xrealloc(to->text, to->len + len + 1);
	while (at < len) {
		size_t header, n = payload_length(bytes + at, &header);
		assert_int_equal(bytes[at] & 0x0F, to->open ? 0 : 1);
		to->open = !(bytes[at] & 0x80);
		to->messages += !to->open;
		to->frames++;
		assert_true(at + header + n <= len); /* ends on a frame boundary */
		memcpy(to->text + to->len, bytes + at + header, n);
		to->len += n;
		at += header + n;
	}
	to->text[to->len] = '\0';
}

static void check_round_trip(size_t len, size_t want_frames)
{
	char *text = xmalloc(len + 1);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + i % 26);
	text[len] = '\0';
	struct block *block = websocket_text(text, len);
	struct decoded decoded = {0};
	for (size_t at = 0; at < block->len; at += block->slice) {
		size_t rest = block->len - at;
		decode(&decoded, block->bytes + at, rest < block->slice ? rest : block->slice);
	}
	assert_int_equal(decoded.len, len);
	assert_string_equal(decoded.text, text);
	assert_int_equal(decoded.messages, 1);
	assert_int_equal(decoded.frames, want_frames);
	assert_false(decoded.open);
	free(decoded.text);
	free(text);
	block_unref(&block);
}

static void test_text_of_any_length_arrives_whole(void **state)
{
	const size_t one_frame[] = {0, 1, 125, 126, 127, 65534, WEBSOCKET_FRAGMENT_MAX};
	for (size_t i = 0; i < LENGTH(one_frame); i++)
		check_round_trip(one_frame[i], 1);
	check_round_trip(WEBSOCKET_FRAGMENT_MAX + 1, 2);
	check_round_trip(2 * WEBSOCKET_FRAGMENT_MAX, 2);
	check_round_trip(2 * WEBSOCKET_FRAGMENT_MAX + 126, 3);
	check_round_trip(1 << 20, 17);
}

static void test_text_short_is_one_write(void **state)
{
	struct block *block = websocket_text("hello", 5);
	assert_int_equal(block->len, 7);
	assert_int_equal(block->slice, 7);
	assert_memory_equal(block->bytes, "\x81\x05hello", 7);
	block_unref(&block);
	assert_null(block);
	block_unref(&block);
}

static void test_text_that_is_not_utf8_is_repaired(void **state)
{
	struct block *block = websocket_text("a\xFF"
					     "b",
		3);
	assert_memory_equal(block->bytes,
		"\x81\x05"
		"a\xEF\xBF\xBD"
		"b",
		7);
	block_unref(&block);
}

static void test_block_join_is_one_write(void **state)
{
	struct block *parts[] = {
		websocket_text("one", 3), websocket_text("", 0), websocket_text("two", 3)};
	struct block *joined = block_join(parts, 3);
	for (size_t i = 0; i < 3; i++)
		block_unref(&parts[i]);
	struct decoded decoded = {0};
	decode(&decoded, joined->bytes, joined->len);
	assert_int_equal(joined->slice, joined->len);
	assert_int_equal(decoded.messages, 3);
	assert_string_equal(decoded.text, "onetwo");
	free(decoded.text);
	block_unref(&joined);
}

static void test_close_has_code_and_reason(void **state)
{
	unsigned char out[PROTOCOL_CONTROL_MAX];
	assert_int_equal(websocket_close(out, 4400, "uid missing"), 15);
	assert_memory_equal(out, "\x88\x0D\x11\x30uid missing", 15);
	assert_int_equal(websocket_close(out, 1000, ""), 4);
}

static void test_close_reason_is_cut_between_characters(void **state)
{
	unsigned char out[PROTOCOL_CONTROL_MAX];
	char reason[201] = {0};
	memset(reason, 'r', 200);
	memcpy(reason + 122, "\xC3\xA9", 2); /* bytes 123 and 124 */
	assert_int_equal(websocket_close(out, 1000, reason), 4 + 122);
	assert_int_equal(out[1], 2 + 122);
	reason[122] = reason[123] = 'r';
	assert_int_equal(websocket_close(out, 1000, reason), PROTOCOL_CONTROL_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text_of_any_length_arrives_whole),
		cmocka_unit_test(test_text_short_is_one_write),
		cmocka_unit_test(test_text_that_is_not_utf8_is_repaired),
		cmocka_unit_test(test_block_join_is_one_write),
		cmocka_unit_test(test_close_has_code_and_reason),
		cmocka_unit_test(test_close_reason_is_cut_between_characters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
