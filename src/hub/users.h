/* The users that are connected, by uid. The hash is keyed, because uids come from strangers. */
#pragma once

#include <stddef.h>

#include "list.h"

struct user {
	struct list of_users; /* in users_list, for broadcasts */
	struct user *chain;   /* hash bucket */
	struct list audiences;
	size_t clients;
	char uid[];
};

struct users;

struct users *users_create(void);
/* Every user must have been released. */
void users_destroy(struct users **users);

/* The user with that uid, or NULL. */
struct user *users_find(struct users *users, const char *uid);
/* The user with that uid, created when there is none; counts one client more. */
struct user *users_acquire(struct users *users, const char *uid);
/* Counts one client less; the last one frees the user, whose audiences must be released before.
 * Sets the caller's pointer to NULL, which is accepted. */
void users_release(struct users *users, struct user **user);
struct list *users_list(struct users *users);
size_t users_count(const struct users *users);
