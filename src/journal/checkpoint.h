/* Positions of the last minute, one per second, for rollback after a crash or failover that lost
 * commits. */
#pragma once

#include <stddef.h>

#include "position.h"

struct checkpoint;

struct checkpoint *checkpoint_create(void);
void checkpoint_destroy(struct checkpoint **checkpoint);
/* Adds the current position (takes a reference). */
void checkpoint_add(struct checkpoint *checkpoint, struct position *position);
/* Removes the newest n. */
void checkpoint_drop(struct checkpoint *checkpoint, size_t n);
/* 0 is the current position, larger numbers are older; NULL: not that many. */
struct position *checkpoint_at(const struct checkpoint *checkpoint, size_t i);
