#include "checkpoint.h"

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

void past_forget(struct past *past, size_t n)
{
	if (n > past->n)
		n = past->n;
	for (size_t i = 0; i < n; i++)
		position_unref(&past->entries[i].position);
	past->n -= n;
	memmove(past->entries, past->entries + n, past->n * sizeof(struct entry));
}

void past_destroy(struct past **past)
{
	if (!*past)
		return;
	past_forget(*past, ENTRIES);
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
