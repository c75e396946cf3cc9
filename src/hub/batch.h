/* The pending state of one audience: blocks that are not in its stream yet, and members that have
 * not been written to since it grew. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "stream.h"

struct audience;

#define BATCH_INLINE 4

struct batch {
	struct list of_dirty;	  /* in hub.dirty: it has blocks */
	struct list of_unwritten; /* in hub.unwritten: it has members to write to, */
	size_t unwritten;	  /* the first so many of the audience's list */
	struct audience *audience;
	struct block **blocks;		    /* inline_blocks while they fit */
	int64_t *ids;			    /* of their events; 0: not an event of the journal */
	size_t n, capacity, bytes, cursors; /* cursors: so many blocks are no events */
	size_t broadcasts; /* of hub.broadcasts: the first so many are in the batch */
	struct block *inline_blocks[BATCH_INLINE];
	int64_t inline_ids[BATCH_INLINE];
};

struct batch *batch_create(struct audience *audience);
/* Takes itself off both lists. NULL is accepted. */
void batch_destroy(struct batch **batch);
/* Takes a reference of the block. Ids of events grow from call to call. */
void batch_add(struct batch *batch, struct block *block, int64_t id);
/* Joins the blocks into writes of BLOCK_WRITE_MAX bytes at most; ids are those of the first events.
 */
void batch_join(struct batch *batch);
/* Appends the blocks, joined before, to a stream: events of the window between these positions. */
void batch_append(const struct batch *batch, struct stream *stream, struct position *from,
	struct position *to);
void batch_clear(struct batch *batch);
