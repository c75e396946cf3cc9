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
#include "plan.h"
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
/* Closes that many clients, the oldest first (at shutdown). */
void hub_close(struct hub *hub, size_t n, uint16_t code, const char *reason);

/* ---- a turn, from the journal's side ---- */

/* Where the next pull starts; its text is empty before the first. */
struct position *hub_position(struct hub *hub);
/* Begins a turn and says what it has to fetch. */
const struct plan *hub_turn_plan(struct hub *hub);
/* The last plan put pages off: another turn should follow in a few milliseconds. */
bool hub_put_off(const struct hub *hub);
/* The pull's snapshot: everything told until the end lies before it. */
void hub_turn_begin(struct hub *hub, struct position *to);
void hub_turn_event(struct hub *hub, const struct event *event);
/* The answer to a page's check, before its events: NULL, or why there are none, checked or not
 * ("epoch", "pruned", "cursor", as in the protocol's reset; "later": a standby lags behind it). */
void hub_turn_resume(struct hub *hub, size_t page, const char *reason);
void hub_turn_page(struct hub *hub, size_t page, const struct event *event);
/* text NULL: the type is not known, or can't be read. */
void hub_turn_init(struct hub *hub, size_t wish, const char *text, size_t len);
/* Everything was told. What live clients get of it is not written yet: so the next turn can be
 * asked for first, and the database works while we write. */
void hub_turn_end(struct hub *hub);
/* Writes it; to be called right after that. */
void hub_turn_write(struct hub *hub);
/* The turn broke off: nothing of it counts, the next one tells it again. */
void hub_turn_abort(struct hub *hub);

/* History went another way (a crash or a failover that lost commits): what was told since
 * `position` may not have happened. NULL: nothing is known to hold, begin anew. Between turns. */
void hub_rewind(struct hub *hub, struct position *position);

/* A NOTIFY passed through, outside turns: at most once. */
void hub_publish(struct hub *hub, const char *uid, const char *text, size_t len, const char *type);
