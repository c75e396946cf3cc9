/* What the parts of the hub share: hub.c (who is here), client.c (one of them), fanout.c (a turn
 * for all of them), catchup.c (those who are behind) and answers.c (to init). */
#pragma once

#include <string.h>

#include "client.h"
#include "list.h"
#include "plan.h"
#include "registry.h"
#include "settings.h"
#include "websocket.h"
#include "window.h"

struct client {
	struct list of_hub;
	struct list of_audience;
	struct hub *hub;
	struct user *user;
	struct audience *audience; /* NULL once closed by us */
	struct reader reader;
	const struct transport *transport;
	void *conn;
	struct request *requests; /* init commands that are not answered yet */
	uint32_t progress_ms;	  /* when bytes last went out; of meaning while some are waiting */
	uint16_t n_requests;
	bool waiting; /* asked the transport for a wake */
	bool greeted; /* has got its hello, or needs none; until then all else is held back */
};

/* An init that a client waits for. */
struct request {
	struct list of_hub;
	struct request *next; /* of the client's */
	struct client *client;
	char *type;
	char *ref;   /* NULL: none */
	size_t wish; /* this turn's wish + 1; 0: not in this turn */
};

/* What a turn fetches beside the pull, at most; the rest waits for the next one. */
#define MAX_PAGES 16384
#define MAX_PAGE_EVENTS 16384
#define MAX_WISHES 256

/* A wish of the plan and its answer. */
struct answer {
	const struct user *user; /* only compared, never followed */
	struct block *block;	 /* NULL: there is none */
};

struct hub {
	const struct settings *settings;
	struct registry *registry;
	struct list clients;
	size_t n_clients;
	size_t n_waiting; /* of them, those with waiting set */
	void (*wanted)(void *ctx);
	void *wanted_ctx;
	bool asked; /* wanted was called since the last plan */

	struct position *position;	    /* what live clients have been told up to */
	uint32_t history;		    /* counts hub_rewind */
	uint64_t cursors_ms;		    /* when quiet clients were last told a cursor */
	uint64_t serial;		    /* counts positions */
	uint64_t planned_ms, pages_from_ms; /* the last plan, and when pages may be read again */
	bool put_off;
	struct list behind; /* those that are catching up */
	struct list requests;

	/* this turn */
	bool in_turn;
	struct position *to; /* NULL until the pull's snapshot is known */
	int64_t told;	     /* last event of the pull */
	int64_t flushed;     /* last event of the pull that is in the runs */
	struct list touched; /* batches: what is pending */
	size_t pending_bytes;
	struct plan plan;
	struct page *pages; /* room for MAX_PAGES, and whose they are */
	struct behind **pagers;
	struct wish wishes[MAX_WISHES];
	struct answer answers[MAX_WISHES];
};

/* client.c */

/* Writes what the client has before it, as far as its connection takes it. */
void client_pump(struct client *client);
/* Asks for client_writable if the connection is congested. */
void client_await(struct client *client);
/* True when everything that it was given is on its way. */
bool client_drained(struct client *client);
/* True when more is queued than send_buffer allows: what it asks for has to wait. */
bool client_full(const struct client *client);
/* Bytes have gone out, or can. */
void client_progressed(struct client *client);
/* Milliseconds since then. */
uint32_t client_waits(const struct client *client);
/* Puts a message for this client alone behind all that it has been given. */
void client_tell(struct client *client, char *text);
void client_insert(struct client *client, struct block *block);
void client_hello(struct client *client, const char *cursor, bool resumed);
/* Tells a v1 client what is wrong with its message; a plain one would not understand. */
void client_complain(struct client *client, const char *code, const char *text, const char *ref);
bool client_plain(const struct client *client);
/* Moves to another audience of its user, its reader being taken care of. */
void client_move(struct client *client, struct audience *to);
/* Closes from our side: leaves its audience at once, and waits for client_gone. */
void client_close(struct client *client, uint16_t code, const char *reason);
void request_free(struct request **request);

/* From the connection's side: writes on; true when all is taken and it needs a turn. */
bool client_resume(struct client *client);
/* Leaves its audience, and waits for nothing any more. */
void client_finish(struct client *client);

/* turn.c */

/* Asks for a turn. */
void turn_want(struct hub *hub);

/* delivery.c */

/* Adds a frame for an audience, to be appended and written by the next flush. */
void delivery_add(struct hub *hub, struct audience *audience, struct block *frame, int64_t id);
/* Appends what is pending to the runs. */
void delivery_append(struct hub *hub);
/* Writes it. */
void delivery_write(struct hub *hub);
void delivery_flush(struct hub *hub);
void delivery_flush_if_large(struct hub *hub);
/* The cursor goes behind the batch, in the same write. */
void delivery_cursors(struct hub *hub);
/* Tells quiet v1 clients where they could resume. */
void delivery_idle_cursors(struct hub *hub);

/* catchup.c */

void catchup_plan(struct hub *hub);
void catchup_resume(struct hub *hub, size_t page, const char *reason);
void catchup_page(struct hub *hub, size_t page, const struct event *event);
void catchup_settle(struct hub *hub);
void catchup_clear(struct hub *hub);

/* answers.c */

void answers_plan(struct hub *hub);
void answers_take(struct hub *hub, size_t wish, const char *text, size_t len);
void answers_tell(struct hub *hub);
void answers_clear(struct hub *hub);

/* The audience has a window now. */
static inline void hub_behind(struct hub *hub, struct audience *audience)
{
	if (list_empty(&audience->behind->of_hub))
		list_append(&hub->behind, &audience->behind->of_hub);
}

/* The number of the position that this turn ends with. */
static inline uint64_t hub_next_serial(const struct hub *hub)
{
	return hub->serial + (strcmp(hub->position->text, hub->to->text) != 0);
}
