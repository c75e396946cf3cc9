#include "checkpoint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"

#define ENTRIES 64
#define STEP 1000 /* min milliseconds between two entries, the newest one excepted */

struct entry {
	struct position *position;
	uint64_t ms;
};

struct checkpoint {
	struct entry entries[ENTRIES]; /* newest first */
	size_t n;
};

struct checkpoint *checkpoint_create(void)
{
	return xcalloc(1, sizeof(struct checkpoint));
}

void checkpoint_drop(struct checkpoint *checkpoint, size_t n)
{
	if (n > checkpoint->n)
		n = checkpoint->n;
	for (size_t i = 0; i < n; i++)
		position_unref(&checkpoint->entries[i].position);
	checkpoint->n -= n;
	memmove(checkpoint->entries, checkpoint->entries + n, checkpoint->n * sizeof(struct entry));
}

void checkpoint_destroy(struct checkpoint **checkpoint)
{
	if (!*checkpoint)
		return;
	checkpoint_drop(*checkpoint, ENTRIES);
	free(*checkpoint);
	*checkpoint = NULL;
}

void checkpoint_add(struct checkpoint *checkpoint, struct position *position)
{
	struct entry *entries = checkpoint->entries;
	/* The newest entry is replaced until it is STEP later than the one before. */
	if (checkpoint->n > 1 && entries[0].ms - entries[1].ms < STEP) {
		position_unref(&entries[0].position);
	} else {
		if (checkpoint->n == ENTRIES)
			position_unref(&entries[--checkpoint->n].position);
		memmove(entries + 1, entries, checkpoint->n * sizeof(*entries));
		checkpoint->n++;
	}
	entries[0] = (struct entry){position_ref(position), clock_ms()};
}

struct position *checkpoint_at(const struct checkpoint *checkpoint, size_t i)
{
	return i < checkpoint->n ? checkpoint->entries[i].position : NULL;
}
