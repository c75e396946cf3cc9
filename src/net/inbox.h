/* What a client sends: pieces that become messages, and how many of them may come.
 *
 * libwebsockets hands on what it has read, a buffer at a time, and has no limit for a message; we
 * gather the pieces up to max_message. Messages are paid for out of an allowance that fills at
 * message_rate, up to a second's worth. Times are the low 32 bits of milliseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gathered;

struct inbox {
	struct gathered *gathered; /* the message that comes in pieces; NULL: none */
	uint32_t allowance_at;	   /* when the allowance was last topped up */
	uint32_t allowance;	   /* messages that may still come, in thousandths */
};

void inbox_init(struct inbox *inbox, uint32_t now, uint64_t rate);
void inbox_finish(struct inbox *inbox);

/* Bytes of the message that have come. */
size_t inbox_len(const struct inbox *inbox);
void inbox_gather(struct inbox *inbox, const char *piece, size_t len);
/* The message so far. */
const char *inbox_text(const struct inbox *inbox);
/* Begins a new message. */
void inbox_forget(struct inbox *inbox);

/* Fills the allowance, at `rate` messages a second. `limited` to a second's worth; else beyond, for
 * the time in which nobody listened: what is heard then was not sent all at once. */
void inbox_top_up(struct inbox *inbox, uint32_t now, uint64_t rate, bool limited);
/* Takes one message off the allowance; false: there is not enough left. */
bool inbox_take(struct inbox *inbox);
