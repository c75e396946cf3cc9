#include "window.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

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
	window->from->unverified = true;
	if (window->to)
		window->to->unverified = true;
}

bool window_equal(const struct window *a, const struct window *b)
{
	return a->after == b->after && position_equal(a->from, b->from) &&
	       position_equal(a->to, b->to);
}

/* ---- cursors ---- */

#define SEPARATOR '~'

char *window_cursor(const struct window *window)
{
	const char *from = window->from->cursor;
	if (!window->to)
		return xstrdup(from);
	char *text = xasprintf("%s%c%lld%s", from, SEPARATOR, (long long)window->after,
		strchr(window->to->cursor, '.'));
	text[strlen(from) + strcspn(text + strlen(from), ".")] = SEPARATOR;
	if (strlen(text) <= CURSOR_MAX)
		return text;
	free(text);
	return NULL;
}

static struct position *unverified(char *text, uint32_t history)
{
	struct position *position = cursor_is_wellformed(text) ? position_create(text, text) : NULL;
	if (position) {
		position->unverified = true;
		position->history = history;
	}
	free(text);
	return position;
}

bool window_parse(struct window *window, const char *cursor, uint32_t history)
{
	*window = (struct window){0};
	const char *after = strchr(cursor, SEPARATOR);
	const char *to = after ? strchr(after + 1, SEPARATOR) : NULL;
	if (!after) {
		window->from = unverified(xstrdup(cursor), history);
		return window->from;
	}
	size_t digits = strspn(after + 1, "0123456789");
	if (!to || strlen(cursor) > CURSOR_MAX || digits < 1 || digits > CURSOR_DIGITS ||
		after + 1 + digits != to)
		return false;
	window->after = strtoll(after + 1, NULL, 10);
	window->from = unverified(xasprintf("%.*s", (int)(after - cursor), cursor), history);
	window->to = unverified(
		xasprintf("%.*s.%s", (int)strcspn(cursor, "."), cursor, to + 1), history);
	if (window->from && window->to && window->after)
		return true;
	window_clear(window);
	return false;
}
