/* A turn is one short read-only transaction:
 *
 *     [sleeping lock]  [BEGIN]  pull  [pages]  [answers to init]  [COMMIT]
 *
 * all of it sent at once. The pull alone needs no BEGIN; with anything beside it all share one
 * snapshot, so that pages and answers end exactly where the pull does.
 *
 * A position is text: epoch.anchor.at.m[.distance…]. m is the greatest transaction id of the
 * journal that was visible; each distance says that m - distance was still in progress then. Anchor
 * and at are the id and the time (in microseconds) of the row that gave m, and tell whether history
 * has gone another way since. */
#include "journal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "log.h"
#include "pgarray.h"
#include "stats.h"

/* pgcast.bridge: the class of the sleeping locks, 'pgc2'. */
#define SLEEPING "1885823794"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* ---- SQL ---- */

/* The columns of every statement that reads events; the first row of a pull says where it ends, in
 * type and message. */
enum column { ID, UID, BROADCAST, TYPE, MESSAGE, PAGE };

#define EVENT                                                                                      \
	"e.id, e.uid, e.broadcast, e.type,"                                                        \
	" '{\"type\":' || to_json(e.type)::text || ',\"op\":\"' || e.op || '\",\"id\":' || e.id"   \
	" || ',\"at\":\"' || to_char(e.at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\",\"data\":'" \
	" || coalesce(e.data::text, 'null')"                                                       \
	" || case when e.old is null then '' else ',\"old\":' || e.old::text end || '}'"

#define NO_EVENT "null::text, false"

#define FIELDS(parameter)                                                                          \
	"select a[1] as epoch, a[2]::int8 as anchor, a[3]::int8 as at, a[4]::xid8 as m,"           \
	"       array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8"                        \
	"               from unnest(a[5:]) d) as open"                                             \
	"  from (select string_to_array(" parameter ", '.') as a) q"

/* The position's text from `m` (the new greatest id, its anchor) and the snapshot; the cursor is
 * the same, or weaker when that is too long: everything from the oldest open transaction on again.
 */
#define POSITION                                                                                   \
	"select m.epoch || '.' || m.anchor || '.' || m.at || '.' || m.m as head,"                  \
	"       coalesce((select string_agg('.' || (m.m::text::int8 - x::text::int8), ''"          \
	"                                   order by x desc)"                                      \
	"                   from pg_snapshot_xip(pg_current_snapshot()) x where x < m.m), '')"     \
	"       as open,"                                                                          \
	"       m.epoch || '.' || m.anchor || '.' || m.at || '.' ||"                               \
	"       (select min(x)::text::int8 - 1"                                                    \
	"          from pg_snapshot_xip(pg_current_snapshot()) x) as weak"                         \
	"  from m"

#define POSITION_ROW                                                                               \
	"select 0::int8, " NO_EVENT ", head || open,"                                              \
	"       case when length(head || open) <= " STRING(CURSOR_MAX) " then head || open"        \
								       "            else weak end" \
								       "  from position"

#define MICROSECONDS(at) "round(extract(epoch from " at ") * 1000000)::int8"

/* Where the journal ends now, for a bridge that has just begun. */
static const char start_sql[] =
	"with m as ("
	"  select s.epoch, coalesce(t.id, 0) as anchor, coalesce(t.at, 0) as at,"
	"         coalesce(t.xid, '0'::xid8) as m"
	"    from (select epoch from pgcast.meta) s left join lateral"
	"         (select e.id, e.xid, " MICROSECONDS(
		"e.at") " as at from pgcast.event e"
			"           where e.xid < pg_snapshot_xmax(pg_current_snapshot())"
			"           order by e.xid desc, e.id desc limit 1) t on true),"
			" position as (" POSITION ") " POSITION_ROW;

/* Everything since position $1. What is new lies between transactions that are still in progress,
 * or was in progress at $1 and is not any more: so neither a long transaction nor the rows that one
 * in progress has written so far are ever read in vain. */
