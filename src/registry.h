/* Who is connected: uid -> audiences -> members.
 *
 * An audience is those clients of a uid that get the same bytes (same kind, same types). It has one
 * run; its members are readers of it. The hash is keyed, since uids come from strangers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "list.h"
#include "outbox.h"

enum kind {
	KIND_PLAIN, /* no subprotocol: messages with data, nothing else */
	KIND_V1,    /* pgcast.v1: control messages too */
};

struct audience {
	struct list of_user;   /* in user.audiences */
	struct list touched;   /* in the hub's list of this turn, or on none */
	struct list members;   /* of client.of_audience */
	struct user *user;
	enum kind kind;
	char *types;           /* sorted, comma-separated; NULL: all */
	struct run run;
	struct block **pending; /* this turn's frames, not yet in the run */
	size_t n_pending, pending_room, pending_bytes;
};

struct user {
	struct list of_registry; /* in all users, for broadcasts */
	struct user *chain;      /* hash bucket */
	struct list audiences;
	size_t clients;          /* live and catching up */
	char uid[];
};

struct registry;

struct registry *registry_create(void);
void registry_destroy(struct registry **registry);

/* The user with that uid, or NULL. */
struct user *registry_find(struct registry *registry, const char *uid);
/* The user with that uid, made when there is none; holds one client more. */
struct user *registry_enter(struct registry *registry, const char *uid);
/* One client fewer; the last one takes the user with it. */
void registry_leave(struct registry *registry, struct user **user);
struct list *registry_users(struct registry *registry);
size_t registry_count(const struct registry *registry);

/* The audience of that kind and those types, made when there is none. */
struct audience *audience_get(struct user *user, enum kind kind, const char *types);
/* Frees the audience when it has no members and nothing pending. */
void audience_release(struct audience **audience);
bool audience_wants(const struct audience *audience, const char *type);
/* Adds a frame (taking a reference) to what the end of the turn will append to the run. */
void audience_add(struct audience *audience, struct block *frame);
