#include "window.h"

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
	window->from->unverified = true;
}

bool window_equal(const struct window *a, const struct window *b)
{
	return a->after == b->after && position_equal(a->from, b->from) &&
	       position_equal(a->to, b->to);
}
