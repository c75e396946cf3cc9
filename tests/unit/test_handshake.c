#include "unit.h"

#include "alloc.h"
#include "handshake.h"

static void take(struct access *access, const char *pair)
{
	access_take(access, pair, strlen(pair));
}

static void check_uid(const char *uid, const char *refusal)
{
	struct access access = {0};
	char *pair = xasprintf("uid=%s", uid);
	take(&access, pair);
	free(pair);
	if (refusal)
		assert_string_equal(access_refusal(&access), refusal);
	else
		assert_null(access_refusal(&access));
	access_clear(&access);
}

static void the_query_says_uid_types_and_cursor(void **state)
{
	(void)state;
	struct access access = {0};
	take(&access, "types=log,chat");
	take(&access, "uid=a=b&c");
	take(&access, "since=");
	take(&access, "uids=x");
	take(&access, "token");
	assert_null(access_refusal(&access));
	assert_string_equal(access.uid, "a=b&c");
	assert_string_equal(access.types, "log,chat");
	assert_string_equal(access.since, "");
	access_clear(&access);
	assert_null(access.uid);
}

static void the_first_of_two_counts(void **state)
{
	(void)state;
	struct access access = {0};
	take(&access, "uid=mine");
	take(&access, "uid=yours");
	assert_string_equal(access.uid, "mine");
	access_clear(&access);
}

static void a_uid_is_short_text(void **state)
{
	(void)state;
	char longest[ACCESS_UID_MAX + 2];
	memset(longest, 'x', sizeof longest);
	longest[ACCESS_UID_MAX] = '\0';
	check_uid(longest, NULL);
	longest[ACCESS_UID_MAX] = 'x';
	longest[ACCESS_UID_MAX + 1] = '\0';
	check_uid(longest, "uid too long");
	check_uid("", "uid missing");
	check_uid("\xC3\xBC", NULL);
	check_uid("\xC3", "query is not UTF-8");

	struct access access = {0};
	assert_string_equal(access_refusal(&access), "uid missing");
	access_take(&access, "uid=a\0b", 7);
	assert_string_equal(access_refusal(&access), "query is not UTF-8");
	access_clear(&access);
}

static void pages_of_the_same_host_may_connect(void **state)
{
	(void)state;
	assert_true(access_origin_allowed(NULL, "a.example", ""));
	assert_true(access_origin_allowed("http://a.example", "a.example:8081", ""));
	assert_true(access_origin_allowed("https://A.Example:3000", "a.example", ""));
	assert_true(access_origin_allowed("http://[::1]:3000", "[::1]:8081", ""));
	assert_false(access_origin_allowed("http://[::1]", "[::2]", ""));
	assert_false(access_origin_allowed("http://a.example.org", "a.example", ""));
	assert_false(access_origin_allowed("http://evil", "a.example", ""));
	assert_false(access_origin_allowed("null", "a.example", ""));
	assert_false(access_origin_allowed("null", "null", ""));
	assert_false(access_origin_allowed("http://", "", ""));
	assert_false(access_origin_allowed("http://a.example", NULL, ""));
}

static void listed_origins_stand_in_place_of_the_same_host(void **state)
{
	(void)state;
	const char *list = "https://*.example.com, https://b.org:* c.org";
	assert_true(access_origin_allowed("https://x.example.com", "a", list));
	assert_true(access_origin_allowed("https://x.y.EXAMPLE.com", "a", list));
	assert_true(access_origin_allowed("https://b.org:8443", "a", list));
	assert_true(access_origin_allowed("http://c.org:99", "a", list));
	assert_false(access_origin_allowed("https://example.com", "a", list));
	assert_false(access_origin_allowed("http://x.example.com", "a", list));
	assert_false(access_origin_allowed("https://x.example.com:8443", "a", list));
	assert_false(access_origin_allowed("https://x.example.com.evil.org", "a", list));
	assert_false(access_origin_allowed("https://evil/.example.com", "a", list));
	assert_false(access_origin_allowed("http://a", "a", list));
	assert_true(access_origin_allowed("http://any:1", "a", "*"));
	assert_true(access_origin_allowed("null", "a", "*"));
	assert_true(access_origin_allowed("null", "a", "null"));
}

static void a_token_is_found_in_a_header(void **state)
{
	(void)state;
	assert_true(access_list_has("pgcast.v1", "pgcast.v1"));
	assert_true(access_list_has("bearer.x, pgcast.v1", "pgcast.v1"));
	assert_false(access_list_has("pgcast.v10,xpgcast.v1", "pgcast.v1"));
	assert_false(access_list_has("", "pgcast.v1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_query_says_uid_types_and_cursor),
		cmocka_unit_test(the_first_of_two_counts),
		cmocka_unit_test(a_uid_is_short_text),
		cmocka_unit_test(pages_of_the_same_host_may_connect),
		cmocka_unit_test(listed_origins_stand_in_place_of_the_same_host),
		cmocka_unit_test(a_token_is_found_in_a_header),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
