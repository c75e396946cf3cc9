#include "scheduler.h"

#include <stdlib.h>

#include "alloc.h"
#include "clock.h"
#include "journal.h"
#include "metrics.h"

/* While there is work, this is from one turn's beginning to the next, in milliseconds: two for each
 * event that comes in one, within these. So it is short as long as that matters, and under load,
 * where a turn for few events takes the processors from those who write them, it is long. */
#define CYCLE_PER_RATE 2
#define CYCLE_MIN 2
#define CYCLE_MAX 10

/* Commits that ring wait for each other, each for the flush of the one before. So the bridge sleeps
 * only in calm: when a turn brings nothing, or only what was written by one transaction at a time.
 * Whoever is in progress when another's bell is heard may be waiting already. After so many calm
 * turns it tries to sleep. */
#define CALM_TURNS 10

/* Commits that wait in the order of their ids are not seen in progress. So after so many bells it
 * looks by itself for a while, which shows as well: whoever writes then keeps it from sleeping.
 * From the fewest it goes to twice as many each time that nobody did. This also ends the bells of
 * one writer who is fast, each of which would be a turn. */
#define FEWEST_BELLS 16
#define MOST_BELLS 256

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
	bool busy;	       /* a turn is under way */
	bool again;	       /* and one more is wanted after it */
	bool asleep;	       /* we hold the lock */
	enum lock lock;	       /* what the turn does to it */
	unsigned calm;	       /* calm turns in a row */
	unsigned bells;	       /* since it fell asleep, */
	unsigned patience;     /* and how many there may be */
	uint64_t began_ms;     /* the last turn */
	uint64_t collected_ms; /* from the turn before to this one */
};

/* A bell for each transaction harms nobody. */
static bool may_sleep(const struct turns *turns)
{
	return turns->calm && turns->bells < turns->patience;
}

static enum lock choose_lock(const struct turns *turns)
{
	if (turns->poll)
		return LOCK_KEEP;
	if (turns->asleep)
		return may_sleep(turns) ? LOCK_KEEP : LOCK_RELEASE;
	/* Somebody's long transaction may keep the lock from us: not every turn has to find out. */
	return turns->calm && turns->calm % CALM_TURNS == 0 ? LOCK_TAKE : LOCK_KEEP;
}

static void take(struct turns *turns)
{
	if (!pglink_is_live(turns->link))
		return;
	if (turns->busy) {
		turns->again = true;
		return;
	}
	turns->lock = choose_lock(turns);
	if (turns->lock == LOCK_RELEASE)
		turns->asleep = false;
	turns->busy = true;
	turns->again = false;
	uint64_t now = clock_ms();
	turns->collected_ms = now - turns->began_ms;
	turns->began_ms = now;
	uv_timer_stop(&turns->timer);
	journal_turn(turns->journal, turns->lock);
}

static void on_timer(uv_timer_t *timer)
{
	take(timer->data);
}

static uint64_t cycle(const struct turns *turns, size_t events)
{
	uint64_t ms = CYCLE_PER_RATE * events / (turns->collected_ms ? turns->collected_ms : 1);
	return ms < CYCLE_MIN ? CYCLE_MIN : ms > CYCLE_MAX ? CYCLE_MAX : ms;
}

/* A turn that took longer than the cycle has collected enough for the next one meanwhile. */
static uint64_t rest_of_cycle(const struct turns *turns, size_t events)
{
	uint64_t took = clock_ms() - turns->began_ms, whole = cycle(turns, events);
	return took < whole ? whole - took : 0;
}

/* False: until somebody rings. */
static bool next_pause(const struct turns *turns, size_t events, uint64_t *ms)
{
	bool sleeps = turns->asleep && may_sleep(turns);
	if (hub_pages_postponed(turns->hub))
		*ms = CYCLE_MIN;
	else if (turns->poll)
		*ms = (uint64_t)turns->settings->poll_interval;
	else if (sleeps)
		*ms = (uint64_t)turns->settings->safety_poll;
	else
		*ms = rest_of_cycle(turns, events);
	return !sleeps || *ms;
}

static void tried_to_sleep(struct turns *turns, bool locked)
{
	turns->asleep = locked;
	if (!locked) {
		turns->patience = FEWEST_BELLS;
		return;
	}
	turns->bells = 0;
	if (turns->patience < MOST_BELLS)
		turns->patience *= 2;
	metric_add(METRIC_SLEEPS, 1);
}

static void on_turn(void *ctx, const struct turn_result *result)
{
	struct turns *turns = ctx;
	turns->busy = false;
	if (!turns->ready) {
		turns->ready = true;
		turns->on_ready(turns->ctx);
	}
	turns->calm = result->events && result->crowded ? 0 : turns->calm + 1;
	if (turns->lock == LOCK_TAKE)
		tried_to_sleep(turns, result->locked);
	uint64_t ms = 0;
	if (!turns->again && !next_pause(turns, result->events, &ms))
		return;
	if (ms)
		uv_timer_start(&turns->timer, on_timer, ms, 0);
	else
		take(turns);
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
	turns->calm = CALM_TURNS; /* so the first turn already tries to sleep */
	turns->patience = FEWEST_BELLS;
	turns->busy = true;
	journal_connected(turns->journal, facts, on_checked);
}

void turns_lost(struct turns *turns)
{
	uv_timer_stop(&turns->timer);
	turns->busy = turns->again = turns->asleep = turns->ready = false;
	journal_lost(turns->journal);
}

void turns_bell(struct turns *turns)
{
	metric_add(METRIC_BELLS, 1);
	turns->bells++;
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
