#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct batch *batch_create(struct audience *audience)
{
	struct batch *batch = xcalloc(1, sizeof(*batch));
	batch->audience = audience;
	batch->blocks = batch->inline_blocks;
	batch->ids = batch->inline_ids;
	batch->capacity = BATCH_INLINE;
	list_init(&batch->of_dirty);
	list_init(&batch->of_unwritten);
	return batch;
}

void batch_clear(struct batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		block_unref(&batch->blocks[i]);
	batch->n = batch->cursors = batch->bytes = batch->broadcasts = 0;
}

void batch_destroy(struct batch **batch)
{
	struct batch *old = *batch;
	*batch = NULL;
	if (!old)
		return;
	batch_clear(old);
	if (old->blocks != old->inline_blocks) {
		free(old->blocks);
		free(old->ids);
	}
	list_remove(&old->of_dirty);
	list_remove(&old->of_unwritten);
	free(old);
}

/* Doubles an array of n items, which begins inside the batch. */
static void *grow(void *items, const void *inline_items, size_t n, size_t size)
{
	void *more = xrealloc(items == inline_items ? NULL : items, 2 * n * size);
	return items == inline_items ? memcpy(more, inline_items, n * size) : more;
}

void batch_add(struct batch *batch, struct block *block, int64_t id)
{
	if (batch->n == batch->capacity) {
		batch->blocks =
			grow(batch->blocks, batch->inline_blocks, batch->n, sizeof(*batch->blocks));
		batch->ids = grow(batch->ids, batch->inline_ids, batch->n, sizeof(*batch->ids));
		batch->capacity *= 2;
	}
	batch->ids[batch->n] = id;
	batch->blocks[batch->n++] = block_ref(block);
	batch->bytes += block->len;
}

/* The number of blocks from i on that fit one write. */
static size_t joinable(const struct batch *batch, size_t i)
{
	size_t n = 0, len = 0;
	while (i + n < batch->n) {
		len += batch->blocks[i + n]->len;
		if (n && len > BLOCK_WRITE_MAX)
			break;
		n++;
	}
	return n;
}

/* The first event among the n from i on; 0: none. */
static int64_t first_event(const struct batch *batch, size_t i, size_t n)
{
	for (size_t end = i + n; i < end; i++)
		if (batch->ids[i])
			return batch->ids[i];
	return 0;
}

void batch_join(struct batch *batch)
{
	size_t joined = 0;
	for (size_t i = 0, n; i < batch->n; i += n) {
		n = joinable(batch, i);
		int64_t id = first_event(batch, i, n);
		struct block *block = batch->blocks[i];
		if (n > 1)
			block = block_join(batch->blocks + i, n);
		for (size_t k = i; n > 1 && k < i + n; k++)
			block_unref(&batch->blocks[k]);
		batch->ids[joined] = id;
		batch->blocks[joined++] = block;
	}
	batch->n = joined;
}

void batch_append(const struct batch *batch, struct stream *stream, struct position *from,
	struct position *to)
{
	for (size_t i = 0; i < batch->n; i++) {
		int64_t id = batch->ids[i];
		struct window resume_point = {from, to, id - 1};
		stream_append(stream, batch->blocks[i], id ? &resume_point : NULL);
	}
}
