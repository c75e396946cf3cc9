/* A position is text: epoch.anchor.at.m[.distance...]
 *
 * m is the greatest transaction id of the journal that was visible; each distance says that
 * m - distance was still in progress then. Delivered is what is not above m and not one of those.
 * Not the snapshot's own xmax: after a crash that lost commits, or a failover, ids that were seen
 * but not durable are used again. epoch is the cluster's system identifier; anchor and at are id
 * and time (in microseconds) of the row that gave m: when it is not there any more, history went
 * another way. */
#include "journal_sql.h"

#include "position.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* SQL has its own lines. */
/* clang-format off */

/* The class of the sleeping locks, 'pgc2': see pgcast.constants(). */
#define SLEEPING "1885823794"

const char lock_sql[] = "select pg_try_advisory_lock(" SLEEPING ", $1::int4)";
const char unlock_sql[] = "select pg_advisory_unlock(" SLEEPING ", $1::int4)";

const char init_sql[] =
	"select i.n, pgcast.init(i.type, i.uid)"
	"  from unnest($1::text[], $2::text[]) with ordinality i(type, uid, n)";

/* ---- pieces ---- */

#define XMIN "pg_snapshot_xmin(pg_current_snapshot())"
#define XMAX "pg_snapshot_xmax(pg_current_snapshot())"
#define XIP "pg_snapshot_xip(pg_current_snapshot())"

#define MICROSECONDS(at) "round(extract(epoch from " at ") * 1000000)::int8"

/* An event and its message. */
#define EVENT \
	"e.id, e.uid, e.broadcast, e.type," \
	" '{\"type\":' || to_json(e.type)::text || ',\"op\":\"' || e.op || '\",\"id\":' || e.id" \
	" || ',\"at\":\"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || '\",\"data\":'" \
	" || coalesce(e.data::text, 'null')" \
	" || case when e.old is null then '' else ',\"old\":' || e.old::text end || '}'"

/* A position taken apart, once: offset 0 keeps the planner from doing so for each of its numbers. */
#define FIELDS(position) \
	"select a[1] as epoch, a[2]::int8 as anchor, a[3]::int8 as at, a[4]::xid8 as m," \
	"       array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8" \
	"               from unnest(a[5:]) d) as open" \
	"  from (select string_to_array(" position ", '.') as a offset 0) q"

/* The last visible event of the greatest transaction below a limit. */
#define TOP_BELOW(limit) \
	"select e.xid, e.id, " MICROSECONDS("e.at") " as at from pgcast.event e" \
	" where e.xid < " limit " order by e.xid desc, e.id desc limit 1"

/* A position at event t, with nothing open. What is pruned was delivered, so that the end of that is
 * the least there can be. */
#define POSITION_AT(t) \
	"case when " t ".xid > g.pruned_xid" \
	"     then concat_ws('.', s.epoch, " t ".id, " t ".at, " t ".xid)" \
	"     else concat_ws('.', s.epoch, g.pruned_id, 0, g.pruned_xid) end"

#define JOURNAL "pgcast.meta s cross join pgcast.rotation g"

/* The row that begins a pull, from a position's exact text; the cursor is the same, or null when that
 * would be too long. */
#define POSITION_ROW(text, crowded) \
	"select 0::int8, case when " crowded " then '' end, " XMIN " = " XMAX ", " text "," \
	"       case when length(" text ") <= " STRING(CURSOR_MAX) " then " text " end"

/* What was still in progress, as a position says it. */
#define DISTANCES(m) \
	"coalesce((select string_agg('.' || (" m "::text::int8 - x.xid::text::int8), '' order by x.xid desc)" \
	"            from running x where x.xid < " m "), '')"

/* ---- what is in progress ---- */

#define RUNNING "select x as xid from " XIP " x"

/* On a standby the snapshot's list is always empty. But whatever is visible in the journal has ended,
 * so that in progress is, as far as it matters, what is not below xmin and has no row there: of what
 * was in progress at position p, and of what is new below the last row. That takes in transactions
 * that have ended and wrote nothing of ours, or rolled back; `finished` is what is known of those.
 * The offset keeps the planner from reading all of the journal instead of looking for a few. */
#define STANDBY_RUNNING(finished) \
	"select x.xid from (" \
	"    select unnest(p.open) as xid from p" \
	"    union all" \
	"    select g::text::xid8 from p cross join (" TOP_BELOW(XMAX) ") t cross join generate_series(" \
	"           greatest(p.m::text::int8 + 1, " XMIN "::text::int8), t.xid::text::int8 - 1) g) x" \
	" where x.xid >= " XMIN \
	"   and not exists (select from unnest(" finished ") f where f = x.xid)" \
	"   and not exists (select from pgcast.event e where e.xid = x.xid offset 0)"

