#include "scheduler.h"

#include <stdlib.h>

#include "alloc.h"
#include "clock.h"
#include "journal.h"
#include "log.h"
#include "metrics.h"
#include "queries.h"

/* Milliseconds from the start of a turn to the start of the next one while awake: CYCLE_PER_RATE
 * for each event per millisecond, within the limits. Under load a turn for few events takes
 * processor time from the writers of these events. */
#define CYCLE_PER_RATE 2
#define CYCLE_MIN 2
#define CYCLE_MAX 10

/* Commits that send NOTIFY wait for each other, each for the flush of the one before. So the bridge
 * tries to sleep only after so many turns in a row without events of concurrent writers. */
#define IDLE_POLLS 10

/* Commits that wait in the order of their transaction ids are not seen to overlap. So the bridge
 * wakes after so many bells too: a concurrent writer then holds the lock when the bridge wants to
 * sleep. The limit doubles each time the lock was free. It also bounds the turns for one fast
 * writer. */
#define MIN_WAKEUPS 16
#define MAX_WAKEUPS 256

/* Milliseconds after which a turn is late. */
#define LATE 5000

struct scheduler {
	const struct settings *settings;
	struct pglink *link;
	struct hub *hub;
	struct journal *journal;
	struct queries *queries;
	uv_timer_t timer;
	bool poll; /* no NOTIFY will arrive */
	bool ready;
	void (*on_ready)(void *ctx);
	void *ctx;
	bool in_turn;
	bool late;		/* as logged */
	bool next_wanted;	/* a turn was wanted during this one */
	bool asleep;		/* the lock is held */
	enum lock lock;		/* action of this turn */
	unsigned idle_polls;	/* turns in a row */
	unsigned wakeups;	/* bells since the bridge fell asleep */
	unsigned wakeup_limit;	/* max wakeups */
	uint64_t started_ms;	/* start of the last turn */
	uint64_t collecting_ms; /* from the start of the turn before to started_ms */
};

/* While writers do not overlap, a NOTIFY for each transaction delays none of them. */
static bool may_sleep(const struct scheduler *scheduler)
{
	return scheduler->idle_polls && scheduler->wakeups < scheduler->wakeup_limit;
}

static enum lock choose_lock(const struct scheduler *scheduler)
{
	if (scheduler->poll)
		return LOCK_KEEP;
	if (scheduler->asleep)
		return may_sleep(scheduler) ? LOCK_KEEP : LOCK_RELEASE;
	/* A long transaction may hold the lock: not every turn needs to try. */
	bool tries = scheduler->idle_polls && scheduler->idle_polls % IDLE_POLLS == 0;
	return tries ? LOCK_TAKE : LOCK_KEEP;
}

bool scheduler_may_write(const struct scheduler *scheduler)
{
	return journal_may_write(scheduler->journal);
}

void scheduler_turn(struct scheduler *scheduler)
{
	if (!pglink_is_live(scheduler->link))
		return;
	if (scheduler->in_turn) {
		scheduler->next_wanted = true;
		return;
	}
	scheduler->lock = choose_lock(scheduler);
	if (scheduler->lock == LOCK_RELEASE)
		scheduler->asleep = false;
	scheduler->in_turn = true;
	scheduler->next_wanted = false;
	uint64_t now = clock_ms();
	scheduler->collecting_ms = now - scheduler->started_ms;
	scheduler->started_ms = now;
	uv_timer_stop(&scheduler->timer);
	journal_turn(scheduler->journal, scheduler->lock);
}

static void on_timer(uv_timer_t *timer)
{
	scheduler_turn(timer->data);
}

/* ---- the end of a turn ---- */

/* 0 after a turn that took longer than the cycle: enough events have been written meanwhile. */
static uint64_t rest_of_cycle(const struct scheduler *scheduler, size_t events)
{
	uint64_t collecting = scheduler->collecting_ms ? scheduler->collecting_ms : 1;
	uint64_t ms = CYCLE_PER_RATE * events / collecting;
	uint64_t cycle = ms < CYCLE_MIN ? CYCLE_MIN : ms > CYCLE_MAX ? CYCLE_MAX : ms;
	uint64_t took = clock_ms() - scheduler->started_ms;
	return took < cycle ? cycle - took : 0;
}

/* False: the next turn waits for a bell. */
static bool next_pause(const struct scheduler *scheduler, size_t events, uint64_t *ms)
{
	bool sleeps = scheduler->asleep && may_sleep(scheduler);
	if (hub_pages_postponed(scheduler->hub))
		*ms = CYCLE_MIN;
	else if (scheduler->poll)
		*ms = (uint64_t)scheduler->settings->poll_interval;
	else if (sleeps)
		*ms = (uint64_t)scheduler->settings->safety_poll;
	else
		*ms = rest_of_cycle(scheduler, events);
	return !sleeps || *ms;
}

