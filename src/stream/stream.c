#include "stream.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "alloc.h"

struct node {
	uint32_t refs;	     /* readers on it, the node before, the stream whose tail it is */
	bool is_private;     /* belongs to one reader */
	struct block *block; /* NULL: the end of a stream, or an empty link to the next */
	struct node *next;
	struct window resume_point; /* from NULL: none */
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
		window_clear(&node->resume_point);
		free(node);
		node = next;
	}
}

static struct node *node_ref(struct node *node)
{
	node->refs++;
	return node;
}

void stream_init(struct stream *stream)
{
	stream->tail = node_create(1);
}

void stream_finish(struct stream *stream)
{
	if (!stream)
		return;
	node_unref(stream->tail);
	stream->tail = NULL;
}

void stream_append(struct stream *stream, struct block *block, const struct window *resume_point)
{
	struct node *filled = stream->tail;
	assert(!filled->block && !filled->next);
	filled->block = block_ref(block);
	if (resume_point)
		filled->resume_point = window_copy(resume_point);
	filled->next = node_create(2);
	stream->tail = filled->next;
	node_unref(filled);
}

void stream_continue(struct stream *stream, struct stream *into)
{
	assert(!stream->tail->next);
	stream->tail->next = node_ref(into->tail);
}

void reader_attach(struct reader *reader, struct stream *stream)
{
	*reader = (struct reader){.at = node_ref(stream->tail)};
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

/* Appends a node to the private segment from *first to *last, both NULL when it is empty. */
static void private_add(struct node **first, struct node **last, struct block *block)
{
	struct node *node = node_create(1);
	node->is_private = true;
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
	private_add(&first, &last, block);
	last->next = reader->at;
	reader->at = first;
	reader->queued += block->len;
}

/* Copies the nodes before `end` (their blocks stay shared) into a private segment. */
static void private_copy(
	struct node **first, struct node **last, const struct node *from, const struct node *end)
{
	for (; from != end; from = from->next)
		if (from->block)
			private_add(first, last, from->block);
}

void reader_insert(struct reader *reader, struct stream *stream, struct block *block)
{
	struct node *first = NULL, *last = NULL;
	private_copy(&first, &last, reader->at, stream->tail);
	private_add(&first, &last, block);
	last->next = node_ref(stream->tail);
	node_unref(reader->at);
	reader->at = first;
	reader->queued += block->len;
}

void reader_detach(struct reader *reader, struct stream *from, struct stream *to)
{
	struct node *first = NULL, *last = NULL;
	private_copy(&first, &last, reader->at, from->tail);
	node_unref(reader->at);
	reader->at = first;
	reader_move(reader, to);
}

/* The last node that must be kept: half written, or private. */
static const struct node *last_kept(const struct reader *reader)
{
	const struct node *kept = reader->sent ? reader->at : NULL;
	for (const struct node *node = reader->at; node; node = node->next)
		if (node->is_private)
			kept = node;
	return kept;
}

bool reader_abandon(struct reader *reader, struct window *rest)
{
	const struct node *kept = last_kept(reader);
	const struct node *abandoned = kept ? kept->next : reader->at;
	struct node *first = NULL, *last = NULL;
	private_copy(&first, &last, reader->at, abandoned);

	const struct node *missed = abandoned;
	while (missed && !missed->resume_point.from)
		missed = missed->next;
	if (missed)
		*rest = window_copy(&missed->resume_point);

	reader->queued = 0;
	for (const struct node *node = first; node; node = node->next)
		reader->queued += node->block->len;
	reader->queued -= reader->sent;
	node_unref(reader->at);
	reader->at = first;
	return missed;
}

void reader_move(struct reader *reader, struct stream *to)
{
	struct node **end = &reader->at;
	while (*end)
		end = &(*end)->next;
	*end = node_ref(to->tail);
}
