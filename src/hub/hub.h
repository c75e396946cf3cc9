/* The hub delivers every event of a turn to its clients.
 *
 * The journal reads a turn and hands over its parts: the position where the turn ends, its
 * events, the pages of clients that are catching up, the answers to init. The hub collects blocks
 * per audience and writes to each client once, at the end of the turn.
 *
 * A client is live (a reader of its audience's stream) or catching up (fed from the journal, page
 * by page, from its window). Joining in the middle of a turn, init, resuming and reading too slowly
 * take the same path. The hub knows neither PostgreSQL nor sockets: a transport writes for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"
#include "settings.h"
#include "window.h"

struct hub;
struct client;
struct ticket;

struct hub *hub_create(const struct settings *settings);
void hub_destroy(struct hub **hub);

/* `wanted` is called when a client needs a turn: at most once until the next plan. */
void hub_on_wanted(struct hub *hub, void (*wanted)(void *ctx), void *ctx);

/* `left` is called when clients are left to be written to: hub_write is to be called until it
 * returns false, with the event loop in between. */
void hub_on_unwritten(struct hub *hub, void (*left)(void *ctx), void *ctx);
/* Writes for some milliseconds; true: there is more to write. */
bool hub_write(struct hub *hub);

/* ---- for connections ---- */

/* The connection of a client. */
struct transport {
	/* Writes bytes that end on a frame boundary. The connection takes all of them and keeps the
	 * rest that the kernel does not take. False: it is broken, and client_gone follows later.
	 */
	bool (*write)(void *conn, const unsigned char *bytes, size_t len);
	/* True while the rest of a write is kept: nothing may be written. */
	bool (*congested)(void *conn);
	/* Asks for one client_writable() as soon as the connection is not congested. */
	void (*wake)(void *conn);
	/* Sends a close with code and reason behind everything written, and ends the connection
	 * (client_gone follows later). Nothing is written after this. */
	void (*close)(void *conn, uint16_t code, const char *reason);
};

/* From the handshake; the strings are copied. */
struct client_config {
	const char *uid;
	const char *types; /* comma-separated; NULL: all */
	const char *since; /* a cursor; NULL: from now on */
	const char *init;  /* types to be answered as the command init does; NULL: none */
	const struct protocol *protocol;
};

/* Registers a client: from now on the events of its uid reach its transport. NULL and *refusal when
 * it is refused. The client lives until client_gone. */
struct client *hub_join(struct hub *hub, const struct client_config *config,
	const struct transport *transport, void *conn, struct refusal *refusal);
/* The connection is closed: frees the client and sets the caller's pointer to NULL. The transport
 * is not called again. NULL is accepted. */
void client_gone(struct client **client);
/* The connection is not congested any more: answers wake. */
void client_writable(struct client *client);
/* A whole text message arrived: valid UTF-8, not longer than max_message. */
void client_received(struct client *client, const char *text, size_t len);

/* Closes slow clients and sends cursors to quiet ones; to be called once a second. */
void hub_tick(struct hub *hub);
size_t hub_clients(const struct hub *hub);
/* Closes `n` clients, the oldest first (at shutdown). */
void hub_close(struct hub *hub, size_t n, uint16_t code, const char *reason);

/* ---- for the journal: a turn ---- */

/* Where a client that is catching up continues: the first events of a uid in a window. */
struct page {
	const char *uid;
	size_t window; /* index in the plan */
	int64_t after;
};

/* The answer to init for a uid: one query serves all its clients that asked. */
struct init_query {
	const char *type, *uid;
};

/* Windows of a plan, at most. */
#define MAX_PLAN_WINDOWS 64

/* The queries of a turn besides the pull; owned by the hub and valid until anything else runs. */
struct plan {
	/* Distinct, and without `after`; unverified: history may not have the window's `from`. */
	const struct window *windows;
	size_t n_windows;
	const struct page *pages;
	size_t n_pages;
	size_t page_events, page_bytes; /* at most, per page */
	const struct init_query *init_queries;
	size_t n_init_queries;
};

/* A row of the journal. */
struct event {
	int64_t id;
	const char *uid; /* NULL: of no client, or of all */
	const char *type;
	const char *message; /* JSON */
	size_t message_len;
	bool broadcast;
	bool control; /* only for clients with control messages */
};

/* Where the answers to init of the next turns are found. */
enum init_mode {
	INIT_IN_TURN, /* by queries of the turn */
	INIT_APART,   /* with its snapshot: hub_turn_hold */
	INIT_WAITS,   /* nowhere at present */
};
void hub_set_init_mode(struct hub *hub, enum init_mode mode);
/* Answers can be found again: asks for a turn if there are requests. */
void hub_inits_possible(struct hub *hub);

/* Calls `each` for the uids of live clients, in any order. */
void hub_live_uids(struct hub *hub, void (*each)(void *ctx, const char *uid), void *ctx);
/* Where the next pull starts; the text is empty before the first one. */
struct position *hub_position(struct hub *hub);
/* Starts a turn. */
const struct plan *hub_turn_plan(struct hub *hub);
/* True when the last plan postponed pages: a turn should follow within milliseconds. */
bool hub_pages_postponed(const struct hub *hub);
/* The pull's snapshot: everything that follows until the end of the turn lies before it. */
void hub_turn_begin(struct hub *hub, struct position *to);
void hub_turn_event(struct hub *hub, const struct event *event);
/* The pull is too large to be read: the events of a uid (NULL: broadcasts) are left to catching up.
 */
void hub_turn_defer(struct hub *hub, const char *uid);
/* For each page, before their events: `lost` is NULL, or the reason why it has none ("epoch",
 * "pruned", "cursor" as in the protocol's reset; "later": a standby lags behind it). Behind "end "
 * it is the reason why events of it that were received may be lost. The page has every event up to
 * the id `upto`; 0: up to the end of its window. */
void hub_turn_page(struct hub *hub, size_t page, const char *lost, int64_t upto);
/* Events of all pages come by id. */
void hub_turn_page_event(struct hub *hub, size_t page, const struct event *event);
/* A broadcast, for the pages of these windows. */
void hub_turn_page_broadcast(
	struct hub *hub, const size_t windows[], size_t n, const struct event *event);
/* The answer to the plan's init query. With `error`, the code of an error in static text, the
 * message is its reason or NULL; both NULL: the next turn has to ask again. */
void hub_turn_init(
	struct hub *hub, size_t query, const char *message, size_t len, const char *error);
/* The answer is found outside of the turn, in its snapshot. Its clients wait at the end of the turn
 * until hub_answer is called, once per ticket. A turn that breaks off drops its tickets. */
struct ticket *hub_turn_hold(struct hub *hub, size_t query);
/* As hub_turn_init, between turns or within one. Sets the caller's pointer to NULL. */
void hub_answer(struct hub *hub, struct ticket **ticket, const char *message, size_t len,
	const char *error);
/* The turn is complete. Its events are in the streams of live clients and not written yet, so that
 * the next turn can be sent first and the database works while we write. */
void hub_turn_end(struct hub *hub);
/* Writes them. */
void hub_turn_write(struct hub *hub);
/* The turn broke off: the next one reads all of it again. */
void hub_turn_abort(struct hub *hub);

/* Between turns. History went another way (a crash or a failover lost commits): events since
 * `position` may not have happened. NULL: no position is known to hold. Live clients that received
 * any get a reset for that reason. */
void hub_rewind(struct hub *hub, struct position *position, const char *reason);

/* Delivers a NOTIFY that is passed through: at most once, at any time. */
void hub_publish(
	struct hub *hub, const char *uid, const char *message, size_t len, const char *type);
