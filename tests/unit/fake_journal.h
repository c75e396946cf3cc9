/* A journal in memory, and turns that read it step by step.
 *
 * Its n-th commit makes the position (and cursor) "1.0.0.<n>": a row is delivered in all positions
 * from its commit's on. Ids grow in the order of writing, so that a row with a smaller id may
 * become visible after one with a greater id, as in the database. Messages can be checked by their
 * text: an event is "E <id> <type> ", an answer to init "I <type> <n> <uid> ", n being the position
 * of the snapshot. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hub.h"

/* The hub's clock: only tests move it. */
extern uint64_t fake_ms;

struct row {
	int64_t id;
	const char *uid, *type; /* static text; uid NULL: of no client, or of all */
	bool broadcast;
	size_t len; /* of the message */
	unsigned writer;
	unsigned commit; /* the position that delivers it; 0: not committed */
	bool lost;	 /* by a crash, after its commit */
};

struct fake_journal {
	struct hub *hub;
	struct row *rows; /* by id: row i has id i + 1 */
	size_t n_rows, capacity;
	unsigned commits;
	unsigned pruned; /* the oldest position that can be resumed from */
	bool lags;	 /* a standby: later positions may be replayed yet */
	size_t answer_len;
	bool apart;	 /* answers to init are found outside of the turns: fake_answer */
	size_t max_pull; /* events; more are deferred; 0: no limit */
	bool defers;	 /* the next turn, whose pull was too large */

	struct fake_turn *turn;	  /* NULL: between turns */
	struct fake_answer *held; /* not given so far */
	size_t n_held;
	bool wanted;		/* the hub asked for a turn */
	bool plan_before_write; /* the next turn is planned before the last one is written, */
	bool abort_planned;	/* and aborted at once */
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

/* The number in the text of a position. */
unsigned fake_number(const char *text);

/* Gives a held answer: in full, as an error, or so that the hub asks again. */
enum fake_outcome { FAKE_ANSWERED, FAKE_REFUSED, FAKE_AGAIN };
void fake_answer(struct fake_journal *journal, size_t i, enum fake_outcome outcome);

void fake_turn_plan(struct fake_journal *journal);
/* One call of the hub at most; false: the turn has ended. */
bool fake_turn_step(struct fake_journal *journal);
/* Starts the planned turn and reads the first n events of the pull. */
void fake_turn_pull(struct fake_journal *journal, size_t n);
void fake_turn_end(struct fake_journal *journal);
void fake_turn_abort(struct fake_journal *journal);
/* A complete turn. */
void fake_turn(struct fake_journal *journal);
/* Turns as long as the hub asks for one. */
void fake_turns(struct fake_journal *journal);
