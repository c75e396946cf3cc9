/* Deadlines of many things at once: putting one in, moving it and taking it out cost the same
 * however many there are, where a sorted list would be walked for each. A tick looks at what may be
 * due in its slot; what is due a whole turn of the wheel later stays where it is. */
#pragma once

#include <stdint.h>

#include "list.h"

#define WHEEL_SLOTS 512

struct wheel {
	uint64_t now; /* the last tick */
	struct list slots[WHEEL_SLOTS];
};

/* Embedded in what has the deadline; all zero means on no wheel. */
struct wheel_entry {
	struct list of_slot;
	uint64_t due; /* in ticks */
};

void wheel_init(struct wheel *wheel, uint64_t now);
/* Due at the tick `due`, at the next one when that is over. Moves an entry that is on the wheel. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t due);
/* Harmless on an entry that is on no wheel. */
void wheel_remove(struct wheel_entry *entry);
/* Goes on to the tick `now` and calls `due` for each entry that is; it is off the wheel by then.
 * The callback may set and remove any entry. */
void wheel_advance(struct wheel *wheel, uint64_t now,
	void (*due)(void *ctx, struct wheel_entry *entry), void *ctx);
