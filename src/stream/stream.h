/* What is still to be written, shared.
 *
 * A run is an append-only sequence of blocks that ends in an empty node. A reader is an offset into
 * a run: a node and the bytes of it that are written. Nodes are counted by who stands on them and
 * by the node before, so what the slowest reader has passed frees itself; nothing is stored per
 * reader and message. A reader that gets something of its own (an answer to its init) takes a
 * detour: nodes of its own that lead back into the run. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "block.h"
#include "window.h"

struct node;

struct run {
	struct node *tail; /* the empty node at the end */
};

void run_init(struct run *run);
void run_finish(struct run *run);
/* Appends a block (taking a reference of its own). `mark` says what is missing to whoever gives up
 * before this block; NULL: the block is not from the journal, nobody will miss it. */
void run_append(struct run *run, struct block *block, const struct window *mark);
/* Makes the end of a run lead on into another; the first one is to be finished then. */
void run_continue(struct run *run, struct run *into);

struct reader {
	struct node *at; /* NULL: stands nowhere */
	size_t sent;	 /* bytes of `at` that are written */
	size_t queued;	 /* bytes from here to the end; whoever appends to the run adds to it */
};

/* Stands at the end of the run: gets what is appended from now on. */
void reader_attach(struct reader *reader, struct run *run);
void reader_finish(struct reader *reader);

/* The next bytes to write, ending on a frame boundary; false when there are none. */
bool reader_peek(struct reader *reader, const unsigned char **bytes, size_t *len);
/* The bytes last peeked at are written. */
void reader_advance(struct reader *reader, size_t len);

/* Puts a block for this reader alone before everything; nothing may be half written. */
void reader_prepend(struct reader *reader, struct block *block);
/* Puts a block for this reader alone behind everything that its run has now. */
void reader_insert(struct reader *reader, struct run *run, struct block *block);

/* Leaves for the end of another run, keeping only what is private or half written. Returns true and
 * fills `rest` (which the caller clears) with what is missing then; false when nothing is. */
bool reader_give_up(struct reader *reader, struct window *rest);
void reader_move(struct reader *reader, struct run *to);