static const char pull_sql[] = "with p as materialized (" FIELDS(
	"$1") "),"
	      " x as materialized ("
	      "  select array(select x from p, pg_snapshot_xip(pg_current_snapshot()) x"
	      "                where x > p.m order by x) as later),"
	      " r as materialized ("
	      "  select u.lo, u.hi from p, x,"
	      "         unnest(p.m || x.later, x.later || pg_snapshot_xmax(pg_current_snapshot()))"
	      "         u(lo, hi)),"
	      " t as ("
	      "  select e.xid, e.id, " MICROSECONDS(
		      "e.at") " as at from r cross join lateral"
			      "         (select e.xid, e.id, e.at from pgcast.event e where e.xid "
			      "> r.lo and e.xid < r.hi"
			      "           order by e.xid desc, e.id desc limit 1) e"
			      "   order by e.xid desc limit 1),"
			      " m as ("
			      "  select p.epoch, coalesce(t.id, p.anchor) as anchor, "
			      "coalesce(t.at, p.at) as at,"
			      "         coalesce(t.xid, p.m) as m from p left join t on true),"
			      " position as (" POSITION ")"
			      " (" POSITION_ROW ")"
			      " union all"
			      " select " EVENT "   from r cross join lateral"
			      "        (select * from pgcast.event e where e.xid > r.lo and e.xid "
			      "< r.hi) e"
			      " union all"
			      " select " EVENT "   from p cross join lateral unnest(p.open) o(xid) "
			      "cross join lateral"
			      "        (select * from pgcast.event e where e.xid = o.xid) e"
			      "  where o.xid not in (select pg_snapshot_xip(pg_current_snapshot()))"
			      " order by 1";

/* So many rows are "recent": few enough to be read at every restart, many enough for one. */
#define RECENT_ROWS 20000

#define IN_WINDOW                                                                                  \
	"(e.xid > c.m or e.xid = any (c.open))"                                                    \
	" and (c.open_end or (e.xid <= c.to_m and e.xid <> all (c.to_open)))"

/* For each page n: of uid $1[n], what lies between position $2[n] and $3[n] (null: now) after id
 * $4[n], up to $6 events. Where $5[n] says so the position is checked first, and a row with id 0
 * says in type how it is lost, or null: it holds when the row that gave it is there, or was the
 * last one pruned.
 *
 * Pages that begin shortly before now (everybody's, after a restart) are cut from the same few
 * recent rows; others are found by uid. */
static const char pages_sql[] =
	"with u as materialized ("
	"  select u.n, u.uid, u.after, u.checks, u.t is null as open_end,"
	"         f.epoch, f.anchor, f.at, f.m, f.open, t.m as to_m, t.open as to_open"
	"    from unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::bool[])"
	"         with ordinality u(uid, f, t, after, checks, n)"
	"   cross join lateral (" FIELDS("u.f") ") f cross join lateral (" FIELDS(
		"u.t") ") t),"
		       " c as materialized ("
		       "  select u.*, u.after = 0 and u.open_end as fresh, case"
		       "      when not u.checks then null"
		       "      when u.epoch <> s.epoch then 'epoch'"
		       "      when u.anchor = r.pruned_id and u.m = r.pruned_xid then null"
		       "      when u.m < r.pruned_xid or r.pruned_xid >= any (u.open) then 'pruned'"
		       "      when u.m >= pg_snapshot_xmax(pg_current_snapshot()) then 'cursor'"
		       "      when u.anchor = 0 and u.m = '0'::xid8 then null"
		       "      when exists (select from pgcast.event e where e.xid = u.m and e.id = "
		       "u.anchor"
		       "                      and " MICROSECONDS(
			       "e.at") " = u.at) then null"
				       "      else 'cursor' end as lost"
				       "    from u cross join pgcast.meta s cross join pgcast.ring "
				       "r),"
				       " recent as materialized ("
				       "  select e.* from pgcast.event e"
				       "   where e.xid > (select min(least(c.m::text::int8, "
				       "(select min(x)::text::int8 - 1"
				       "                                                       "
				       "from unnest(c.open) x)))::text::xid8"
				       "                    from c where c.fresh and c.lost is "
				       "null)"
				       "   limit " STRING(
					       RECENT_ROWS) "),"
							    " few as materialized (select count(*) "
							    "< " STRING(
								    RECENT_ROWS) " as yes from "
										 "recent),"
										 " near as ("
										 "  select c.n, "
										 "e.*, "
										 "row_number() "
										 "over (partition "
										 "by c.n order by "
										 "e.id) as place"
										 "    from c join "
										 "recent e on "
										 "e.uid = c.uid"
										 "   where (select "
										 "yes from few) "
										 "and c.fresh and "
										 "c.lost is null"
										 "     and not "
										 "e.broadcast "
										 "and " IN_WINDOW
										 "  union all"
										 "  select c.n, "
										 "e.*, "
										 "row_number() "
										 "over (partition "
										 "by c.n order by "
										 "e.id)"
										 "    from c cross "
										 "join recent e"
										 "   where (select "
										 "yes from few) "
										 "and c.fresh and "
										 "c.lost is null"
										 "     and "
										 "e.broadcast "
										 "and " IN_WINDOW
										 "),"
										 " far as ("
										 "  select c.n, "
										 "e.* from c cross "
										 "join lateral ("
										 "    (select e.* "
										 "from "
										 "pgcast.event e "
										 "where e.uid = "
										 "c.uid and not "
										 "e.broadcast"
										 "        and e.id "
										 "> c.after "
										 "and " IN_WINDOW
										 " order by e.id "
										 "limit $6::int8)"
										 "    union all"
										 "    (select e.* "
										 "from "
										 "pgcast.event e "
										 "where e.broadcast"
										 "        and e.id "
										 "> c.after "
										 "and " IN_WINDOW
										 " order by e.id "
										 "limit $6::int8)"
										 "    order by id "
										 "limit $6::int8) e"
										 "   where not "
										 "((select yes "
										 "from few) and "
										 "c.fresh) and "
										 "c.lost is null)"
										 " select "
										 "0::int8,"
										 " " NO_EVENT
										 ", c.lost, '', "
										 "c.n from c where "
										 "c.checks"
										 " union all"
										 " select " EVENT
										 ", e.n from near "
										 "e where e.place "
										 "<= $6::int8"
										 " union all"
										 " select " EVENT
										 ", e.n from far e"
										 " order by 6, 1";

