#include "users.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "alloc.h"
#include "siphash.h"

struct users {
	uint64_t key[2];
	struct user **buckets;
	size_t n_buckets; /* a power of two */
	size_t n;
	struct list list;
};

struct users *users_create(void)
{
	struct users *users = xcalloc(1, sizeof(*users));
	users->n_buckets = 64;
	users->buckets = xcalloc(users->n_buckets, sizeof(struct user *));
	list_init(&users->list);
	/* 16 bytes come whole or not at all, and only before the pool is ready not at all. */
	while (getrandom(users->key, sizeof(users->key), 0) < 0)
		;
	return users;
}

void users_destroy(struct users **users)
{
	if (!*users)
		return;
	assert(!(*users)->n);
	free((*users)->buckets);
	free(*users);
	*users = NULL;
}

static struct user **bucket(struct users *users, const char *uid)
{
	uint64_t hash = siphash(uid, strlen(uid), users->key);
	return &users->buckets[hash & (users->n_buckets - 1)];
}

static void grow(struct users *users)
{
	free(users->buckets);
	users->n_buckets *= 2;
	users->buckets = xcalloc(users->n_buckets, sizeof(struct user *));
	list_for_each (it, &users->list) {
		struct user *user = LIST_OF(it, struct user, of_users);
		struct user **head = bucket(users, user->uid);
		user->chain = *head;
		*head = user;
	}
}

struct user *users_find(struct users *users, const char *uid)
{
	struct user *user = *bucket(users, uid);
	while (user && strcmp(user->uid, uid) != 0)
		user = user->chain;
	return user;
}

static struct user *user_create(struct users *users, const char *uid)
{
	if (users->n == users->n_buckets)
		grow(users);
	size_t size = strlen(uid) + 1;
	struct user *user = xcalloc(1, sizeof(*user) + size);
	memcpy(user->uid, uid, size);
	list_init(&user->audiences);
	list_append(&users->list, &user->of_users);
	struct user **head = bucket(users, uid);
	user->chain = *head;
	*head = user;
	users->n++;
	return user;
}

struct user *users_acquire(struct users *users, const char *uid)
{
	struct user *user = users_find(users, uid);
	if (!user)
		user = user_create(users, uid);
	user->clients++;
	return user;
}

void users_release(struct users *users, struct user **user)
{
	struct user *left = *user;
	*user = NULL;
	if (!left || --left->clients)
		return;
	assert(list_empty(&left->audiences));
	struct user **link = bucket(users, left->uid);
	while (*link != left)
		link = &(*link)->chain;
	*link = left->chain;
	list_remove(&left->of_users);
	users->n--;
	free(left);
}

struct list *users_list(struct users *users)
{
	return &users->list;
}

size_t users_count(const struct users *users)
{
	return users->n;
}
