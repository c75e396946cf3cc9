/* An audience is the clients of a uid that get the same bytes: same protocol, same types, and the
 * same window to catch up with (none when they are live). It has one stream; its members are
 * readers of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "batch.h"
#include "protocol.h"
#include "users.h"

/* There are as many as users, and nearly all are live and have nothing pending: the state that the
 * others need is allocated separately. */
struct audience {
	struct list of_user; /* in user.audiences */
	struct list members; /* of client.of_audience */
	struct user *user;
	char *types; /* comma-separated; NULL: all; with a comma in front: all but these */
	struct stream stream;
	struct batch *batch;	 /* NULL: nothing is pending */
	struct catchup *catchup; /* NULL: live */
	uint64_t cursor_serial;	 /* hub.serial of the last cursor or answer that it got */
	const struct protocol *protocol;
};

/* How far an audience has caught up. */
struct catchup {
	struct list of_hub; /* in hub.catching_up */
	struct audience *audience;
	struct window window;
	struct catchup **page_owner; /* its entry in hub.page_owners; NULL: no page in this turn */
	int64_t page_last_id;	     /* of the page's events so far */
	int64_t page_upto;	     /* the page has every event up to this id; 0: of the window */
	const char *reset_reason;    /* why the window cannot be read; NULL: it can */
	const char *end_lost;	     /* why its end is no position any more; NULL: unknown */
	bool held;		     /* its member waits for an answer to init first */
};

static inline bool audience_is_live(const struct audience *audience)
{
	return !audience->catchup;
}

/* The audience with that protocol, types and window (NULL: live), created when there is none. */
struct audience *audience_get(struct user *user, const struct protocol *protocol, const char *types,
	const struct window *window);
/* The same, always a new one. */
struct audience *audience_create(struct user *user, const struct protocol *protocol,
	const char *types, const struct window *window);
/* A live audience catches up with a window from now on. */
void audience_start_catchup(struct audience *audience, const struct window *window);
/* The stream has the window up to the id `after`; an open window ends at `to`. */
void catchup_advance(struct catchup *catchup, struct position *to, int64_t after);
/* Frees an audience without members and sets the caller's pointer to NULL. NULL is accepted. */
void audience_release(struct audience **audience);
/* Frees it if it has neither members nor anything pending. */
void audience_release_if_idle(struct audience *audience);
bool same_types(const char *a, const char *b);
/* True when the types of an audience have the type. */
bool types_include(const char *types, const char *type);
/* The types without one of them, to be freed by the caller. */
char *types_without(const char *types, const char *type);
