/* The hub: hands every event of a turn to the clients that it is for.
 *
 * The journal reads a turn and tells the hub what it finds: where the turn ends, its events, the
 * pages for clients that are catching up, the answers to init. The hub collects frames per audience
 * and writes to each client once, at the turn's end. It knows neither PostgreSQL nor sockets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client.h"
#include "settings.h"
#include "window.h"

struct hub;

struct hub *hub_create(const struct settings *settings);
void hub_destroy(struct hub **hub);

/* Called when a client needs a turn (init asked for, catching up): once until the next plan. */
void hub_on_wanted(struct hub *hub, void (*wanted)(void *ctx), void *ctx);

/* ---- clients, from the connection's side ---- */

/* Registers a client; from now on it gets its uid's events through the transport. NULL when it is
 * refused: then *code and *reason say how to close. The client lives until client_gone. */
struct client *hub_join(struct hub *hub, const struct client_request *request,
	const struct transport *transport, void *conn, uint16_t *code, const char **reason);
/* The connection is closed; frees the client and sets the caller's pointer to NULL. The transport
 * is not called again. NULL is accepted. */
void client_gone(struct client **client);
/* Once a second: slow clients, cursors of quiet ones. */
void hub_tick(struct hub *hub);
size_t hub_clients(const struct hub *hub);
/* Tells every client 1012 (at shutdown). */
void hub_close_all(struct hub *hub, uint16_t code, const char *reason);

/* ---- a turn, from the journal's side ---- */

/* Clients with one window, fetched with one query. */
struct cohort {
	struct window window;
	const char **uids; /* the same one may stand twice */
	size_t n_uids;
};

/* An init that was asked for: one query serves all clients of the uid that asked. */
struct wish {
	const char *type, *uid;
};

/* What this turn is to fetch beside the pull; owned by the hub, valid until the turn's end. */
struct plan {
	const struct cohort *cohorts;
	size_t n_cohorts;
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

/* How many rows a page of a window may have; fewer than that many means that it was the last. */
#define HUB_PAGE 2000

/* Where the next pull starts; NULL before the first. */
const struct position *hub_position(const struct hub *hub);
/* Begins a turn and says what it has to fetch. */
const struct plan *hub_turn_plan(struct hub *hub);
/* The pull's snapshot: everything told until the end lies before it. */
void hub_turn_begin(struct hub *hub, struct position *to);
void hub_turn_event(struct hub *hub, const struct event *event);
void hub_turn_page(struct hub *hub, size_t cohort, const struct event *event);
void hub_turn_page_end(struct hub *hub, size_t cohort);
/* text NULL: the type is not known, or can't be read. */
void hub_turn_init(struct hub *hub, size_t wish, const char *text, size_t len);
/* Everything was told: flush. */
void hub_turn_end(struct hub *hub);
/* The turn broke off: nothing of it counts, the next one tells it again. */
void hub_turn_abort(struct hub *hub);

/* A NOTIFY passed through, outside turns: at most once. */
void hub_publish(struct hub *hub, const char *uid, const char *text, size_t len, const char *type);