/* Which of the positions $1 hold, by the same rules. */
static const char holds_sql[] =
	"select p.n, exists (select from pgcast.meta s cross join pgcast.ring r where s.epoch = "
	"f.epoch"
	"    and f.m < pg_snapshot_xmax(pg_current_snapshot())"
	"    and (f.anchor = 0 and f.m = '0'::xid8 or f.anchor = r.pruned_id and f.m = r.pruned_xid"
	"         or exists (select from pgcast.event e where e.xid = f.m and e.id = f.anchor"
	"                       and " MICROSECONDS(
		"e.at") " = f.at)))"
			"  from unnest($1::text[]) with ordinality p(text, n)"
			" cross join lateral (" FIELDS("p.text") ") f order by p.n";

static const char init_sql[] =
	"select i.n, pgcast.init(i.type, i.uid)"
	"  from unnest($1::text[], $2::text[]) with ordinality i(type, uid, n)";

/* ---- state ---- */

/* Positions of the last minute or so, in case that the newest ones turn out not to have happened.
 */
#define PAST 64
#define PAST_STEP 1000 /* milliseconds between two */

struct past {
	struct position *position;
	uint64_t ms;
};

struct journal {
	struct pglink *link;
	struct hub *hub;
	void (*done)(void *ctx, const struct turn_result *result);
	void *ctx;
	void (*ready)(void *ctx);
	int key;
	bool pooled;
	bool in_turn;
	struct turn_result result;
	struct past past[PAST]; /* newest first */
	size_t n_past;
	struct position *holds; /* newest one that does */
};

struct journal *journal_create(struct pglink *link, struct hub *hub,
	void (*done)(void *ctx, const struct turn_result *result), void *ctx)
{
	struct journal *journal = xcalloc(1, sizeof(*journal));
	journal->link = link;
	journal->hub = hub;
	journal->done = done;
	journal->ctx = ctx;
	return journal;
}

static void forget_past(struct journal *journal, size_t newest)
{
	for (size_t i = 0; i < newest; i++)
		position_unref(&journal->past[i].position);
	memmove(journal->past, journal->past + newest,
		(journal->n_past - newest) * sizeof(*journal->past));
	journal->n_past -= newest;
}

void journal_destroy(struct journal **journal)
{
	if (!*journal)
		return;
	forget_past(*journal, (*journal)->n_past);
	position_unref(&(*journal)->holds);
	free(*journal);
	*journal = NULL;
}

