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

static void test_pgarray_empty(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	expect(&array, "{}");
}

static void test_pgarray_elements_are_quoted(void **state)
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

static void test_pgarray_quotes_and_backslashes_are_escaped(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add(&array, "a\"b\\c'd");
	pgarray_add(&array, "\\\"");
	expect(&array, "{\"a\\\"b\\\\c'd\",\"\\\\\\\"\"}");
}

static void test_pgarray_null_differs_from_empty(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add(&array, NULL);
	pgarray_add(&array, "");
	pgarray_add(&array, NULL);
	expect(&array, "{null,\"\",null}");
}

static void test_pgarray_integers_are_exact(void **state)
{
	(void)state;
	struct pgarray array;
	pgarray_begin(&array);
	pgarray_add_int(&array, 0);
	pgarray_add_int(&array, INT64_MIN);
	pgarray_add_int(&array, INT64_MAX);
	expect(&array, "{0,-9223372036854775808,9223372036854775807}");
}

static void test_pgarray_many_elements(void **state)
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
		cmocka_unit_test(test_pgarray_empty),
		cmocka_unit_test(test_pgarray_elements_are_quoted),
		cmocka_unit_test(test_pgarray_quotes_and_backslashes_are_escaped),
		cmocka_unit_test(test_pgarray_null_differs_from_empty),
		cmocka_unit_test(test_pgarray_integers_are_exact),
		cmocka_unit_test(test_pgarray_many_elements),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
