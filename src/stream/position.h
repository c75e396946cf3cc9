/* A position says which transactions of the journal have been delivered. Its text comes from SQL
 * and goes back to SQL; C code does not interpret it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Longest cursor on the wire, in bytes: part of the protocol. */
#define CURSOR_MAX 512
/* Digits of a number in it, which fits an int64. */
#define CURSOR_DIGITS 18

struct position {
	uint32_t refs;
	uint32_t history; /* the hub's count of rewinds when it was created */
	uint64_t serial;  /* the hub's at that position */
	bool unverified;  /* from a client, or older than a rewind: history may not have it */
	char *text;	  /* exact: the next pull starts from it */
	char *cursor;	  /* for clients: as exact as CURSOR_MAX allows */
};

struct position *position_create(const char *text, const char *cursor);
struct position *position_ref(struct position *position);
/* Releases a reference and sets the caller's pointer to NULL. NULL is accepted. */
void position_unref(struct position **position);
bool position_equal(const struct position *a, const struct position *b);

/* True when the text has the form of a cursor, so that SQL can read it without an error. */
bool cursor_is_wellformed(const char *text);
