/* The witness of a position: transactions of which one is missing if the position has any that a
 * crash or a failover lost. See "Cursors and lost commits" in docs/design.md.
 *
 * PostgreSQL loses the newest commits. The order of commits is not known, but a transaction that
 * wrote an event after a snapshot was taken commits behind all that this snapshot shows. So the
 * transactions of the last turns are enough, from the first turn after such a snapshot on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct witness;

struct witness *witness_create(void);
/* NULL is accepted; sets the caller's pointer to NULL. */
void witness_destroy(struct witness **witness);

/* History went another way, or this is the first connection: the next turn continues `position`,
 * which is "" when there is none. */
void witness_restart(struct witness *witness, const char *position);
/* A turn has ended at `position` and brought the transactions of `brought`, as pull.sql describes
 * them. `in_order`: they became visible in the order of their commits, as on a standby. */
void witness_add(struct witness *witness, const char *position, const char *brought, bool in_order);
/* The position with the witness, as text to be freed by the caller. */
char *witness_position(const struct witness *witness, const char *position);
/* A cursor of an earlier position with the witness of this one; NULL: too long. To be freed by the
 * caller. */
char *witness_earlier_cursor(
	const struct witness *witness, const char *position, const char *earlier);
