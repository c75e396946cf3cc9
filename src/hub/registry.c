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

static bool same_window(const struct audience *audience, const struct window *window)
{
	if (audience_live(audience) || !window)
		return audience_live(audience) && !window;
	/* What one that is behind is about to get, who joins it may have had. */
	return !audience->batch && window_equal(&audience->behind->window, window);
}

struct audience *audience_get(
	struct user *user, enum kind kind, const char *types, const struct window *window)
{
	list_for_each (it, &user->audiences) {
		struct audience *old = LIST_OF(it, struct audience, of_user);
		if (old->kind == kind && same_types(old->types, types) && same_window(old, window))
			return old;
	}
	struct audience *audience = xcalloc(1, sizeof(*audience));
	audience->user = user;
	audience->kind = kind;
	audience->types = types ? xstrdup(types) : NULL;
	run_init(&audience->run);
	list_init(&audience->members);
	list_append(&user->audiences, &audience->of_user);
	if (window)
		audience_fall_behind(audience, window);
	return audience;
}

void audience_fall_behind(struct audience *audience, const struct window *window)
{
	assert(audience_live(audience) && window->from);
	struct behind *behind = xcalloc(1, sizeof(*behind));
	behind->audience = audience;
	behind->window = window_copy(window);
	list_init(&behind->of_hub);
	audience->behind = behind;
}

void behind_advance(struct behind *behind, struct position *to)
{
	if (!behind->window.to)
		behind->window.to = position_ref(to);
	behind->window.after = behind->page_last;
}

static void behind_free(struct behind **behind)
{
	struct behind *old = *behind;
	*behind = NULL;
	if (!old)
		return;
	if (old->slot)
		*old->slot = NULL;
	list_remove(&old->of_hub);
	window_clear(&old->window);
	free(old);
}

void audience_release(struct audience **audience)
{
	struct audience *old = *audience;
	*audience = NULL;
	if (!old)
		return;
	assert(list_empty(&old->members));
	audience_forget(old);
	behind_free(&old->behind);
	list_remove(&old->of_user);
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

static struct batch *batch_create(struct audience *audience)
{
	struct batch *batch = xcalloc(1, sizeof(*batch));
	batch->audience = audience;
	batch->frames = batch->few;
	batch->ids = batch->few_ids;
	batch->room = BATCH_FEW;
	list_init(&batch->of_hub);
	return batch;
}

/* Twice as many items; the first few have their place in the batch. */
static void *grown(void *items, const void *few, size_t n, size_t size)
{
	void *more = xrealloc(items == few ? NULL : items, 2 * n * size);
	return items == few ? memcpy(more, few, n * size) : more;
}

void audience_add(struct audience *audience, struct block *frame, int64_t id)
{
	if (!audience->batch)
		audience->batch = batch_create(audience);
	struct batch *batch = audience->batch;
	if (batch->n == batch->room) {
		batch->frames = grown(batch->frames, batch->few, batch->n, sizeof(*batch->frames));
		batch->ids = grown(batch->ids, batch->few_ids, batch->n, sizeof(*batch->ids));
		batch->room *= 2;
	}
	batch->ids[batch->n] = id;
	batch->frames[batch->n++] = block_ref(frame);
	batch->bytes += frame->len;
}

/* How many of the frames from i on go into one block: as many as fit a single write. */
static size_t joinable(const struct batch *batch, size_t i)
{
	size_t n = 0, len = 0;
	while (i + n < batch->n) {
		len += batch->frames[i + n]->len;
		if (n && len > BLOCK_WRITE_MAX)
			break;
		n++;
	}
	return n;
}

/* The first event among the n from i on; 0 when none is one. */
static int64_t first_event(const struct batch *batch, size_t i, size_t n)
{
	for (size_t end = i + n; i < end; i++)
		if (batch->ids[i])
			return batch->ids[i];
	return 0;
}

static void empty(struct batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		block_unref(&batch->frames[i]);
	batch->n = batch->bytes = 0;
}

size_t audience_append(struct audience *audience, struct position *from, struct position *to)
{
	struct batch *batch = audience->batch;
	if (!batch)
		return 0;
	for (size_t i = 0, n; i < batch->n; i += n) {
		n = joinable(batch, i);
		int64_t id = first_event(batch, i, n);
		struct window mark = {from, to, id - 1};
		struct block *block =
			n == 1 ? block_ref(batch->frames[i]) : block_join(batch->frames + i, n);
		run_append(&audience->run, block, id ? &mark : NULL);
		block_unref(&block);
	}
	size_t bytes = batch->bytes;
	empty(batch);
	return bytes;
}

void audience_forget(struct audience *audience)
{
	struct batch *batch = audience->batch;
	audience->batch = NULL;
	if (!batch)
		return;
	empty(batch);
	if (batch->frames != batch->few) {
		free(batch->frames);
		free(batch->ids);
	}
	list_remove(&batch->of_hub);
	free(batch);
}
