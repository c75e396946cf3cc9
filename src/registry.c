#include "registry.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc.h"
#include "siphash.h"

struct registry {
	uint64_t key[2];
	struct user **buckets;
	size_t n_buckets; /* a power of two */
	size_t n_users;
	struct list users;
};

struct registry *registry_create(void)
{
	struct registry *registry = xcalloc(1, sizeof(*registry));
	registry->n_buckets = 64;
	registry->buckets = xcalloc(registry->n_buckets, sizeof(struct user *));
	list_init(&registry->users);
	/* 16 bytes come whole or not at all, and only before the pool is ready not at all. */
	while (getrandom(registry->key, sizeof(registry->key), 0) < 0)
		;
	return registry;
}

void registry_destroy(struct registry **registry)
{
	if (!*registry)
		return;
	assert(!(*registry)->n_users);
	free((*registry)->buckets);
	free(*registry);
	*registry = NULL;
}

static struct user **bucket(struct registry *registry, const char *uid)
{
	uint64_t hash = siphash(uid, strlen(uid), registry->key);
	return &registry->buckets[hash & (registry->n_buckets - 1)];
}

static void grow(struct registry *registry)
{
	free(registry->buckets);
	registry->n_buckets *= 2;
	registry->buckets = xcalloc(registry->n_buckets, sizeof(struct user *));
	list_for_each (it, &registry->users) {
		struct user *user = LIST_OF(it, struct user, of_registry);
		struct user **head = bucket(registry, user->uid);
		user->chain = *head;
		*head = user;
	}
}

struct user *registry_find(struct registry *registry, const char *uid)
{
	struct user *user = *bucket(registry, uid);
	while (user && strcmp(user->uid, uid) != 0)
		user = user->chain;
	return user;
}

static struct user *user_create(struct registry *registry, const char *uid)
{
	if (registry->n_users == registry->n_buckets)
		grow(registry);
	size_t size = strlen(uid) + 1;
	struct user *user = xcalloc(1, sizeof(*user) + size);
	memcpy(user->uid, uid, size);
	list_init(&user->audiences);
	list_append(&registry->users, &user->of_registry);
	struct user **head = bucket(registry, uid);
	user->chain = *head;
	*head = user;
	registry->n_users++;
	return user;
}

struct user *registry_enter(struct registry *registry, const char *uid)
{
	struct user *user = registry_find(registry, uid);
	if (!user)
		user = user_create(registry, uid);
	user->clients++;
	return user;
}

void registry_leave(struct registry *registry, struct user **user)
{
	struct user *left = *user;
	*user = NULL;
	if (!left || --left->clients)
		return;
	assert(list_empty(&left->audiences));
	struct user **link = bucket(registry, left->uid);
	while (*link != left)
		link = &(*link)->chain;
	*link = left->chain;
	list_remove(&left->of_registry);
	registry->n_users--;
	free(left);
}

struct list *registry_users(struct registry *registry)
{
	return &registry->users;
}

size_t registry_count(const struct registry *registry)
{
	return registry->n_users;
}

static bool same_types(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

struct audience *audience_get(
	struct user *user, enum kind kind, const char *types, const struct window *window)
{
	static const struct window live = {0};
	if (!window)
		window = &live;
	list_for_each (it, &user->audiences) {
		struct audience *old = LIST_OF(it, struct audience, of_user);
		/* What one that is behind is about to get, who joins it may have had. */
		if (!audience_live(old) && !list_empty(&old->touched))
			continue;
		if (old->kind == kind && same_types(old->types, types) &&
			window_equal(&old->window, window))
			return old;
	}
	struct audience *audience = xcalloc(1, sizeof(*audience));
	audience->user = user;
	audience->kind = kind;
	audience->types = types ? xstrdup(types) : NULL;
	audience->window = window_copy(window);
	run_init(&audience->run);
	list_init(&audience->members);
	list_init(&audience->touched);
	list_init(&audience->of_behind);
	list_append(&user->audiences, &audience->of_user);
	return audience;
}

void audience_release(struct audience **audience)
{
	struct audience *old = *audience;
	*audience = NULL;
	if (!old)
		return;
	assert(list_empty(&old->members));
	audience_forget(old);
	free(old->pending);
	free(old->pending_ids);
	list_remove(&old->of_user);
	list_remove(&old->touched);
	list_remove(&old->of_behind);
	window_clear(&old->window);
	run_finish(&old->run);
	free(old->types);
	free(old);
}

bool audience_wants(const struct audience *audience, const char *type)
{
	size_t len = strlen(type);
	for (const char *p = audience->types; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, type, len) && (p[len] == ',' || !p[len]))
			return true;
	}
	return !audience->types;
}

static void *resize(void *items, size_t n, size_t size)
{
	return xrealloc(items, n * size);
}

void audience_add(struct audience *audience, struct block *frame, int64_t id)
{
	if (audience->n_pending == audience->pending_room) {
		size_t room = audience->pending_room ? 2 * audience->pending_room : 4;
		audience->pending = resize(audience->pending, room, sizeof(*audience->pending));
		audience->pending_ids =
			resize(audience->pending_ids, room, sizeof(*audience->pending_ids));
		audience->pending_room = room;
	}
	audience->pending_ids[audience->n_pending] = id;
	audience->pending[audience->n_pending++] = block_ref(frame);
	audience->pending_bytes += frame->len;
}

/* How many of the blocks from i on go into one: as many as fit a single write. */
static size_t joinable(const struct audience *audience, size_t i)
{
	size_t n = 0, len = 0;
	while (i + n < audience->n_pending) {
		len += audience->pending[i + n]->len;
		if (n && len > FRAME_FRAGMENT)
			break;
		n++;
	}
	return n;
}

/* The first event among the n from i on; 0 when none is one. */
static int64_t first_event(const struct audience *audience, size_t i, size_t n)
{
	for (size_t end = i + n; i < end; i++)
		if (audience->pending_ids[i])
			return audience->pending_ids[i];
	return 0;
}

size_t audience_append(struct audience *audience, struct position *from, struct position *to)
{
	for (size_t i = 0, n; i < audience->n_pending; i += n) {
		n = joinable(audience, i);
		int64_t id = first_event(audience, i, n);
		struct window mark = {from, to, id - 1};
		struct block *block = n == 1 ? block_ref(audience->pending[i])
					     : frame_join(audience->pending + i, n);
		run_append(&audience->run, block, id ? &mark : NULL);
		block_unref(&block);
	}
	size_t bytes = audience->pending_bytes;
	audience_forget(audience);
	return bytes;
}

void audience_forget(struct audience *audience)
{
	for (size_t i = 0; i < audience->n_pending; i++)
		block_unref(&audience->pending[i]);
	audience->n_pending = audience->pending_bytes = 0;
}
