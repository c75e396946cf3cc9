#include "unit.h"

#include <stdio.h>

#include "users.h"

static struct users *users;

static void test_users_are_freed_with_their_last_client(void **state)
{
	(void)state;
	assert_null(users_find(users, "v"));
	struct user *first = users_acquire(users, "v"), *second = users_acquire(users, "v");
	assert_ptr_equal(first, second);
	assert_int_equal(first->clients, 2);
	assert_int_equal(users_count(users), 1);
	users_release(users, &first);
	assert_null(first);
	assert_ptr_equal(users_find(users, "v"), second);
	users_release(users, &second);
	assert_null(users_find(users, "v"));
	assert_int_equal(users_count(users), 0);
}

static void test_users_differ_in_any_byte_of_the_uid(void **state)
{
	(void)state;
	static const char *const uids[] = {"", "u", "u11", "U1", "u1 ", "\xC3\xA9"};
	struct user *six[6];
	for (size_t i = 0; i < 6; i++)
		six[i] = users_acquire(users, uids[i]);
	for (size_t i = 0; i < 6; i++) {
		assert_ptr_equal(users_find(users, uids[i]), six[i]);
		assert_string_equal(six[i]->uid, uids[i]);
	}
	for (size_t i = 0; i < 6; i++)
		users_release(users, &six[i]);
}

static void test_users_table_grows(void **state)
{
	(void)state;
	enum { MANY = 5000 };
	static struct user *many[MANY];
	char uid[16];
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		many[i] = users_acquire(users, uid);
	}
	assert_int_equal(users_count(users), MANY);
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		assert_ptr_equal(users_find(users, uid), many[i]);
	}
	size_t walked = 0;
	list_for_each (it, users_list(users))
		walked++;
	assert_int_equal(walked, MANY);
	for (int i = 0; i < MANY; i += 2)
		users_release(users, &many[i]);
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		assert_ptr_equal(users_find(users, uid), many[i]);
	}
	for (int i = 1; i < MANY; i += 2)
		users_release(users, &many[i]);
	assert_int_equal(users_count(users), 0);
}

static int set_up(void **state)
{
	(void)state;
	users = users_create();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	users_destroy(&users);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_users_are_freed_with_their_last_client),
		TEST(test_users_differ_in_any_byte_of_the_uid),
		TEST(test_users_table_grows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
