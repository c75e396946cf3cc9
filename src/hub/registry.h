/* Who is connected: uid -> audiences -> members.
 *
 * An audience is those clients of a uid that get the same bytes: same kind, same types, and the
 * same window to catch up with (none when they are live). It has one run; its members are readers
 * of it. The hash is keyed, since uids come from strangers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "list.h"
#include "stream.h"

enum kind {
	KIND_PLAIN, /* no subprotocol: messages with data, nothing else */
	KIND_V1,    /* pgcast.v1: control messages too */
};

/* There are as many as users, and nearly all of them are live and have nothing pending: what the
 * others need stands aside. */
struct audience {
	struct list of_user; /* in user.audiences */
	struct list members; /* of client.of_audience */
	struct user *user;
	char *types; /* comma-separated; NULL: all */
	struct run run;
	struct batch *batch;   /* NULL: nothing is pending */
	struct behind *behind; /* NULL: live */
	uint64_t told;	       /* the hub's position number in the last cursor message */
	enum kind kind;
};

/* Where an audience that is catching up has got to. */
struct behind {
	struct list of_hub; /* in the hub's list of those catching up */
	struct audience *audience;
	struct window window;
	struct behind **slot; /* where the plan has its page; cleared when it goes; NULL: none */
	size_t page;	      /* this turn's page + 1; 0: none */
	int64_t page_last;    /* that page: id of its last event so far, */
	size_t page_rows;     /* its events so far, */
	const char *lost;     /* and why there is none: a reset's reason; NULL: there is one */
};

/* Frames that an audience gets by the next flush and that are not in its run yet; without any, what
 * is in the run is still to be written. */
#define BATCH_FEW 4
struct batch {
	struct list of_hub; /* in the hub's list of those with something pending */
	struct audience *audience;
	struct block **frames;
	int64_t *ids; /* of their events */
	size_t n, room, bytes;
	struct block *few[BATCH_FEW]; /* what frames and ids are while there are no more */
	int64_t few_ids[BATCH_FEW];
};

struct user {
	struct list of_registry; /* in all users, for broadcasts */
	struct user *chain;	 /* hash bucket */
	struct list audiences;
	size_t clients;
	char uid[];
};

struct registry;

struct registry *registry_create(void);
/* Everyone must have left. */
void registry_destroy(struct registry **registry);

/* The user with that uid, or NULL. */
struct user *registry_find(struct registry *registry, const char *uid);
/* The user with that uid, made when there is none; holds one client more. */
struct user *registry_enter(struct registry *registry, const char *uid);
/* One client fewer; the last one takes the user with it. Its audiences must be released before. */
void registry_leave(struct registry *registry, struct user **user);
struct list *registry_users(struct registry *registry);
size_t registry_count(const struct registry *registry);

static inline bool audience_live(const struct audience *audience)
{
	return !audience->behind;
}

/* The audience of that kind, types and window (NULL: live), made when there is none. */
struct audience *audience_get(
	struct user *user, enum kind kind, const char *types, const struct window *window);
/* A live audience is catching up from now on; such an audience has another window. */
void audience_fall_behind(struct audience *audience, const struct window *window);
/* The run holds the window as far as the page has come; `to` is where an open window ends. */
void behind_advance(struct behind *behind, struct position *to);
/* Frees an audience that has no members. */
void audience_release(struct audience **audience);
bool audience_wants(const struct audience *audience, const char *type);
/* Adds a frame (taking a reference) to what the next flush appends to the run. Ids of events grow
 * from call to call; 0: not an event of the journal. */
void audience_add(struct audience *audience, struct block *frame, int64_t id);
/* Appends what is pending, of the window between these positions, to the run, joined to blocks of
 * BLOCK_WRITE_MAX at most; returns the bytes. The batch stays, empty. */
size_t audience_append(struct audience *audience, struct position *from, struct position *to);
/* Drops the batch with all that is in it. */
void audience_forget(struct audience *audience);
