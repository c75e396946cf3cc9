#include "unit.h"

#include "utf8.h"

#define BAD "\xEF\xBF\xBD"

static void check_repair(const char *text, const char *want)
{
	size_t len;
	char *got = utf8_repair(text, strlen(text), &len);
	assert_string_equal(got, want);
	assert_int_equal(len, strlen(want));
	assert_true(utf8_valid(got, len));
	free(got);
}

static void test_utf8_valid_text(void **state)
{
	(void)state;
	const char *text = "plain ascii, \xC3\xA9, \xE2\x82\xAC, \xED\x9F\xBF, \xEE\x80\x80, "
			   "\xF0\x9F\x98\x80, \xF4\x8F\xBF\xBF, and long enough for words";
	assert_true(utf8_valid(text, strlen(text)));
	assert_true(utf8_valid("", 0));
	assert_true(utf8_valid("a\0b", 3));
}

static void test_utf8_truncated_character_ends_prefix(void **state)
{
	(void)state;
	assert_int_equal(utf8_valid_prefix("12345678\xE2\x82\xAC", 10), 8);
	assert_int_equal(utf8_valid_prefix("12345678\xE2\x82\xAC", 11), 11);
}

static void test_utf8_invalid_bytes_are_replaced(void **state)
{
	(void)state;
	check_repair("a\xFF"
		     "b",
		"a" BAD "b");
	check_repair("\x80", BAD);
	check_repair("\xC0\xAF", BAD BAD);		   /* overlong */
	check_repair("\xE0\x80\xAF", BAD BAD BAD);	   /* overlong */
	check_repair("\xED\xA0\x80", BAD BAD BAD);	   /* a surrogate */
	check_repair("\xF4\x90\x80\x80", BAD BAD BAD BAD); /* above U+10FFFF */
	check_repair("\xF8", BAD);
}

/* Unicode standard, table 3-8. */
static void test_utf8_truncated_character_is_replaced_once(void **state)
{
	(void)state;
	check_repair("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64",
		"a" BAD BAD BAD "b" BAD "c" BAD BAD "d");
	check_repair("end \xE2\x82", "end " BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8_valid_text),
		cmocka_unit_test(test_utf8_truncated_character_ends_prefix),
		cmocka_unit_test(test_utf8_invalid_bytes_are_replaced),
		cmocka_unit_test(test_utf8_truncated_character_is_replaced_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
