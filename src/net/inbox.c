#include "inbox.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

#define ONE_MESSAGE 1000 /* of the allowance */

struct partial {
	size_t len, room;
	char text[];
};

void inbox_init(struct inbox *inbox, uint32_t now, uint64_t rate)
{
	*inbox = (struct inbox){.allowance_at = now, .allowance = (uint32_t)rate * ONE_MESSAGE};
}

void inbox_clear(struct inbox *inbox)
{
	free(inbox->partial);
	inbox->partial = NULL;
}

void inbox_append(struct inbox *inbox, const char *fragment, size_t len)
{
	struct partial *partial = inbox->partial;
	size_t old_len = inbox_len(inbox), new_len = old_len + len;
	if (!partial || new_len > partial->room) {
		partial = xrealloc(partial, sizeof *partial + new_len * 2);
		partial->room = new_len * 2;
		inbox->partial = partial;
	}
	memcpy(partial->text + old_len, fragment, len);
	partial->len = new_len;
}

const char *inbox_text(const struct inbox *inbox)
{
	return inbox->partial ? inbox->partial->text : "";
}

size_t inbox_len(const struct inbox *inbox)
{
	return inbox->partial ? inbox->partial->len : 0;
}

void inbox_top_up(struct inbox *inbox, uint32_t now, uint64_t rate, bool limited)
{
	uint64_t limit = limited ? rate * ONE_MESSAGE : UINT32_MAX;
	uint32_t elapsed = now - inbox->allowance_at;
	uint64_t allowance = inbox->allowance + elapsed * rate;
	inbox->allowance_at = now;
	inbox->allowance = (uint32_t)(allowance < limit ? allowance : limit);
}

bool inbox_spend(struct inbox *inbox)
{
	if (inbox->allowance < ONE_MESSAGE)
		return false;
	inbox->allowance -= ONE_MESSAGE;
	return true;
}