static void note_sleep(struct scheduler *scheduler, bool locked)
{
	scheduler->asleep = locked;
	if (!locked) {
		scheduler->wakeup_limit = MIN_WAKEUPS;
		return;
	}
	scheduler->wakeups = 0;
	if (scheduler->wakeup_limit < MAX_WAKEUPS)
		scheduler->wakeup_limit *= 2;
	metric_add(METRIC_SLEEPS, 1);
}

static void ask_next(struct scheduler *scheduler, const struct turn_result *result)
{
	if (result->events && result->concurrent_writers)
		scheduler->idle_polls = 0;
	else
		scheduler->idle_polls++;
	if (scheduler->lock == LOCK_TAKE)
		note_sleep(scheduler, result->locked);
	uint64_t ms = 0;
	if (!scheduler->next_wanted && !next_pause(scheduler, result->events, &ms))
		return;
	if (ms)
		uv_timer_start(&scheduler->timer, on_timer, ms, 0);
	else
		scheduler_turn(scheduler);
}

static void note_duration(const struct scheduler *scheduler)
{
	uint64_t us = (clock_ms() - scheduler->started_ms) * 1000;
	if (us > metrics[METRIC_TURN_MAX])
		metric_set(METRIC_TURN_MAX, us);
}

/* The database reads the next turn while the bridge writes this one. */
static void on_turn(void *ctx, const struct turn_result *result)
{
	struct scheduler *scheduler = ctx;
	note_duration(scheduler);
	if (result->too_large)
		scheduler->next_wanted = true;
	else
		hub_turn_end(scheduler->hub); /* may want a turn: it is the next one */
	scheduler->in_turn = false;
	if (!scheduler->ready) {
		scheduler->ready = true;
		scheduler->on_ready(scheduler->ctx);
	}
	ask_next(scheduler, result);
	hub_turn_write(scheduler->hub);
}

/* ---- the connection ---- */

struct scheduler *scheduler_create(uv_loop_t *loop, const struct settings *settings,
	struct pglink *link, struct hub *hub, void (*ready)(void *ctx), void *ctx)
{
	struct scheduler *scheduler = xcalloc(1, sizeof(*scheduler));
	scheduler->settings = settings;
	scheduler->link = link;
	scheduler->hub = hub;
	scheduler->on_ready = ready;
	scheduler->ctx = ctx;
	scheduler->queries = queries_create(loop, settings, hub);
	scheduler->journal = journal_create(link, hub, scheduler->queries, on_turn, scheduler);
	scheduler->timer.data = scheduler;
	uv_timer_init(loop, &scheduler->timer);
	return scheduler;
}

static void on_close(uv_handle_t *handle)
{
	free(handle->data);
}

void scheduler_destroy(struct scheduler **scheduler)
{
	struct scheduler *old = *scheduler;
	*scheduler = NULL;
	if (!old)
		return;
	journal_lost(old->journal);
	journal_destroy(&old->journal);
	queries_destroy(&old->queries);
	uv_close((uv_handle_t *)&old->timer, on_close);
}

static void on_journal_ready(void *ctx)
{
	struct scheduler *scheduler = ctx;
	scheduler->in_turn = false;
	scheduler_turn(scheduler);
}

void scheduler_connected(struct scheduler *scheduler, const struct session_facts *facts)
{
	scheduler->poll = facts->poll;
	scheduler->idle_polls = IDLE_POLLS; /* the first turn tries to sleep */
	scheduler->wakeup_limit = MIN_WAKEUPS;
	scheduler->in_turn = true;
	scheduler->started_ms = clock_ms(); /* the check of the history can be late, too */
	journal_connected(scheduler->journal, facts, on_journal_ready);
}

void scheduler_lost(struct scheduler *scheduler)
{
	uv_timer_stop(&scheduler->timer);
	scheduler->in_turn = scheduler->next_wanted = false;
	scheduler->asleep = scheduler->ready = false;
	journal_lost(scheduler->journal);
}

void scheduler_bell(struct scheduler *scheduler)
{
	metric_add(METRIC_BELLS, 1);
	scheduler->wakeups++;
	scheduler_turn(scheduler);
}

void scheduler_expect(struct scheduler *scheduler, int64_t id, uint64_t since_ms)
{
	journal_expect(scheduler->journal, id, since_ms);
	if (id)
		scheduler_turn(scheduler);
}

static bool is_late(const struct scheduler *scheduler)
{
	return scheduler->in_turn && clock_ms() - scheduler->started_ms > LATE;
}

bool scheduler_is_ready(const struct scheduler *scheduler, const char **why)
{
	if (!is_late(scheduler))
		return scheduler->ready;
	*why = "the journal could not be read for 5 s";
	return false;
}

void scheduler_tick(struct scheduler *scheduler)
{
	bool late = is_late(scheduler);
	journal_measure_delay(scheduler->journal);
	if (late && !scheduler->late)
		log_warning("journal: could not be read for 5 s (is the database overloaded?)");
	else if (!late && scheduler->late)
		log_info("journal: can be read again");
	scheduler->late = late;
}