/* past[0] is where the bridge is now; one older entry a second is kept. */
static void remember(struct journal *journal, struct position *position)
{
	uint64_t now = clock_ms();
	struct past *past = journal->past;
	bool keep =
		!journal->n_past || journal->n_past == 1 || past[0].ms - past[1].ms >= PAST_STEP;
	if (!keep) {
		position_unref(&past[0].position);
	} else {
		if (journal->n_past == PAST)
			position_unref(&past[--journal->n_past].position);
		memmove(past + 1, past, journal->n_past * sizeof(*past));
		journal->n_past++;
	}
	past[0] = (struct past){position_ref(position), now};
}

static void on_holds_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	size_t i = (size_t)row_int(row, 0) - 1;
	if (!journal->holds && row_bool(row, 1))
		journal->holds = position_ref(journal->past[i].position);
}

static void on_holds(void *ctx)
{
	struct journal *journal = ctx;
	if (journal->holds != journal->past[0].position) {
		log_warning("database: history went another way (a crash or a failover lost"
			    " commits): going back to %s",
			journal->holds ? "where it still held" : "its beginning here");
		stats_add(STAT_REWINDS, 1);
		hub_rewind(journal->hub, journal->holds);
		forget_past(journal, journal->n_past);
	}
	position_unref(&journal->holds);
	journal->ready(journal->ctx);
}

static void ask(struct journal *journal, struct query query)
{
	query.ctx = journal;
	if (journal->pooled)
		query.name = NULL;
	pglink_send(journal->link, &query);
}

void journal_connected(struct journal *journal, int key, bool pooled, void (*ready)(void *ctx))
{
	journal->key = key;
	journal->pooled = pooled;
	journal->ready = ready;
	position_unref(&journal->holds);
	if (!journal->n_past) {
		ready(journal->ctx);
		return;
	}
	struct pgarray texts;
	pgarray_begin(&texts);
	for (size_t i = 0; i < journal->n_past; i++)
		pgarray_add(&texts, journal->past[i].position->text);
	const char *params[] = {pgarray_end(&texts)};
	ask(journal, (struct query){.sql = holds_sql,
			     .params = params,
			     .n_params = 1,
			     .row = on_holds_row,
			     .done = on_holds});
	pgarray_free(&texts);
	pglink_sync(journal->link);
}

void journal_lost(struct journal *journal)
{
	if (!journal->in_turn)
		return;
	journal->in_turn = false;
	hub_turn_abort(journal->hub);
}

/* ---- what arrives ---- */

static void take_position(struct journal *journal, const struct row *row)
{
	struct position *to =
		position_create(row_text(row, TYPE, NULL), row_text(row, MESSAGE, NULL));
	hub_turn_begin(journal->hub, to);
	position_unref(&to);
}

static struct event event_of(const struct row *row)
{
	struct event event = {
		.id = row_int(row, ID),
		.uid = row_text(row, UID, NULL),
		.broadcast = row_bool(row, BROADCAST),
		.type = row_text(row, TYPE, NULL),
	};
	event.text = row_text(row, MESSAGE, &event.len);
	return event;
}

static void on_pull_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	struct event event = event_of(row);
	if (!event.id) {
		take_position(journal, row);
		return;
	}
	journal->result.rows++;
	hub_turn_event(journal->hub, &event);
}

static void on_page_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	struct event event = event_of(row);
	size_t page = (size_t)row_int(row, PAGE) - 1;
	if (!event.id) {
		hub_turn_resume(journal->hub, page, row_text(row, TYPE, NULL));
		return;
	}
	journal->result.rows++;
	hub_turn_page(journal->hub, page, &event);
}

static void on_init_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	size_t len = 0;
	const char *text = row_text(row, 1, &len);
	journal->result.rows++;
	hub_turn_init(journal->hub, (size_t)row_int(row, 0) - 1, text, len);
}

static void on_lock_row(void *ctx, const struct row *row)
{
	struct journal *journal = ctx;
	journal->result.locked = row_bool(row, 0);
}

static void on_end(void *ctx)
{
	struct journal *journal = ctx;
	journal->in_turn = false;
	stats_add(STAT_TURNS, 1);
	hub_turn_end(journal->hub);
	remember(journal, hub_position(journal->hub));
	journal->done(journal->ctx, &journal->result);
}

