#include "turns.h"

#include <stdlib.h>

#include "alloc.h"
#include "clock.h"
#include "journal.h"
#include "stats.h"

/* Milliseconds. */
#define AWAKE_PAUSE 2 /* between turns while there is work */
#define RUSH_GAP 4    /* bells that follow each other faster are too many */

#define RUSH_BELLS 4  /* so many of them in a row wake the bridge for good */
#define IDLE_TURNS 10 /* empty turns after which it tries to sleep */

struct turns {
	const struct settings *settings;
	struct pglink *link;
	struct hub *hub;
	struct journal *journal;
	uv_timer_t timer;
	bool poll; /* nobody rings */
	bool ready;
	void (*on_ready)(void *ctx);
	void *ctx;
	bool busy;     /* a turn is under way */
	bool again;    /* and one more is wanted after it */
	bool asleep;   /* we hold the lock */
	bool rushed;   /* bells come too fast */
	unsigned idle; /* empty turns in a row */
	unsigned rush; /* fast bells in a row */
	uint64_t rang_ms;
};

static enum lock choose_lock(const struct turns *turns)
{
	if (turns->poll)
		return LOCK_KEEP;
	if (turns->asleep)
		return turns->rushed ? LOCK_RELEASE : LOCK_KEEP;
	/* Somebody's long transaction may keep the lock from us: not every turn has to find out. */
	return turns->idle && turns->idle % IDLE_TURNS == 0 ? LOCK_TAKE : LOCK_KEEP;
}

static void take(struct turns *turns)
{
	if (!pglink_is_live(turns->link))
		return;
	if (turns->busy) {
		turns->again = true;
		return;
	}
	enum lock lock = choose_lock(turns);
	if (lock == LOCK_RELEASE)
		turns->asleep = turns->rushed = false;
	turns->busy = true;
	turns->again = false;
	uv_timer_stop(&turns->timer);
	journal_turn(turns->journal, lock);
}

static void on_timer(uv_timer_t *timer)
{
	take(timer->data);
}

static uint64_t next_pause(const struct turns *turns)
{
	if (hub_put_off(turns->hub))
		return AWAKE_PAUSE;
	if (turns->poll)
		return (uint64_t)turns->settings->poll_interval;
	return turns->asleep ? (uint64_t)turns->settings->safety_poll : AWAKE_PAUSE;
}

static void on_turn(void *ctx, const struct turn_result *result)
{
	struct turns *turns = ctx;
	turns->busy = false;
	if (!turns->ready) {
		turns->ready = true;
		turns->on_ready(turns->ctx);
	}
	turns->idle = result->rows ? 0 : turns->idle + 1;
	if (result->locked) {
		turns->asleep = true;
		turns->rush = 0;
		stats_add(STAT_SLEEPS, 1);
	}
	if (turns->again)
		take(turns);
	else if (next_pause(turns))
		uv_timer_start(&turns->timer, on_timer, next_pause(turns), 0);
}

struct turns *turns_create(uv_loop_t *loop, const struct settings *settings, struct pglink *link,
	struct hub *hub, void (*ready)(void *ctx), void *ctx)
{
	struct turns *turns = xcalloc(1, sizeof(*turns));
	turns->settings = settings;
	turns->link = link;
	turns->hub = hub;
	turns->on_ready = ready;
	turns->ctx = ctx;
	turns->journal = journal_create(link, hub, on_turn, turns);
	turns->timer.data = turns;
	uv_timer_init(loop, &turns->timer);
	return turns;
}

static void on_close(uv_handle_t *handle)
{
	free(handle->data);
}

void turns_destroy(struct turns **turns)
{
	struct turns *old = *turns;
	*turns = NULL;
	if (!old)
		return;
	journal_lost(old->journal);
	journal_destroy(&old->journal);
	uv_close((uv_handle_t *)&old->timer, on_close);
}

static void on_checked(void *ctx)
{
	struct turns *turns = ctx;
	turns->busy = false;
	take(turns);
}

void turns_connected(struct turns *turns, const struct session_facts *facts)
{
	turns->poll = facts->poll;
	turns->idle = IDLE_TURNS; /* so the first turn already tries to sleep */
	turns->busy = true;
	journal_connected(turns->journal, facts, on_checked);
}

void turns_lost(struct turns *turns)
{
	uv_timer_stop(&turns->timer);
	turns->busy = turns->again = turns->asleep = turns->rushed = turns->ready = false;
	journal_lost(turns->journal);
}

void turns_bell(struct turns *turns)
{
	uint64_t now = clock_ms();
	stats_add(STAT_BELLS, 1);
	turns->rush = now - turns->rang_ms < RUSH_GAP ? turns->rush + 1 : 0;
	turns->rang_ms = now;
	turns->rushed = turns->rush >= RUSH_BELLS;
	take(turns);
}

void turns_want(struct turns *turns)
{
	take(turns);
}

bool turns_ready(const struct turns *turns)
{
	return turns->ready;
}
