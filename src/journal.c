/* A turn is one short read-only transaction:
 *
 *     [sleeping lock]  [BEGIN]  pull  [page per cohort]  [answers to init]  [COMMIT]
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
#include "log.h"
#include "stats.h"

/* pgcast.bridge: the class of the sleeping locks, 'pgc2'. */
#define SLEEPING "1885823794"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* ---- SQL ---- */

/* The columns of every statement that reads events; the first row of a pull says where it ends, in
 * type and message. */
enum column { ID, UID, BROADCAST, TYPE, MESSAGE };

#define EVENT                                                                                      \
	"e.id, e.uid, e.broadcast, e.type,"                                                        \
	" '{\"type\":' || to_json(e.type)::text || ',\"op\":\"' || e.op || '\",\"id\":' || e.id"   \
	" || ',\"at\":\"' || to_char(e.at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\",\"data\":'" \
	" || coalesce(e.data::text, 'null')"                                                       \
	" || case when e.old is null then '' else ',\"old\":' || e.old::text end || '}'"

#define NO_EVENT "null::text, false"

#define FIELDS(parameter)                                                                          \
	"select a[1] as epoch, a[2] as anchor, a[3] as at, a[4]::xid8 as m,"                       \
	"       array(select (a[4]::int8 - d::int8)::text::xid8 from unnest(a[5:]) d) as open"     \
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
			      "  select p.epoch, coalesce(t.id::text, p.anchor) as anchor, "
			      "coalesce(t.at::text, p.at) as at,"
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

/* A page of the window ($1, $2 or now], after id $3, of the uids $4. */
static const char page_sql[] =
	"with f as materialized (" FIELDS("$1") "), t as materialized (" FIELDS(
		"$2") ")"
		      " select " EVENT "   from pgcast.event e"
		      "  where e.id > $3::int8 and (e.uid = any ($4::text[]) or e.broadcast)"
		      "    and (e.xid > (select m from f) or e.xid = any ((select open from "
		      "f)::xid8[]))"
		      "    and ($2::text is null or (e.xid <= (select m from t)"
		      "         and e.xid <> all ((select open from t)::xid8[])))"
		      "  order by e.id limit " STRING(HUB_PAGE);

static const char init_sql[] =
	"select i.n, pgcast.init(i.type, i.uid)"
	"  from unnest($1::text[], $2::text[]) with ordinality i(type, uid, n)";

/* ---- state ---- */

struct journal {
	struct pglink *link;
	struct hub *hub;
	void (*done)(void *ctx, const struct turn_result *result);
	void *ctx;
	int key;
	bool pooled;
	bool in_turn;
	struct turn_result result;
	size_t cohort; /* whose page is arriving */
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

void journal_destroy(struct journal **journal)
{
	free(*journal);
	*journal = NULL;
}

void journal_connected(struct journal *journal, int key, bool pooled)
{
	journal->key = key;
	journal->pooled = pooled;
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
	journal->result.rows++;
	hub_turn_page(journal->hub, journal->cohort, &event);
}

static void on_page_end(void *ctx)
{
	struct journal *journal = ctx;
	hub_turn_page_end(journal->hub, journal->cohort++);
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
	journal->done(journal->ctx, &journal->result);
}

/* ---- what is sent ---- */

/* The text form of a text[]: every element quoted, quotes and backslashes escaped. */
static char *array_text(const char *const *items, size_t n, size_t stride)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	assert(out);
	for (size_t i = 0; i < n; i++) {
		const char *item = *(const char *const *)((const char *)items + i * stride);
		fputs(i ? ",\"" : "{\"", out);
		for (; *item; item++) {
			if (*item == '"' || *item == '\\')
				fputc('\\', out);
			fputc(*item, out);
		}
		fputc('"', out);
	}
	fputs(n ? "}" : "{}", out);
	fclose(out);
	return text;
}

static void ask(struct journal *journal, struct query query)
{
	query.ctx = journal;
	if (journal->pooled)
		query.name = NULL;
	pglink_send(journal->link, &query);
}

static void send_lock(struct journal *journal, enum lock lock)
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

static void send_pull(struct journal *journal, bool alone)
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

static void send_page(struct journal *journal, const struct cohort *cohort)
{
	const struct window *window = &cohort->window;
	char after[24];
	snprintf(after, sizeof(after), "%lld", (long long)window->after);
	char *uids = array_text(cohort->uids, cohort->n_uids, sizeof(*cohort->uids));
	const char *params[] = {
		window->from->text, window->to ? window->to->text : NULL, after, uids};
	ask(journal, (struct query){.name = "page",
			     .sql = page_sql,
			     .params = params,
			     .n_params = 4,
			     .row = on_page_row,
			     .done = on_page_end});
	free(uids);
}

static void send_wishes(struct journal *journal, const struct wish *wishes, size_t n)
{
	char *types = array_text(&wishes->type, n, sizeof(*wishes));
	char *uids = array_text(&wishes->uid, n, sizeof(*wishes));
	const char *params[] = {types, uids};
	ask(journal, (struct query){.name = "init",
			     .sql = init_sql,
			     .params = params,
			     .n_params = 2,
			     .row = on_init_row});
	free(types);
	free(uids);
}

void journal_turn(struct journal *journal, enum lock lock)
{
	assert(!journal->in_turn);
	journal->in_turn = true;
	journal->result = (struct turn_result){0};
	journal->cohort = 0;
	const struct plan *plan = hub_turn_plan(journal->hub);
	bool alone = !plan->n_cohorts && !plan->n_wishes;

	send_lock(journal, lock);
	if (!alone)
		ask(journal,
			(struct query){.sql = "begin isolation level repeatable read, read only"});
	send_pull(journal, alone);
	for (size_t i = 0; i < plan->n_cohorts; i++)
		send_page(journal, &plan->cohorts[i]);
	if (plan->n_wishes)
		send_wishes(journal, plan->wishes, plan->n_wishes);
	if (!alone)
		ask(journal, (struct query){.sql = "commit", .done = on_end});
	pglink_sync(journal->link);
}
