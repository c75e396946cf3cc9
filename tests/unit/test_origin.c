#include "unit.h"

#include "origin.h"

static void test_origin_same_host_is_allowed(void **state)
{
	assert_true(origin_allowed(NULL, "a.example", ""));
	assert_true(origin_allowed("http://a.example", "a.example:8081", ""));
	assert_true(origin_allowed("https://A.Example:3000", "a.example", ""));
	assert_true(origin_allowed("http://[::1]:3000", "[::1]:8081", ""));
	assert_false(origin_allowed("http://[::1]", "[::2]", ""));
	assert_false(origin_allowed("http://a.example.org", "a.example", ""));
	assert_false(origin_allowed("http://evil", "a.example", ""));
	assert_false(origin_allowed("null", "a.example", ""));
	assert_false(origin_allowed("null", "null", ""));
	assert_false(origin_allowed("http://", "", ""));
	assert_false(origin_allowed("http://a.example", NULL, ""));
}

static void test_origin_list_replaces_the_same_host(void **state)
{
	const char *list = "https://*.example.com, https://b.org:* c.org";
	assert_true(origin_allowed("https://x.example.com", "a", list));
	assert_true(origin_allowed("https://x.y.EXAMPLE.com", "a", list));
	assert_true(origin_allowed("https://b.org:8443", "a", list));
	assert_true(origin_allowed("http://c.org:99", "a", list));
	assert_false(origin_allowed("https://example.com", "a", list));
	assert_false(origin_allowed("http://x.example.com", "a", list));
	assert_false(origin_allowed("https://x.example.com:8443", "a", list));
	assert_false(origin_allowed("https://x.example.com.evil.org", "a", list));
	assert_false(origin_allowed("https://evil/.example.com", "a", list));
	assert_false(origin_allowed("http://a", "a", list));
	assert_true(origin_allowed("http://any:1", "a", "*"));
	assert_true(origin_allowed("null", "a", "*"));
	assert_true(origin_allowed("null", "a", "null"));
}

static void test_header_list_has_whole_tokens(void **state)
{
	assert_true(header_list_has("pgcast.v1", "pgcast.v1"));
	assert_true(header_list_has("bearer.x, pgcast.v1", "pgcast.v1"));
	assert_false(header_list_has("pgcast.v10,xpgcast.v1", "pgcast.v1"));
	assert_false(header_list_has("", "pgcast.v1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origin_same_host_is_allowed),
		cmocka_unit_test(test_origin_list_replaces_the_same_host),
		cmocka_unit_test(test_header_list_has_whole_tokens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
