#include "unit.h"

#include "auth.h"

/* Identifies with `trust`; `reason` NULL: must succeed. */
static void check_trust(const char *uid, const char *reason)
{
	const struct credentials credentials = {.uid = uid};
	const char *identified = NULL;
	struct refusal refusal = {0};
	bool ok = auth_methods[AUTH_TRUST].identify(&credentials, &identified, &refusal);
	assert_int_equal(ok, !reason);
	if (ok) {
		assert_string_equal(identified, uid);
	} else {
		assert_int_equal(refusal.code, CLOSE_BAD_REQUEST);
		assert_string_equal(refusal.reason, reason);
	}
}

static void test_trust_takes_the_uid_of_the_query(void **state)
{
	(void)state;
	check_trust("u1", NULL);
	check_trust("\xC3\xBC", NULL);
	check_trust("", "uid missing");
	check_trust(NULL, "uid missing");
}

static void test_trust_limits_the_length_of_a_uid(void **state)
{
	(void)state;
	char uid[AUTH_UID_MAX + 2];
	memset(uid, 'x', sizeof uid);
	uid[AUTH_UID_MAX] = '\0';
	check_trust(uid, NULL);
	uid[AUTH_UID_MAX] = 'x';
	uid[AUTH_UID_MAX + 1] = '\0';
	check_trust(uid, "uid too long");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trust_takes_the_uid_of_the_query),
		cmocka_unit_test(test_trust_limits_the_length_of_a_uid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
