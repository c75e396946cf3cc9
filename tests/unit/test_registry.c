#include "unit.h"

#include <stdbool.h>
#include <stdio.h>

#include "registry.h"
#include "websocket.h"

static struct registry *registry;
static struct user *user;
static struct position *from, *to;

static void a_user_is_there_while_it_has_clients(void **state)
{
	(void)state;
	assert_null(registry_find(registry, "v"));
	struct user *first = registry_enter(registry, "v"), *second = registry_enter(registry, "v");
	assert_ptr_equal(first, second);
	assert_int_equal(first->clients, 2);
	assert_int_equal(registry_count(registry), 2);
	registry_leave(registry, &first);
	assert_null(first);
	assert_ptr_equal(registry_find(registry, "v"), second);
	registry_leave(registry, &second);
	assert_null(registry_find(registry, "v"));
	assert_int_equal(registry_count(registry), 1);
}

static void uids_are_told_apart_to_the_last_byte(void **state)
{
	(void)state;
	static const char *const uids[] = {"", "u", "u11", "U1", "u1 ", "\xC3\xA9"};
	struct user *users[6];
	for (size_t i = 0; i < 6; i++)
		users[i] = registry_enter(registry, uids[i]);
	for (size_t i = 0; i < 6; i++) {
		assert_ptr_equal(registry_find(registry, uids[i]), users[i]);
		assert_string_equal(users[i]->uid, uids[i]);
	}
	for (size_t i = 0; i < 6; i++)
		registry_leave(registry, &users[i]);
}

static void it_grows_with_its_users(void **state)
{
	(void)state;
	enum { MANY = 5000 };
	static struct user *users[MANY];
	char uid[16];
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		users[i] = registry_enter(registry, uid);
	}
	assert_int_equal(registry_count(registry), MANY + 1);
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		assert_ptr_equal(registry_find(registry, uid), users[i]);
	}
	size_t walked = 0;
	list_for_each (it, registry_users(registry))
		walked++;
	assert_int_equal(walked, MANY + 1);
	for (int i = 0; i < MANY; i += 2)
		registry_leave(registry, &users[i]);
	for (int i = 0; i < MANY; i++) {
		snprintf(uid, sizeof(uid), "m%d", i);
		assert_ptr_equal(registry_find(registry, uid), users[i]);
	}
	for (int i = 1; i < MANY; i += 2)
		registry_leave(registry, &users[i]);
	assert_int_equal(registry_count(registry), 1);
}

static void those_who_get_the_same_bytes_share_an_audience(void **state)
{
	(void)state;
	struct window window = {.from = from, .to = to, .after = 5};
	struct window later = {.from = from, .to = to, .after = 6};
	struct audience *different[] = {
		audience_get(user, KIND_PLAIN, NULL, NULL),
		audience_get(user, KIND_V1, NULL, NULL),
		audience_get(user, KIND_PLAIN, "log", NULL),
		audience_get(user, KIND_PLAIN, "log,chat", NULL),
		audience_get(user, KIND_PLAIN, NULL, &window),
		audience_get(user, KIND_PLAIN, NULL, &later),
	};
	for (size_t i = 0; i < 6; i++)
		for (size_t n = 0; n < i; n++)
			assert_ptr_not_equal(different[i], different[n]);
	assert_ptr_equal(audience_get(user, KIND_PLAIN, NULL, NULL), different[0]);
	assert_ptr_equal(audience_get(user, KIND_V1, NULL, NULL), different[1]);
	assert_ptr_equal(audience_get(user, KIND_PLAIN, "log", NULL), different[2]);
	assert_ptr_equal(audience_get(user, KIND_PLAIN, NULL, &window), different[4]);
	assert_true(audience_live(different[0]));
	assert_false(audience_live(different[4]));
	for (size_t i = 0; i < 6; i++)
		audience_release(&different[i]);
	assert_true(list_empty(&user->audiences));
	assert_int_equal(from->refs, 1);
}

static void types_are_whole_names(void **state)
{
	(void)state;
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
		{",a", "a", true},
		{"a,,b", "b", true},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct audience *audience = audience_get(user, KIND_PLAIN, cases[i].types, NULL);
		if (audience_wants(audience, cases[i].type) != cases[i].wanted)
			fail_msg("types %s, type %s", cases[i].types, cases[i].type);
		audience_release(&audience);
	}
}

