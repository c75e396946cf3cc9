/* A timer wheel: setting, moving and removing one of many deadlines takes constant time. A tick
 * examines the entries of one slot; those due in a later revolution stay in it. */
#pragma once

#include <stdint.h>

#include "list.h"

#define WHEEL_SLOTS 512

struct wheel {
	uint64_t now; /* the last tick */
	struct list slots[WHEEL_SLOTS];
};

/* Embedded in the object with the deadline; all zero: on no wheel. */
struct wheel_entry {
	struct list of_slot;
	uint64_t due; /* in ticks */
};

void wheel_init(struct wheel *wheel, uint64_t now);
/* Sets or moves a deadline; one in the past is due at the next tick. */
void wheel_set(struct wheel *wheel, struct wheel_entry *entry, uint64_t due);
/* No effect on an entry that is on no wheel. */
void wheel_remove(struct wheel_entry *entry);
/* Advances to the tick `now` and calls `due` for each entry that is due, after removing it. The
 * callback may set and remove any entry. */
void wheel_advance(struct wheel *wheel, uint64_t now,
	void (*due)(void *ctx, struct wheel_entry *entry), void *ctx);
