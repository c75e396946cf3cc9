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

/* ---- the form of a cursor ---- */

/* Skips digits, so few that they fit an int64. */
static bool skip_number(const char **p)
{
	size_t digits = strspn(*p, "0123456789");
	*p += digits;
	return digits && digits <= CURSOR_DIGITS;
}

static bool skip(const char **p, char c)
{
	bool found = **p == c;
	*p += found;
	return found;
}

static bool skip_numbers(const char **p, char separator)
{
	do {
		if (!skip_number(p))
			return false;
	} while (skip(p, separator));
	return true;
}

/* at[-SUM-LOW[-ENDED[-HIGH-OPEN]]]: see src/journal/witness.c. ENDED may be empty before HIGH. */
static bool skip_witness(const char **p)
{
	if (!skip_number(p) || !skip(p, '-'))
		return true; /* a wrong end is found by the caller */
	if (!skip_number(p) || !skip(p, '-') || !skip_number(p))
		return false;
	if (!skip(p, '-'))
		return true;
	if (**p != '-' && !skip_numbers(p, '_'))
		return false;
	if (!skip(p, '-'))
		return true;
	if (!skip_number(p) || !skip(p, '-'))
		return false;
	size_t digits = strspn(*p, "0123456789abcdef");
	*p += digits;
	return digits % 2 == 0;
}

/* epoch.anchor.WITNESS.m[.distance…]: see docs/design.md. */
bool cursor_is_wellformed(const char *text)
{
	const size_t epoch_digits = 20; /* it is compared as text */
	const char *p = text + strspn(text, "0123456789");
	return strlen(text) <= CURSOR_MAX && p > text && p <= text + epoch_digits &&
	       skip(&p, '.') && skip_number(&p) && skip(&p, '.') && skip_witness(&p) &&
	       skip(&p, '.') && skip_numbers(&p, '.') && !*p;
}
