/* The state that the files of the hub share. Calls point down this list: hub.c, turn.c and
 * commands.c (entry points); catchup.c, init.c and stop.c (some clients);
 * delivery.c (appending and writing for all of them); client.c (one of them); audience.c, batch.c,
 * users.c. */
#pragma once

#include <string.h>

#include "audience.h"
#include "hub.h"
#include "list.h"

struct client {
	struct list of_hub;
	struct list of_audience;
	struct hub *hub;
	struct audience *audience; /* NULL once we closed it */
	struct reader reader;
	const struct transport *transport;
	void *conn;
	struct init_request *init_requests; /* not answered yet */
	uint32_t progress_ms; /* when bytes last went out; of use while some are waiting */
	uint8_t n_init_requests;
	uint8_t protocol; /* index of protocols */
	bool awaits_wake; /* asked the transport for a wake */
	bool hello_sent;  /* or not needed; until then everything else is held back */
};

struct init_request {
	struct list of_hub;
	struct init_request *next; /* of the client */
	struct client *client;
	char *type;
	char *ref;    /* NULL: none */
	bool ack;     /* an acknowledgement follows the answer */
	size_t query; /* index in this turn's plan + 1; 0: not in this turn */
	struct list of_ticket;
};

/* A client's command stop, which waits for the end of a turn. */
struct stop {
	struct list of_hub;
	struct client *client;
	char *type;
};

/* Limits of the queries of a turn besides the pull; the rest waits for the next turn. */
#define MAX_PAGES 2048
#define MAX_INIT_QUERIES 256

/* An answer that is found outside of the turn. */
struct ticket {
	struct list requests; /* of_ticket */
};

struct init_result {
	const struct user *user; /* compared, never followed */
	/* Of the clients that asked, one per encoding; NULL: nobody takes that encoding. */
	const struct protocol *protocols[ENCODINGS];
	struct encoded message; /* empty: there is an error */
	const char *error;	/* its code */
	char *reason;		/* of the error, from the database; NULL: none */
	struct ticket *ticket;	/* NULL: found in the turn */
};

/* A broadcast event of this turn, in the encodings of the clients. */
struct broadcast {
	int64_t id;
	char *type;
	bool control;
	struct encoded message;
};

struct hub {
	const struct settings *settings;
	struct users *users;
	struct list clients;
	size_t n_clients;
	size_t n_awaiting_wake; /* of the clients */
	size_t n_by_protocol[PROTOCOLS];
	void (*wanted)(void *ctx);
	void (*unwritten_left)(void *ctx);
	void *wanted_ctx, *unwritten_ctx;
	bool turn_wanted; /* wanted was called since the last plan */

	struct position *position; /* live clients have everything up to here */
	uint32_t history;	   /* counts hub_rewind */
	struct position *rewound;  /* the position of the last one; NULL: none */
	uint64_t serial;	   /* counts positions */
	uint64_t idle_cursors_ms;  /* when quiet clients last got a cursor */
	uint64_t planned_ms;	   /* the last plan, */
	uint64_t pages_from_ms;	   /* and when pages may be read again */
	bool pages_postponed;
	size_t page_budget;   /* events of all pages of a turn, and */
	unsigned init_aborts; /* turns with one init query, in a row */
	bool init_pause;      /* the next turn has no init queries, after a long one with some */
	size_t init_budget;   /* init queries, as the last turns took time */
	enum init_mode init_mode;
	struct list catching_up; /* catchup.of_hub */
	struct list init_requests;
	struct list stops;

	struct list unwritten; /* batch.of_unwritten */

	/* this turn */
	bool in_turn;
	struct position *to; /* NULL until the pull's snapshot is known */
	struct list dirty;   /* batch.of_dirty */
	size_t pending_bytes;
	struct broadcast *broadcasts; /* not in the streams yet */
	size_t n_broadcasts, broadcasts_capacity;
	struct plan plan;
	struct window windows[MAX_PLAN_WINDOWS];
	struct page *pages;	      /* room for MAX_PAGES, */
	struct catchup **page_owners; /* and whose they are; NULL: gone, or not read */
	struct init_query init_queries[MAX_INIT_QUERIES];
	struct init_result init_results[MAX_INIT_QUERIES];
};

/* client.c */

