/* Messages from a client: assembly from fragments, and the rate limit.
 *
 * libwebsockets passes on each buffer that it reads and does not limit messages, so fragments are
 * collected up to max_message. Each message is taken from an allowance that grows at message_rate,
 * up to one second's worth. Times are the low 32 bits of milliseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct partial;

struct inbox {
	struct partial *partial; /* an incomplete message, or NULL */
	uint32_t allowance_at;	 /* time of the last top-up */
	uint32_t allowance;	 /* in thousandths of a message */
};

void inbox_init(struct inbox *inbox, uint32_t now, uint64_t rate);
/* Discards the message so far. */
void inbox_clear(struct inbox *inbox);

void inbox_append(struct inbox *inbox, const char *fragment, size_t len);
/* The message so far. */
const char *inbox_text(const struct inbox *inbox);
size_t inbox_len(const struct inbox *inbox);

/* Adds to the allowance at `rate` messages per second. `limited` to one second's worth, except for
 * the time in which reading was paused: messages read afterwards were not sent at once. */
void inbox_top_up(struct inbox *inbox, uint32_t now, uint64_t rate, bool limited);
/* Takes one message from the allowance; false if it is used up. */
bool inbox_spend(struct inbox *inbox);
