#include "position.h"

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

bool position_equal(const struct position *a, const struct position *b)
{
	return a == b || (a && b && a->unverified == b->unverified && !strcmp(a->text, b->text));
}

/* epoch.anchor.at.m[.distance…]: see docs/design.md. Every number fits an int64, except the epoch,
 * which is compared as text. */
bool cursor_is_wellformed(const char *text)
{
	enum { FIELDS = 4, EPOCH_DIGITS = 20 };
	if (strlen(text) > CURSOR_MAX)
		return false;
	int fields = 0;
	for (const char *p = text;; p++) {
		size_t digits = strspn(p, "0123456789");
		if (!digits || digits > (fields ? CURSOR_DIGITS : EPOCH_DIGITS))
			return false;
		fields++;
		p += digits;
		if (!*p)
			return fields >= FIELDS;
		if (*p != '.')
			return false;
	}
}