/* Writes as much as the connection takes. */
void client_write(struct client *client);
/* Writes on after a wake; true when it needs a turn and everything before is written. */
bool client_resume(struct client *client);
/* Asks for client_writable if the connection is congested. */
void client_await_wake(struct client *client);
/* True when everything for it is written. */
bool client_is_drained(struct client *client);
/* Bytes have gone out, or can. */
void client_note_progress(struct client *client);
/* Milliseconds since then. */
uint32_t client_stalled_ms(const struct client *client);
/* Sends a block to this client alone, behind everything that it was given. */
void client_insert(struct client *client, struct block *block);
/* Control messages; clients without them get nothing. */
void client_send_hello(struct client *client, const char *cursor, bool resumed);
void client_send_cursor(struct client *client, const char *cursor);
void client_send_reset(struct client *client, const char *reason);
void client_send_ack(struct client *client, const char *ref);
/* JSON or text, to any client. */
void client_send_text(struct client *client, const char *text);
void client_send_error(struct client *client, const char *code, const char *text, const char *ref);
/* Makes it a member of another audience of its user; its reader is moved by the caller. */
void client_set_audience(struct client *client, struct audience *audience);
/* Closes the connection: leaves the audience at once, and is freed by client_gone. */
void client_close(struct client *client, uint16_t code, const char *reason);
/* Releases everything that it has from the hub. */
void client_finish(struct client *client);
void init_request_destroy(struct init_request **request);
void stop_destroy(struct stop **stop);

/* delivery.c */

/* Adds a block for an audience, to be appended at the end of the turn. */
void delivery_add(struct hub *hub, struct audience *audience, struct block *block, int64_t id);
/* The same for all live audiences that want its type. */
void delivery_add_broadcast(struct hub *hub, const struct event *event);
void delivery_drop_broadcasts(struct hub *hub);
/* Adds a cursor behind the pending blocks of an audience. */
void delivery_add_cursor(struct hub *hub, struct audience *audience, struct block *block);
/* Appends the pending blocks to the streams; in a turn with a cursor behind them, for the same
 * write. */
void delivery_append(struct hub *hub);
/* Appends and writes the events of pages, once they are many. */
void delivery_append_pages_if_large(struct hub *hub);
/* Writes a slice, and asks the owner of the loop for more. */
void delivery_write(struct hub *hub);
/* Writes to one client; lets it catch up from the journal when it is full then. */
void delivery_write_client(struct client *client);
/* Continues with other types behind everything that the client was given, between turns. */
void delivery_change_types(struct client *client, const char *types);
/* Sends a cursor to live audiences that had no event since their last one. */
void delivery_send_idle_cursors(struct hub *hub);

/* catchup.c */

void catchup_plan(struct hub *hub);
/* Behind the pages of this turn: clients whose connections are short get to the end, too. */
void catchup_add_cursors(struct hub *hub);
/* Makes audiences live, or moves their windows on. */
void catchup_settle(struct hub *hub);
void catchup_clear(struct hub *hub);
/* The turn broke off: asks for less. */
void catchup_abort(struct hub *hub);

/* stop.c */

/* Sends a client no more of a type, at the latest from the end of this turn on, or from the answer
 * to init that the client waits for. */
void stop_type(struct client *client, const char *type);
/* Those that waited. */
void stop_apply(struct hub *hub);

/* init.c */

/* Requests answers for comma-separated types; the last one is acknowledged. */
void init_request(struct client *client, const char *types, const char *ref);
/* Drops a client's requests for a type. */
void init_stop(struct client *client, const char *type);
void init_plan(struct hub *hub);
void init_answer(struct hub *hub);
void init_clear(struct hub *hub);
/* The turn broke off: asks for less, down to one query, which is refused the second time. */
void init_abort(struct hub *hub);

/* True when more is queued than send_buffer allows: its requests wait. */
static inline bool client_is_full(const struct client *client)
{
	return client->reader.queued > (size_t)client->hub->settings->send_buffer;
}

/* Asks for a turn. */
static inline void hub_want_turn(struct hub *hub)
{
	if (hub->turn_wanted)
		return;
	hub->turn_wanted = true;
	if (!hub->in_turn && hub->wanted)
		hub->wanted(hub->wanted_ctx);
}

/* The audience has a window now. */
static inline void hub_add_catchup(struct hub *hub, struct audience *audience)
{
	if (list_empty(&audience->catchup->of_hub))
		list_append(&hub->catching_up, &audience->catchup->of_hub);
}

/* The serial of the position that this turn ends with. */
static inline uint64_t hub_next_serial(const struct hub *hub)
{
	return hub->serial + (strcmp(hub->position->text, hub->to->text) != 0);
}
