#include "unit.h"

#include "siphash.h"

static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
static const unsigned char bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

static void gives_the_papers_value(void **state)
{
	(void)state;
	assert_int_equal(siphash(bytes, sizeof bytes, key), UINT64_C(0xa129ca6149be45e5));
}

/* From the authors' list of test vectors: nothing, part of a word, exactly one word. */
static void takes_any_length(void **state)
{
	(void)state;
	assert_int_equal(siphash(bytes, 0, key), UINT64_C(0x726fdb47dd0e0e31));
	assert_int_equal(siphash(bytes, 1, key), UINT64_C(0x74f839c593dc67fd));
	assert_int_equal(siphash(bytes, 8, key), UINT64_C(0x93f5f5799a932462));
}

static void depends_on_the_key(void **state)
{
	(void)state;
	const uint64_t other[2] = {key[0], key[1] + 1};
	assert_int_not_equal(siphash("u1", 2, key), siphash("u1", 2, other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_papers_value),
		cmocka_unit_test(takes_any_length),
		cmocka_unit_test(depends_on_the_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
