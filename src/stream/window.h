/* A window is the part of the journal that a client still has to get: the events delivered in `to`
 * and not in `from`, with id > after, and everything that follows `to`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "position.h"

/* `to` is NULL while `after` is 0: the window is open and has everything since `from`. */
struct window {
	struct position *from, *to;
	int64_t after;
};

/* Takes references of its own. */
struct window window_copy(const struct window *window);
void window_clear(struct window *window);
/* After a rewind, which made `history`: a window of an older one is unverified. */
void window_rewind(struct window *window, uint32_t history);
bool window_equal(const struct window *a, const struct window *b);

/* The cursor of a window as text, to be freed by the caller; NULL: longer than CURSOR_MAX. It is
 * that of a position, or FROM~AFTER~TO, with TO without its epoch. */
char *window_cursor(const struct window *window);
/* The window of a cursor, which `history` may not have. False when the text is not a cursor. */
bool window_parse(struct window *window, const char *cursor, uint32_t history);