/* ---- pulls ---- */

#define START \
	" w as (" \
	"  select " POSITION_AT("t") " || " DISTANCES("t.xid") " as text" \
	"    from " JOURNAL " left join lateral (" TOP_BELOW(XMAX) ") t on true)" \
	" " POSITION_ROW("w.text", "false") " from w"

const char start_sql[] = "with running as materialized (" RUNNING ")," START;

const char standby_start_sql[] =
	"with p as (select (" XMIN "::text::int8 - 1)::text::xid8 as m, '{}'::xid8[] as open),"
	" running as materialized (" STANDBY_RUNNING("'{}'::xid8[]") ")," START;

/* What is new lies above m, or was in progress at $1 and is not any more. What others have written
 * there and not yet committed would be read in vain by each turn: so the range is cut at the oldest
 * of those, of which one may be a bulk load. (At all of them, with 32 writers, took a third more.)
 * The offset keeps the planner from reading all of the journal instead. Each part costs the executor
 * some microseconds, which is most of what a pull of one event takes. */
#define CUTS 4

#define PULL(running) \
	"with p as materialized (" FIELDS("$1") ")," \
	" running as materialized (" running ")," \
	" e as materialized (" \
	"  select e.* from p cross join lateral (" \
	"         select array(select x.xid from running x where x.xid > p.m order by 1" \
	"                       limit " STRING(CUTS) ") as later) x" \
	"   cross join lateral unnest(p.m || x.later, x.later || " XMAX ") r(lo, hi)" \
	"   cross join lateral" \
	"         (select * from pgcast.event e where e.xid > r.lo and e.xid < r.hi offset 0) e" \
	"  union all" \
	"  select * from pgcast.event e" \
	"   where e.xid = any (array(select o from p, unnest(p.open) o" \
	"                             where o not in (select x.xid from running x)))), " \
	" m as materialized (" \
	"  select p.epoch, coalesce(t.id, p.anchor) as anchor, coalesce(t.at, p.at) as at," \
	"         coalesce(t.xid, p.m) as m" \
	"    from p left join (" \
	"         select e.xid, e.id, " MICROSECONDS("e.at") " as at from e" \
	"          order by e.xid desc, e.id desc limit 1) t on t.xid > p.m)," \
	" w as materialized (" \
	"  select concat_ws('.', m.epoch, m.anchor, m.at, m.m) || " DISTANCES("m.m") " as text from m)" \
	" (" POSITION_ROW("w.text", "exists (select from p, running x where x.xid > p.m)") " from w)" \
	" union all" \
	" select " EVENT " from e" \
	" order by 1"

const char pull_sql[] = PULL(RUNNING);

/* The same for a position with nothing open, in half the time: then new is what is above m. What
 * others have written and not yet committed is read in vain, so this is for when there was nobody. */
const char quiet_pull_sql[] =
	"with e as materialized ("
	"  select * from pgcast.event e"
	"   where e.xid > split_part($1, '.', 4)::xid8 and e.xid < " XMAX "),"
	" running as (" RUNNING "),"
	" w as materialized ("
	"  select coalesce(("
	"         select concat_ws('.', split_part($1, '.', 1), t.id, " MICROSECONDS("t.at") ", t.xid)"
	"                || " DISTANCES("t.xid")
	"           from (select e.xid, e.id, e.at from e order by e.xid desc, e.id desc limit 1) t),"
	"         $1) as text)"
	" (" POSITION_ROW("w.text", XMIN " < " XMAX) " from w)"
	" union all"
	" select " EVENT " from e"
	" order by 1";

const char standby_pull_sql[] = PULL(STANDBY_RUNNING("$2::xid8[]"));

/* A cursor with nothing open: it repeats what was delivered since the oldest open transaction began,
 * and loses nothing. */
const char weak_sql[] =
	"select " POSITION_AT("t") " from " JOURNAL " left join lateral (" TOP_BELOW(XMIN) ") t on true";

/* Says so before the next pull's snapshot is taken: then what has no row there will never have one. */
const char finished_sql[] =
	"select coalesce(array_agg(x), '{}') from (" FIELDS("$1") ") p cross join unnest(p.open) x"
	" where pg_xact_status(x) is distinct from 'in progress'";

/* ---- pages ---- */

/* So many rows are "recent": few enough to be read at every restart, many enough for one. */
#define RECENT_ROWS 20000

