/* Where the bridge has been: positions of the last minute, one a second, in case that after a crash
 * or a failover the newest ones turn out never to have happened. */
#pragma once

#include <stddef.h>

#include "position.h"

struct past;

struct past *past_create(void);
void past_destroy(struct past **past);
/* Forgets the n newest. */
void past_forget(struct past *past, size_t n);
/* Now the bridge is here (takes a reference). */
void past_add(struct past *past, struct position *position);
/* 0: where it is now; greater: longer ago; NULL: not remembered. */
struct position *past_at(const struct past *past, size_t i);
