/* Positions and windows.
 *
 * A position says which transactions of the journal have been seen. Its text comes from SQL and
 * goes back to SQL; nothing here interprets it. A window is what lies between two positions, from
 * some event id on: what a client that is behind still has to get. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longest cursor on the wire, by the contract. */
#define CURSOR_MAX 512

struct position {
	uint32_t refs;
	uint32_t history; /* the hub's count of rewinds when it was made */
	bool foreign;	  /* came from outside, or from before a rewind: may not hold */
	char *text;	  /* exact; what the next pull starts from */
	char *cursor;	  /* what a client may resume from: as exact as CURSOR_MAX allows */
};

struct position *position_create(const char *text, const char *cursor);
struct position *position_ref(struct position *position);
/* Gives up a reference and sets the caller's pointer to NULL. NULL is accepted. */
void position_unref(struct position **position);

/* The events delivered in `to` and not in `from`, with id > after, and then all that comes after
 * `to`. `to` is NULL while after is 0: then the window is open, everything since `from`. */
struct window {
	struct position *from, *to;
	int64_t after;
};

/* Takes references of its own. */
struct window window_copy(const struct window *window);
void window_clear(struct window *window);
/* A window from before a rewind: what lies in it may not have happened, so that it is read from its
 * beginning, if that holds at all. */
void window_rewind(struct window *window, uint32_t history);
bool window_equal(const struct window *a, const struct window *b);

/* True when the text has the form of a cursor, so that SQL can read it without an error. */
bool cursor_wellformed(const char *text);
