/* A journal in memory, and turns that read it step by step.
 *
 * Its n-th commit makes the position (and cursor) "1.0.0.<n>": a row is delivered in all positions
 * from its commit's on. Ids come in the order of writing, so that, as in the database, a row with a
 * smaller id may become visible after one with a greater. Messages are text that a test can check:
 * an event is "E <id> ...", an answer to init "I <type> <n> ...", n being the snapshot's position.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub.h"

struct row {
	int64_t id;
	const char *uid;  /* outlives the journal; NULL: nobody, or everybody */
	const char *type; /* outlives the journal */
	bool broadcast;
	size_t len; /* of the message */
	unsigned writer;
	unsigned commit; /* the position that it came with; 0: not committed */
	bool lost;	 /* was committed, and never happened */
};

struct fake_journal {
	struct hub *hub;
	struct row *rows; /* by id: row i has id i + 1 */
	size_t n_rows, room;
	unsigned commits;
	unsigned pruned; /* positions before do not hold any more */
	bool lags;	 /* what is not there may yet come */
	size_t answer_len;

	struct fake_turn *turn; /* NULL: between turns */
	bool wanted;		/* the hub asked for a turn */
	bool hurries;		/* the next turn is asked for before the last one is written, */
	bool breaks;		/* and that finds the connection broken */
	unsigned turns;
};

void fake_journal_init(struct fake_journal *journal, struct hub *hub);
void fake_journal_finish(struct fake_journal *journal);

/* Writes a row in a writer's transaction. */
void fake_journal_write(struct fake_journal *journal, unsigned writer, const char *uid,
	const char *type, bool broadcast, size_t len);
void fake_journal_commit(struct fake_journal *journal, unsigned writer);
/* A crash loses the commits after that position. */
void fake_journal_lose(struct fake_journal *journal, unsigned position);
/* One row, committed; returns its id. */
int64_t fake_journal_insert(struct fake_journal *journal, const char *uid, const char *type);

/* The number in a position's text or a cursor. */
unsigned fake_number(const char *text);

void fake_turn_plan(struct fake_journal *journal);
/* Tells the hub the next thing; false: that was the end of the turn. */
bool fake_turn_step(struct fake_journal *journal);
/* Steps on until the hub knows the turn's snapshot and the pull's first n events. */
void fake_turn_pull(struct fake_journal *journal, size_t n);
void fake_turn_end(struct fake_journal *journal);
void fake_turn_abort(struct fake_journal *journal);
/* A whole one. */
void fake_turn(struct fake_journal *journal);
/* As many as the hub asks for. */
void fake_turns(struct fake_journal *journal);