#define IN_WINDOW \
	"(e.xid > c.m or e.xid = any (c.open))" \
	" and (c.open_end or (e.xid <= c.to_m and e.xid <> all (c.to_open)))"

/* The row that gave position p is there. */
#define ANCHORED(p) \
	"exists (select from pgcast.event e" \
	"         where e.xid = " p ".m and e.id = " p ".anchor and " MICROSECONDS("e.at") " = " p ".at)"

/* Position p is that of an empty journal, or of the last row that was pruned by rotation r. */
#define ANCHORED_AT_NOTHING(p) \
	"(" p ".anchor = 0 and " p ".m = '0'::xid8" \
	" or " p ".anchor = r.pruned_id and " p ".m = r.pruned_xid)"

/* A standby that lags behind may yet hear of transaction m. */
#define NOT_YET(m) \
	"pg_is_in_recovery() and case when " m " >= " XMAX " then true" \
	" else pg_xact_status(" m ") is not distinct from 'in progress' end"

/* Pages that begin shortly before now (everybody's, after a restart) are cut from the same few recent
 * rows; others are found by uid, which broadcasts have none of: with it in the order they come from
 * the index, not from a sort of all that follow. */
const char pages_sql[] =
	"with u as materialized ("
	"  select u.n, u.uid, u.after, u.checks, u.t is null as open_end,"
	"         f.epoch, f.anchor, f.at, f.m, f.open, t.m as to_m, t.open as to_open"
	"    from unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::bool[])"
	"         with ordinality u(uid, f, t, after, checks, n)"
	"   cross join lateral (" FIELDS("u.f") ") f cross join lateral (" FIELDS("u.t") ") t),"
	" c as materialized ("
	"  select u.*, u.after = 0 and u.open_end as fresh, case"
	"      when u.epoch <> s.epoch then 'epoch'"
	"      when u.m < r.pruned_xid or r.pruned_xid >= any (u.open) then 'pruned'"
	"      when not u.checks then null"
	"      when " NOT_YET("u.m") " then 'later'"
	"      when u.m >= " XMAX " then 'cursor'"
	"      when " ANCHORED_AT_NOTHING("u") " or " ANCHORED("u") " then null"
	"      else 'cursor' end as lost"
	"    from u cross join pgcast.meta s cross join pgcast.rotation r),"
	" recent as materialized ("
	"  select e.* from pgcast.event e"
	"   where e.xid > (select min(least(c.m::text::int8, (select min(x)::text::int8 - 1"
	"                                                       from unnest(c.open) x)))::text::xid8"
	"                    from c where c.fresh and c.lost is null)"
	"   limit " STRING(RECENT_ROWS) "),"
	" few as materialized (select count(*) < " STRING(RECENT_ROWS) " as yes from recent),"
	" loud as materialized (select * from recent e where e.broadcast),"
	" close as materialized ("
	"  select c.* from c where (select yes from few) and c.fresh and c.lost is null),"
	" near as ("
	"  select e.*, row_number() over (partition by e.n order by e.id) as place from ("
	"    select c.n, e.* from close c join recent e on e.uid = c.uid where " IN_WINDOW
	"    union all"
	"    select c.n, e.* from close c cross join loud e where " IN_WINDOW ") e),"
	" far as ("
	"  select c.n, e.* from c cross join lateral ("
	"    (select e.* from pgcast.event e where e.uid = c.uid"
	"        and e.id > c.after and " IN_WINDOW " order by e.id limit $6::int8)"
	"    union all"
	"    (select e.* from pgcast.event e where e.uid is null and e.broadcast"
	"        and e.id > c.after and " IN_WINDOW " order by e.uid, e.id limit $6::int8)"
	"    order by id limit $6::int8) e"
	"   where not ((select yes from few) and c.fresh) and c.lost is null)"
	" select 0::int8, null::text, false, c.lost, '', c.n from c where c.checks or c.lost is not null"
	" union all"
	" select " EVENT ", e.n from (select * from near union all select f.*, 0 from far f) e"
	"  where e.place <= $6::int8"
	" order by 6, 1";

const char holds_sql[] =
	"select p.n, exists ("
	"    select from pgcast.meta s cross join pgcast.rotation r"
	"     where s.epoch = f.epoch and f.m < " XMAX
	"       and (" ANCHORED_AT_NOTHING("f") " or " ANCHORED("f") "))"
	"  from unnest($1::text[]) with ordinality p(text, n)"
	" cross join lateral (" FIELDS("p.text") ") f order by p.n";
