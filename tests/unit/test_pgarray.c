#include "unit.h"

#include <stdbool.h>

#include "pgarray.h"

static void expect(struct pgarray *array, const char *text)
{
	assert_string_equal(pgarray_end(array), text);
	pgarray_free(array);
	assert_null(array->text);
	pgarray_free(array);
}

static void nothing_is_braces(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	expect(&array, "{}");
}

static void elements_are_quoted_and_stand_between_commas(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add(&array, "u1");
	pgarray_add(&array, "two words");
	pgarray_add(&array, "null");
	pgarray_add(&array, "{a,b}");
	expect(&array, "{\"u1\",\"two words\",\"null\",\"{a,b}\"}");
}

static void quotes_and_backslashes_mean_themselves(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add(&array, "a\"b\\c'd");
	pgarray_add(&array, "\\\"");
	expect(&array, "{\"a\\\"b\\\\c'd\",\"\\\\\\\"\"}");
}

static void no_text_is_null_and_an_empty_one_is_not(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add(&array, NULL);
	pgarray_add(&array, "");
	pgarray_add(&array, NULL);
	expect(&array, "{null,\"\",null}");
}

static void numbers_of_any_size_are_whole(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add_int(&array, 0);
	pgarray_add_int(&array, INT64_MIN);
	pgarray_add_int(&array, INT64_MAX);
	expect(&array, "{0,-9223372036854775808,9223372036854775807}");
}

static void many_elements_fit(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	for (int i = 0; i < 100000; i++)
		pgarray_add(&array, "\"");
	const char *text = pgarray_end(&array);
	assert_int_equal(strlen(text), 2 + 100000 * 4 + 99999);
	pgarray_free(&array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_braces),
		cmocka_unit_test(elements_are_quoted_and_stand_between_commas),
		cmocka_unit_test(quotes_and_backslashes_mean_themselves),
		cmocka_unit_test(no_text_is_null_and_an_empty_one_is_not),
		cmocka_unit_test(numbers_of_any_size_are_whole),
		cmocka_unit_test(many_elements_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
