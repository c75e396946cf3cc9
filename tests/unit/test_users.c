#include "unit.h"

#include <stdio.h>

#include "users.h"

static struct users *users;

static void test_users_are_freed_with_their_last_client(void **state)
{
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
	static const char *const uids[] = {"", "u", "u11", "U1", "u1 ", "\xC3\xA9"};
	struct user *found[LENGTH(uids)];
	for (size_t i = 0; i < LENGTH(uids); i++)
		found[i] = users_acquire(users, uids[i]);
	for (size_t i = 0; i < LENGTH(uids); i++) {
		assert_ptr_equal(users_find(users, uids[i]), found[i]);
		assert_string_equal(found[i]->uid, uids[i]);
	}
	for (size_t i = 0; i < LENGTH(uids); i++)
		users_release(users, &found[i]);
}

static const char *numbered_uid(size_t n)
{
	static char uid[16];
	snprintf(uid, sizeof(uid), "m%zu", n);
	return uid;
}

static void test_users_table_grows(void **state)
{
	static struct user *many[5000];
	for (size_t i = 0; i < LENGTH(many); i++)
		many[i] = users_acquire(users, numbered_uid(i));
	assert_int_equal(users_count(users), LENGTH(many));
	for (size_t i = 0; i < LENGTH(many); i++)
		assert_ptr_equal(users_find(users, numbered_uid(i)), many[i]);
	size_t listed = 0;
	list_for_each (it, users_list(users))
		listed++;
	assert_int_equal(listed, LENGTH(many));
	for (size_t i = 0; i < LENGTH(many); i += 2)
		users_release(users, &many[i]);
	for (size_t i = 0; i < LENGTH(many); i++)
		assert_ptr_equal(users_find(users, numbered_uid(i)), many[i]);
	for (size_t i = 1; i < LENGTH(many); i += 2)
		users_release(users, &many[i]);
	assert_int_equal(users_count(users), 0);
}

static int set_up(void **state)
{
	users = users_create();
	return 0;
}

static int tear_down(void **state)
{
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
