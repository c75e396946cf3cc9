/* What is still to be written, shared.
 *
 * A run is an append-only sequence of blocks that ends in an empty node. A reader is an offset into a
 * run: a node and the bytes of it that are written. Nodes are counted by who stands on them and by
 * the node before, so what the slowest reader has passed frees itself; nothing is stored per reader
 * and message. A reader that gets something of its own (an answer, a page of the journal) leaves for
 * nodes of its own that lead back into the run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "frame.h"
#include "window.h"

struct node;

struct run {
	struct node *tail; /* the empty node at the end */
};

void run_init(struct run *run);
void run_finish(struct run *run);
/* Appends a block (taking a reference of its own). `mark` says where the journal stands before the
 * block: whoever gives up on it resumes from there. NULL: the block is not from the journal. */
void run_append(struct run *run, struct block *block, const struct window *mark);

struct reader {
	struct node *at;
	struct run *run; /* the run whose end is this reader's end */
	size_t sent;     /* bytes of `at` that are written */
	size_t queued;   /* bytes from here to the end; kept by those who append */
};

/* Stands at the end of the run: gets what is appended from now on. */
void reader_attach(struct reader *reader, struct run *run);
void reader_finish(struct reader *reader);

/* The next bytes to write, ending on a frame boundary; false when there are none. */
bool reader_peek(struct reader *reader, const unsigned char **bytes, size_t *len);
void reader_advance(struct reader *reader, size_t len);

/* Puts a block for this reader alone behind everything that it has before it now. */
void reader_insert(struct reader *reader, struct block *block);

/* Leaves the run for `own`, an empty run, keeping what is private or half written. Returns true and
 * fills `rest` (caller clears it) with the mark of the first block that was given up; false when
 * nothing was given up. */
bool reader_leave(struct reader *reader, struct run *own, struct window *rest);

/* Makes the end of the reader's run lead on into `run`: what the reader has comes first. */
void reader_continue(struct reader *reader, struct run *run);
