/* Unsent bytes, shared by readers.
 *
 * A stream is an append-only sequence of blocks that ends in an empty node. A reader is an offset
 * into a stream: a node, and how many bytes of it are written. A node is counted by the readers on
 * it and by the node before it, so the nodes that the slowest reader has passed free themselves;
 * nothing is stored per reader and message. Blocks for one reader alone (its answer to init) form a
 * private segment, whose last node leads back into the stream. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "block.h"
#include "window.h"

struct node;

struct stream {
	struct node *tail; /* the empty node at the end */
};

void stream_init(struct stream *stream);
void stream_finish(struct stream *stream);
/* Appends a block (taking a reference of its own). A reader that abandons the stream before this
 * block misses `resume_point` (copied); NULL: the block is not from the journal, and nothing is
 * missed. */
void stream_append(struct stream *stream, struct block *block, const struct window *resume_point);
/* Lets the end of a stream lead into another; the first one is to be finished then. */
void stream_continue(struct stream *stream, struct stream *into);

struct reader {
	struct node *at; /* NULL: on no stream */
	size_t sent;	 /* bytes of `at` that are written */
	size_t queued;	 /* bytes from here to the end, kept up to date by the code that appends */
};

/* Starts at the end of the stream: reads the blocks that are appended from now on. */
void reader_attach(struct reader *reader, struct stream *stream);
void reader_finish(struct reader *reader);

/* The next bytes to write, ending on a frame boundary; false when there are none. */
bool reader_peek(struct reader *reader, const unsigned char **bytes, size_t *len);
/* The first `len` of the bytes last peeked at are written. */
void reader_advance(struct reader *reader, size_t len);

/* Adds a private block before everything; nothing may be half written. */
void reader_prepend(struct reader *reader, struct block *block);
/* Adds a private block behind everything that is in the reader's stream now. */
void reader_insert(struct reader *reader, struct stream *stream, struct block *block);

/* Goes on at the end of another stream, behind everything that is in its stream now. */
void reader_detach(struct reader *reader, struct stream *from, struct stream *to);

/* Leaves the stream, keeping only blocks that are private or half written. Returns true and fills
 * `rest` (to be cleared by the caller) with the missed window; false when nothing is missed. */
bool reader_abandon(struct reader *reader, struct window *rest);
/* Goes on at the end of another stream, behind the blocks that were kept. */
void reader_move(struct reader *reader, struct stream *to);
