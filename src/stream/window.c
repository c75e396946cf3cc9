#include "window.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct position *position_create(const char *text, const char *cursor)
{
	struct position *position = xcalloc(1, sizeof(*position));
	position->refs = 1;
	position->text = xstrdup(text);
	position->cursor = xstrdup(cursor);
	return position;
}

struct position *position_ref(struct position *position)
{
	if (position)
		position->refs++;
	return position;
}

void position_unref(struct position **position)
{
	struct position *old = *position;
	*position = NULL;
	if (!old || --old->refs)
		return;
	free(old->text);
	free(old->cursor);
	free(old);
}

struct window window_copy(const struct window *window)
{
	position_ref(window->from);
	position_ref(window->to);
	return *window;
}

void window_clear(struct window *window)
{
	position_unref(&window->from);
	position_unref(&window->to);
	window->after = 0;
}

void window_rewind(struct window *window, uint32_t history)
{
	if (!*window->from->text || window->from->history == history)
		return;
	position_unref(&window->to);
	window->after = 0;
	window->from->foreign = true;
}

static bool position_equal(const struct position *a, const struct position *b)
{
	return a == b || (a && b && a->foreign == b->foreign && !strcmp(a->text, b->text));
}

bool window_equal(const struct window *a, const struct window *b)
{
	return a->after == b->after && position_equal(a->from, b->from) &&
	       position_equal(a->to, b->to);
}

/* epoch.anchor.at.m[.distance…]: see docs/design.md. Every number fits an int64 but the epoch,
 * which is compared as text. */
bool cursor_wellformed(const char *text)
{
	enum { FIELDS = 4, DIGITS = 18, EPOCH_DIGITS = 20 };
	if (strlen(text) > CURSOR_MAX)
		return false;
	int fields = 0;
	for (const char *p = text;; p++) {
		size_t digits = strspn(p, "0123456789");
		if (!digits || digits > (fields ? DIGITS : EPOCH_DIGITS))
			return false;
		fields++;
		p += digits;
		if (!*p)
			return fields >= FIELDS;
		if (*p != '.')
			return false;
	}
}
