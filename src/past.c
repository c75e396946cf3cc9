#include "past.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"

#define ENTRIES 64
#define STEP 1000 /* milliseconds between two that are kept */

struct entry {
	struct position *position;
	uint64_t ms;
};

struct past {
	struct entry entries[ENTRIES]; /* newest first */
	size_t n;
};

struct past *past_create(void)
{
	return xcalloc(1, sizeof(struct past));
}

void past_clear(struct past *past)
{
	while (past->n)
		position_unref(&past->entries[--past->n].position);
}

void past_destroy(struct past **past)
{
	if (!*past)
		return;
	past_clear(*past);
	free(*past);
	*past = NULL;
}

/* The newest entry is replaced until it is a step away from the one before. */
static bool newest_stays(const struct past *past)
{
	const struct entry *entries = past->entries;
	return past->n == 1 || (past->n && entries[0].ms - entries[1].ms >= STEP);
}

void past_add(struct past *past, struct position *position)
{
	if (past->n && !newest_stays(past)) {
		position_unref(&past->entries[0].position);
	} else {
		if (past->n == ENTRIES)
			position_unref(&past->entries[--past->n].position);
		memmove(past->entries + 1, past->entries, past->n * sizeof(struct entry));
		past->n++;
	}
	past->entries[0] = (struct entry){position_ref(position), clock_ms()};
}

struct position *past_at(const struct past *past, size_t i)
{
	return i < past->n ? past->entries[i].position : NULL;
}