/* ---- what is sent ---- */

static void ask_lock(struct journal *journal, enum lock lock)
{
	if (lock == LOCK_KEEP)
		return;
	char key[16];
	snprintf(key, sizeof(key), "%d", journal->key);
	const char *params[] = {key};
	static const char take[] = "select pg_try_advisory_lock(" SLEEPING ", $1::int4)";
	static const char release[] = "select pg_advisory_unlock(" SLEEPING ", $1::int4)";
	if (lock == LOCK_TAKE)
		ask(journal, (struct query){.name = "lock",
				     .sql = take,
				     .params = params,
				     .n_params = 1,
				     .row = on_lock_row});
	else
		ask(journal,
			(struct query){
				.name = "unlock", .sql = release, .params = params, .n_params = 1});
	pglink_sync(journal->link);
}

static void ask_pull(struct journal *journal, bool alone)
{
	const char *since = hub_position(journal->hub)->text;
	const char *params[] = {since};
	void (*done)(void *) = alone ? on_end : NULL;
	if (*since)
		ask(journal, (struct query){.name = "pull",
				     .sql = pull_sql,
				     .params = params,
				     .n_params = 1,
				     .row = on_pull_row,
				     .done = done});
	else
		ask(journal, (struct query){.sql = start_sql, .row = on_pull_row, .done = done});
}

enum { UIDS, FROMS, TOS, AFTERS, CHECKS, PAGE_ARRAYS };

static void add_page(struct pgarray arrays[PAGE_ARRAYS], const struct page *page)
{
	const struct window *window = &page->window;
	pgarray_add(&arrays[UIDS], page->uid);
	pgarray_add(&arrays[FROMS], window->from->text);
	pgarray_add(&arrays[TOS], window->to ? window->to->text : NULL);
	pgarray_add_int(&arrays[AFTERS], window->after);
	pgarray_add(&arrays[CHECKS], page->check ? "t" : "f");
}

static void ask_pages(struct journal *journal, const struct plan *plan)
{
	struct pgarray arrays[PAGE_ARRAYS];
	const char *params[PAGE_ARRAYS + 1];
	char rows[24];
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_begin(&arrays[i]);
	for (size_t i = 0; i < plan->n_pages; i++)
		add_page(arrays, &plan->pages[i]);
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		params[i] = pgarray_end(&arrays[i]);
	snprintf(rows, sizeof(rows), "%zu", plan->page_rows);
	params[PAGE_ARRAYS] = rows;
	ask(journal, (struct query){.sql = pages_sql,
			     .params = params,
			     .n_params = PAGE_ARRAYS + 1,
			     .row = on_page_row});
	for (size_t i = 0; i < PAGE_ARRAYS; i++)
		pgarray_free(&arrays[i]);
	stats_add(STAT_PAGES, 1);
}

static void ask_wishes(struct journal *journal, const struct plan *plan)
{
	struct pgarray types, uids;
	pgarray_begin(&types);
	pgarray_begin(&uids);
	for (size_t i = 0; i < plan->n_wishes; i++) {
		pgarray_add(&types, plan->wishes[i].type);
		pgarray_add(&uids, plan->wishes[i].uid);
	}
	const char *params[] = {pgarray_end(&types), pgarray_end(&uids)};
	ask(journal, (struct query){.name = "init",
			     .sql = init_sql,
			     .params = params,
			     .n_params = 2,
			     .row = on_init_row});
	pgarray_free(&types);
	pgarray_free(&uids);
}

void journal_turn(struct journal *journal, enum lock lock)
{
	assert(!journal->in_turn);
	journal->in_turn = true;
	journal->result = (struct turn_result){0};
	const struct plan *plan = hub_turn_plan(journal->hub);
	bool alone = !plan->n_pages && !plan->n_wishes;

	ask_lock(journal, lock);
	if (!alone)
		ask(journal,
			(struct query){.sql = "begin isolation level repeatable read, read only"});
	ask_pull(journal, alone);
	if (plan->n_pages)
		ask_pages(journal, plan);
	if (plan->n_wishes)
		ask_wishes(journal, plan);
	if (!alone)
		ask(journal, (struct query){.sql = "commit", .done = on_end});
	pglink_sync(journal->link);
}
