#include "unit.h"

#include <stdbool.h>

#include "audience.h"

#define PLAIN (&protocols[PROTOCOL_PLAIN])
#define V1 (&protocols[PROTOCOL_V1])

static struct users *users;
static struct user *user;
static struct position *from, *to;

static void test_audience_is_shared_by_equal_clients(void **state)
{
	struct window window = {.from = from, .to = to, .after = 5};
	struct window later = {.from = from, .to = to, .after = 6};
	struct audience *different[] = {
		audience_get(user, PLAIN, NULL, NULL),
		audience_get(user, V1, NULL, NULL),
		audience_get(user, PLAIN, "log", NULL),
		audience_get(user, PLAIN, "log,chat", NULL),
		audience_get(user, PLAIN, NULL, &window),
		audience_get(user, PLAIN, NULL, &later),
	};
	for (size_t i = 0; i < 6; i++)
		for (size_t n = 0; n < i; n++)
			assert_ptr_not_equal(different[i], different[n]);
	assert_ptr_equal(audience_get(user, PLAIN, NULL, NULL), different[0]);
	assert_ptr_equal(audience_get(user, V1, NULL, NULL), different[1]);
	assert_ptr_equal(audience_get(user, PLAIN, "log", NULL), different[2]);
	assert_ptr_equal(audience_get(user, PLAIN, NULL, &window), different[4]);
	assert_true(audience_is_live(different[0]));
	assert_false(audience_is_live(different[4]));
	for (size_t i = 0; i < 6; i++)
		audience_release(&different[i]);
	assert_true(list_empty(&user->audiences));
	assert_int_equal(from->refs, 1);
}

static void test_audience_wants_whole_type_names(void **state)
{
	static const struct {
		const char *types, *type;
		bool wanted;
	} cases[] = {
		{NULL, "log", true},
		{NULL, "", true},
		{"log", "log", true},
		{"log", "lo", false},
		{"log", "logs", false},
		{"log", "og", false},
		{"logs", "log", false},
		{"log,chat", "chat", true},
		{"log,chat", "log", true},
		{"log,chat", "cha", false},
		{"log,chat", "hat", false},
		{"logs,log", "log", true},
		{"log_week,log", "log", true},
		{"blog,log_week", "log", false},
		{"a,b,c", "b", true},
		{"a,b,c", "d", false},
		{",a", "a", false},
		{",a,b", "b", false},
		{",a,b", "c", true},
		{"a,,b", "b", true},
	};
	for (size_t i = 0; i < LENGTH(cases); i++) {
		struct audience *audience = audience_get(user, PLAIN, cases[i].types, NULL);
		if (types_include(audience->types, cases[i].type) != cases[i].wanted)
			fail_msg("types %s, type %s", cases[i].types, cases[i].type);
		audience_release(&audience);
	}
}

static int set_up(void **state)
{
	users = users_create();
	user = users_acquire(users, "u1");
	from = position_create("1.2.3.4", "1.2.3.4");
	to = position_create("1.2.3.5", "1.2.3.5");
	return 0;
}

static int tear_down(void **state)
{
	int leaked = from->refs != 1 || to->refs != 1;
	users_release(users, &user);
	users_destroy(&users);
	position_unref(&from);
	position_unref(&to);
	return leaked;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_audience_is_shared_by_equal_clients),
		TEST(test_audience_wants_whole_type_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
