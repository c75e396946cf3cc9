#include "unit.h"

#include "siphash.h"

static const uint64_t key[2] = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
static const unsigned char bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};

static void test_siphash_reference_value(void **state)
{
	(void)state;
	assert_int_equal(siphash(bytes, sizeof bytes, key), UINT64_C(0xa129ca6149be45e5));
}

/* Reference vectors: empty, part of a word, exactly one word. */
static void test_siphash_any_length(void **state)
{
	(void)state;
	assert_int_equal(siphash(bytes, 0, key), UINT64_C(0x726fdb47dd0e0e31));
	assert_int_equal(siphash(bytes, 1, key), UINT64_C(0x74f839c593dc67fd));
	assert_int_equal(siphash(bytes, 8, key), UINT64_C(0x93f5f5799a932462));
}

static void test_siphash_depends_on_key(void **state)
{
	(void)state;
	const uint64_t other[2] = {key[0], key[1] + 1};
	assert_int_not_equal(siphash("u1", 2, key), siphash("u1", 2, other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_reference_value),
		cmocka_unit_test(test_siphash_any_length),
		cmocka_unit_test(test_siphash_depends_on_key),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
