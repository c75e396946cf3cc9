/* What a turn is to fetch beside the pull, and what it brings: spoken by the journal and the hub.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "window.h"

/* A page of the journal that is wanted: of this uid, from a window's beginning. */
struct page {
	const char *uid;
	struct window window;
	bool check; /* the window's `from` came from outside: say first whether it still holds */
};

/* An init that was asked for: one query serves all clients of the uid that asked. */
struct wish {
	const char *type, *uid;
};

/* What this turn is to fetch beside the pull; owned by the hub, to be read before anything else
 * runs. */
struct plan {
	const struct page *pages;
	size_t n_pages;
	size_t page_rows; /* events per page at most; a page with fewer is the window's last */
	const struct wish *wishes;
	size_t n_wishes;
};

/* One row of the journal as it goes out. */
struct event {
	int64_t id;
	const char *uid; /* NULL: nobody's, or everybody's */
	const char *type;
	const char *text; /* the message, JSON */
	size_t len;
	bool broadcast;
};
