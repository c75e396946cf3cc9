#include "stream.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "alloc.h"

struct node {
	uint32_t refs;	     /* readers on it, the node before, the run whose tail it is */
	bool detour;	     /* belongs to one reader */
	struct block *block; /* NULL: the end of a run, or an empty link to the next */
	struct node *next;
	struct window mark; /* from NULL: none */
};

static struct node *node_create(uint32_t refs)
{
	struct node *node = xcalloc(1, sizeof(*node));
	node->refs = refs;
	return node;
}

static void node_unref(struct node *node)
{
	while (node && --node->refs == 0) {
		struct node *next = node->next;
		block_unref(&node->block);
		window_clear(&node->mark);
		free(node);
		node = next;
	}
}

static struct node *node_ref(struct node *node)
{
	node->refs++;
	return node;
}

void run_init(struct run *run)
{
	run->tail = node_create(1);
}

void run_finish(struct run *run)
{
	if (!run)
		return;
	node_unref(run->tail);
	run->tail = NULL;
}

void run_append(struct run *run, struct block *block, const struct window *mark)
{
	struct node *filled = run->tail;
	assert(!filled->block && !filled->next);
	filled->block = block_ref(block);
	if (mark)
		filled->mark = window_copy(mark);
	filled->next = node_create(2);
	run->tail = filled->next;
	node_unref(filled);
}

void run_continue(struct run *run, struct run *into)
{
	assert(!run->tail->next);
	run->tail->next = node_ref(into->tail);
}

void reader_attach(struct reader *reader, struct run *run)
{
	*reader = (struct reader){.at = node_ref(run->tail)};
}

void reader_finish(struct reader *reader)
{
	node_unref(reader->at);
	*reader = (struct reader){0};
}

static void step(struct reader *reader)
{
	struct node *passed = reader->at;
	reader->at = node_ref(passed->next);
	reader->sent = 0;
	node_unref(passed);
}

bool reader_peek(struct reader *reader, const unsigned char **bytes, size_t *len)
{
	while (reader->at && !reader->at->block && reader->at->next)
		step(reader);
	if (!reader->at || !reader->at->block)
		return false;
	const struct block *block = reader->at->block;
	size_t rest = block->len - reader->sent;
	*bytes = block->bytes + reader->sent;
	*len = rest < block->slice ? rest : block->slice;
	return true;
}

void reader_advance(struct reader *reader, size_t len)
{
	assert(reader->queued >= len);
	reader->queued -= len;
	reader->sent += len;
	if (reader->sent == reader->at->block->len)
		step(reader);
}

/* Appends a node of the reader's own to a detour whose last node is *last; the detour is made when
 * there is none. */
static void detour_add(struct node **first, struct node **last, struct block *block)
{
	struct node *node = node_create(1);
	node->detour = true;
	node->block = block_ref(block);
	if (*last)
		(*last)->next = node;
	else
		*first = node;
	*last = node;
}

void reader_prepend(struct reader *reader, struct block *block)
{
	struct node *first = NULL, *last = NULL;
	assert(!reader->sent);
	detour_add(&first, &last, block);
	last->next = reader->at;
	reader->at = first;
	reader->queued += block->len;
}

/* Copies the nodes before `end` (their blocks stay shared) into a detour. */
static void detour_copy(
	struct node **first, struct node **last, const struct node *from, const struct node *end)
{
	for (; from != end; from = from->next)
		if (from->block)
			detour_add(first, last, from->block);
}

void reader_insert(struct reader *reader, struct run *run, struct block *block)
{
	struct node *first = NULL, *last = NULL;
	detour_copy(&first, &last, reader->at, run->tail);
	detour_add(&first, &last, block);
	last->next = node_ref(run->tail);
	node_unref(reader->at);
	reader->at = first;
	reader->queued += block->len;
}

/* The last node that must not be given up: half written, or made for this reader. */
static const struct node *last_kept(const struct reader *reader)
{
	const struct node *kept = reader->sent ? reader->at : NULL;
	for (const struct node *node = reader->at; node; node = node->next)
		if (node->detour)
			kept = node;
	return kept;
}

bool reader_give_up(struct reader *reader, struct window *rest)
{
	const struct node *kept = last_kept(reader);
	const struct node *given_up = kept ? kept->next : reader->at;
	struct node *first = NULL, *last = NULL;
	detour_copy(&first, &last, reader->at, given_up);

	const struct node *marked = given_up;
	while (marked && !marked->mark.from)
		marked = marked->next;
	if (marked)
		*rest = window_copy(&marked->mark);

	reader->queued = 0;
	for (const struct node *node = first; node; node = node->next)
		reader->queued += node->block->len;
	reader->queued -= reader->sent;
	node_unref(reader->at);
	reader->at = first;
	return marked;
}

void reader_move(struct reader *reader, struct run *to)
{
	struct node **end = &reader->at;
	while (*end)
		end = &(*end)->next;
	*end = node_ref(to->tail);
}