static void add(struct audience *audience, const char *text, int64_t id)
{
	struct block *frame = websocket_text(text, strlen(text));
	audience_add(audience, frame, id);
	block_unref(&frame);
}

/* The next write of a reader that has given up nothing so far. */
static void assert_writes(struct reader *reader, const char *want, size_t len)
{
	const unsigned char *bytes;
	size_t n;
	assert_true(reader_peek(reader, &bytes, &n));
	assert_int_equal(n, len);
	if (want)
		assert_memory_equal(bytes, want, n);
	reader->queued += n;
	reader_advance(reader, n);
}

static void what_is_pending_goes_out_in_one_write(void **state)
{
	(void)state;
	struct audience *audience = audience_get(user, KIND_PLAIN, NULL, NULL);
	struct reader reader;
	reader_attach(&reader, &audience->run);
	add(audience, "one", 7);
	add(audience, "two", 8);
	add(audience, "p", 0);
	assert_int_equal(audience->batch->bytes, 13);
	assert_int_equal(audience_append(audience, from, to), 13);
	assert_int_equal(audience->batch->n, 0);
	assert_writes(&reader, "\x81\x03one\x81\x03two\x81\x01p", 13);
	assert_int_equal(audience_append(audience, from, to), 0);
	reader_finish(&reader);
	audience_release(&audience);
}

static void a_write_is_not_longer_than_a_fragment(void **state)
{
	(void)state;
	static char text[30001];
	memset(text, 'x', sizeof(text) - 1);
	struct audience *audience = audience_get(user, KIND_PLAIN, NULL, NULL);
	struct reader reader;
	reader_attach(&reader, &audience->run);
	for (int64_t id = 1; id <= 5; id++)
		add(audience, text, id);
	assert_int_equal(audience_append(audience, from, to), 5 * 30004);
	assert_writes(&reader, NULL, 2 * 30004);
	assert_writes(&reader, NULL, 2 * 30004);
	assert_writes(&reader, NULL, 30004);
	reader_finish(&reader);
	audience_release(&audience);
}

static void each_block_is_marked_with_its_first_event(void **state)
{
	(void)state;
	struct audience *audience = audience_get(user, KIND_PLAIN, NULL, NULL);
	struct reader reader;
	struct window rest = {0};
	reader_attach(&reader, &audience->run);
	add(audience, "p", 0);
	add(audience, "one", 7);
	add(audience, "two", 8);
	audience_append(audience, from, to);
	assert_true(reader_give_up(&reader, &rest));
	assert_ptr_equal(rest.from, from);
	assert_ptr_equal(rest.to, to);
	assert_int_equal(rest.after, 6);
	window_clear(&rest);
	reader_finish(&reader);
	audience_release(&audience);
}

static void what_is_forgotten_does_not_go_out(void **state)
{
	(void)state;
	struct audience *audience = audience_get(user, KIND_PLAIN, NULL, NULL);
	struct block *frame = websocket_text("x", 1);
	audience_add(audience, frame, 1);
	assert_int_equal(frame->refs, 2);
	audience_forget(audience);
	assert_int_equal(frame->refs, 1);
	assert_int_equal(audience_append(audience, from, to), 0);
	block_unref(&frame);
	audience_release(&audience);
}

static int set_up(void **state)
{
	(void)state;
	registry = registry_create();
	user = registry_enter(registry, "u1");
	from = position_create("1.2.3.4", "1.2.3.4");
	to = position_create("1.2.3.5", "1.2.3.5");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	int leaked = from->refs != 1 || to->refs != 1;
	registry_leave(registry, &user);
	registry_destroy(&registry);
	position_unref(&from);
	position_unref(&to);
	return leaked;
}

#define REGISTRY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		REGISTRY_TEST(a_user_is_there_while_it_has_clients),
		REGISTRY_TEST(uids_are_told_apart_to_the_last_byte),
		REGISTRY_TEST(it_grows_with_its_users),
		REGISTRY_TEST(those_who_get_the_same_bytes_share_an_audience),
		REGISTRY_TEST(types_are_whole_names),
		REGISTRY_TEST(what_is_pending_goes_out_in_one_write),
		REGISTRY_TEST(a_write_is_not_longer_than_a_fragment),
		REGISTRY_TEST(each_block_is_marked_with_its_first_event),
		REGISTRY_TEST(what_is_forgotten_does_not_go_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
