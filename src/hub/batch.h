/* The blocks that an audience gets by the next flush, and that are not in its stream yet. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "stream.h"

struct audience;

#define BATCH_INLINE 4

/* An empty batch says that the stream has blocks still to be written. */
struct batch {
	struct list of_dirty; /* in hub.dirty */
	struct audience *audience;
	struct block **blocks; /* inline_blocks while they fit */
	int64_t *ids;	       /* of their events; 0: not an event of the journal */
	size_t n, capacity, bytes;
	struct block *inline_blocks[BATCH_INLINE];
	int64_t inline_ids[BATCH_INLINE];
};

struct batch *batch_create(struct audience *audience);
/* Takes itself off the list of dirty ones. NULL is accepted. */
void batch_destroy(struct batch **batch);
/* Takes a reference of the block. Ids of events grow from call to call. */
void batch_add(struct batch *batch, struct block *block, int64_t id);
/* Appends the blocks to a stream, joined into writes of BLOCK_WRITE_MAX bytes at most, and empties
 * the batch. They are events of the window between these positions. Returns their bytes. */
size_t batch_append(
	struct batch *batch, struct stream *stream, struct position *from, struct position *to);
