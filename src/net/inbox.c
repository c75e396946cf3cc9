#include "inbox.h"

#include <stdlib.h>
#include <string.h>

#include "alloc.h"

struct gathered {
	size_t len, room;
	char text[];
};

void inbox_init(struct inbox *inbox, uint32_t now, uint64_t rate)
{
	*inbox = (struct inbox){.allowance_at = now, .allowance = (uint32_t)rate * 1000};
}

void inbox_finish(struct inbox *inbox)
{
	inbox_forget(inbox);
}

size_t inbox_len(const struct inbox *inbox)
{
	return inbox->gathered ? inbox->gathered->len : 0;
}

void inbox_gather(struct inbox *inbox, const char *piece, size_t len)
{
	struct gathered *gathered = inbox->gathered;
	size_t had = inbox_len(inbox), need = had + len;
	if (!gathered || need > gathered->room) {
		gathered = xrealloc(gathered, sizeof *gathered + need * 2);
		gathered->room = need * 2;
		inbox->gathered = gathered;
	}
	memcpy(gathered->text + had, piece, len);
	gathered->len = need;
}

const char *inbox_text(const struct inbox *inbox)
{
	return inbox->gathered ? inbox->gathered->text : "";
}

void inbox_forget(struct inbox *inbox)
{
	free(inbox->gathered);
	inbox->gathered = NULL;
}

void inbox_top_up(struct inbox *inbox, uint32_t now, uint64_t rate, bool limited)
{
	uint64_t limit = limited ? rate * 1000 : UINT32_MAX;
	uint32_t since = now - inbox->allowance_at;
	uint64_t allowance = inbox->allowance + since * rate;
	inbox->allowance_at = now;
	inbox->allowance = (uint32_t)(allowance < limit ? allowance : limit);
}

bool inbox_take(struct inbox *inbox)
{
	if (inbox->allowance < 1000)
		return false;
	inbox->allowance -= 1000;
	return true;
}
