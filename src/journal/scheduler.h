/* When to take a turn: asleep until the bell rings, awake while there is work.
 *
 * NOTIFY serialises commits, so writers ring only when a bridge sleeps, which they see by its lock.
 * Asleep, this bridge holds the lock and every transaction rings. When they overlap, or have
 * rung often, it lets go of the lock and looks by itself every few milliseconds, and nobody has to
 * ring; when it has been calm for a while it takes the lock again, looks once more, and sleeps. A
 * writer keeps the lock shared to its end, after its commit is visible: so taking it means that all
 * who did not ring can be seen. */
#pragma once

#include <uv.h>

#include "hub.h"
#include "pglink.h"
#include "session.h"
#include "settings.h"

struct turns;

/* `ready` is called after the first turn of each connection. */
struct turns *turns_create(uv_loop_t *loop, const struct settings *settings, struct pglink *link,
	struct hub *hub, void (*ready)(void *ctx), void *ctx);
/* The loop has to run on until its timer is closed. */
void turns_destroy(struct turns **turns);

/* The connection is set up: takes a turn, and turns from now on. */
void turns_connected(struct turns *turns, const struct session_facts *facts);
void turns_lost(struct turns *turns);
/* Somebody rang. */
void turns_bell(struct turns *turns);
/* A client needs something from the database. */
void turns_want(struct turns *turns);
/* True once a turn has succeeded on this connection. */
bool turns_ready(const struct turns *turns);
