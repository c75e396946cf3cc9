#include "unit.h"

#include "protocol.h"

static const struct protocol *const plain = &protocols[PROTOCOL_PLAIN];
static const struct protocol *const v1 = &protocols[PROTOCOL_V1];

/* One short text frame; releases the block. */
static void assert_block(struct block *block, const char *json)
{
	assert_int_equal(block->len, 2 + strlen(json));
	assert_int_equal(block->bytes[0], 0x81);
	assert_int_equal(block->bytes[1], strlen(json));
	assert_memory_equal(block->bytes + 2, json, strlen(json));
	block_unref(&block);
}

static void test_protocol_rows_are_complete(void **state)
{
	for (size_t i = 0; i < PROTOCOLS; i++) {
		const struct protocol *protocol = &protocols[i];
		assert_non_null(protocol->name);
		assert_in_range(protocol->encoding, 0, ENCODINGS - 1);
		assert_int_equal(!protocol->control, !protocol->cursor);
		unsigned char out[PROTOCOL_CONTROL_MAX];
		assert_block(protocol->message("{}", 2), "{}");
		assert_int_equal(protocol->ping(out), 3);
		assert_memory_equal(out, "\x89\x01.", 3);
		assert_int_equal(protocol->close(out, CLOSE_BAD_REQUEST, "why"), 7);
		assert_memory_equal(out, "\x88\x05\x11\x30why", 7);
	}
}

static void test_protocol_plain_has_no_control_messages(void **state)
{
	assert_string_equal(plain->name, "");
	assert_null(plain->control);
	assert_null(plain->cursor);
}

static void test_protocol_v1_has_control_messages(void **state)
{
	assert_string_equal(v1->name, "pgcast.v1");
	assert_block(v1->control("{\"op\":1}", 8), "{\"op\":1}");
	assert_block(v1->cursor("1.2.3.4"),
		"{\"type\":\"pgcast\",\"op\":\"cursor\",\"cursor\":\"1.2.3.4\"}");
}

static void test_encoded_block_is_made_once_per_encoding(void **state)
{
	struct encoded encoded = {0};
	struct block *block = encoded_block(&encoded, plain, "{}", 2);
	assert_ptr_equal(encoded_block(&encoded, plain, "{}", 2), block);
	assert_ptr_equal(encoded_block(&encoded, v1, "{}", 2), block);
	assert_int_equal(block->refs, 1);
	block_ref(block);
	encoded_clear(&encoded);
	assert_null(encoded.blocks[plain->encoding]);
	assert_int_equal(block->refs, 1);
	encoded_clear(&encoded);
	block_unref(&block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_protocol_rows_are_complete),
		cmocka_unit_test(test_protocol_plain_has_no_control_messages),
		cmocka_unit_test(test_protocol_v1_has_control_messages),
		cmocka_unit_test(test_encoded_block_is_made_once_per_encoding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
