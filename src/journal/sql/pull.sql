-- Every event since a position: a row with the position where the pull ends, then the events.
-- parameters: position, completed_xids
-- prepared
--
-- A position is text: epoch.anchor.at.m[.distance...]. m is the greatest transaction id of the
-- journal that was visible; each distance says that m - distance was still in progress (open).
-- Delivered are the transactions up to m that were not open. m is not the snapshot's own xmax:
-- after a crash that lost commits, or a failover, ids that were visible but not durable are used
-- again. epoch is the system identifier of the cluster; anchor and at are id and time (in
-- microseconds) of the row that gave m: without this row the history is another one.
--
-- New are the transactions above m, and the open ones that have ended since.
--
-- Each CTE costs the executor some microseconds, which are most of the time of a pull of one event.

-- Ranges are cut at so many running transactions: events that others have written there and not
-- committed would be read in vain by each turn, and one of the oldest may be a bulk load. Cutting
-- at all of them took a third longer with 32 writers.
\set cuts 4

-- A pull of more events, or of more bytes of JSON, is too large for a turn: then the position is null,
-- and nothing is returned. Few events are not measured.
\set max_events 20000
\set max_bytes 33554432
\set unmeasured_events 8

-- offset 0 keeps the planner from splitting the text once per field, and below from reading the
-- whole journal instead of a few index ranges.
with since as materialized (
  select a[1] as epoch, a[2]::int8 as anchor, a[3] as at, a[4]::xid8 as m,
         array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                 from unnest(a[5:]) d) as open
    from (select string_to_array(:'position', '.') as a offset 0) q),
running as materialized (
\if :{?standby}
  -- The snapshot of a standby lists no transactions. But a transaction with a visible event has
  -- ended, so running are those from xmin on that have none: of the open ones, and of the new ids
  -- below the newest event. These include transactions that wrote no event, or rolled back;
  -- completed_xids are those known to have ended.
  select x.xid from (
         select unnest(p.open) as xid from since p
         union all
         select g::text::xid8 from since p cross join (
                select e.xid from pgcast.event e
                 where e.xid < pg_snapshot_xmax(pg_current_snapshot())
                 order by e.xid desc, e.id desc limit 1) t
          cross join generate_series(
                greatest(p.m::text::int8 + 1, pg_snapshot_xmin(pg_current_snapshot())::text::int8),
                t.xid::text::int8 - 1) g) x
   where x.xid >= pg_snapshot_xmin(pg_current_snapshot())
     and not exists (select from unnest(:'completed_xids'::xid8[]) f where f = x.xid)
     and not exists (select from pgcast.event e where e.xid = x.xid offset 0)
\else
  select x as xid from pg_snapshot_xip(pg_current_snapshot()) x
\endif
),
events as materialized (
  (select e.* from since p cross join lateral (
         select array(select x.xid from running x where x.xid > p.m order by 1
                       limit :cuts) as later) x
   cross join lateral unnest(p.m || x.later,
                             x.later || pg_snapshot_xmax(pg_current_snapshot())) r(lo, hi)
   cross join lateral
         (select * from pgcast.event e where e.xid > r.lo and e.xid < r.hi offset 0) e
  union all
  select * from pgcast.event e
   where e.xid = any (array(select o from since p, unnest(p.open) o
                             where o not in (select x.xid from running x))))
  limit :max_events + 1),
large as materialized (
  select case when exists (select from events offset :unmeasured_events)
              then (select count(*) > :max_events
                           or sum(coalesce(octet_length(e.data::text), 0)
                                  + coalesce(octet_length(e.old::text), 0))
                              > :max_bytes
                      from events e)
              else false end as yes),
newest as materialized (
  select p.epoch, coalesce(t.id, p.anchor) as anchor, coalesce(t.at, p.at) as at,
         coalesce(t.xid, p.m) as m
    from since p left join (
         select e.xid, e.id, round(extract(epoch from e.at) * 1000000)::int8::text as at from events e
          order by e.xid desc, e.id desc limit 1) t on t.xid > p.m),
ends as materialized (
  select concat_ws('.', n.epoch, n.anchor, n.at, n.m)
         || coalesce((select string_agg('.' || (n.m::text::int8 - x.xid::text::int8), ''
                                        order by x.xid desc)
                        from running x where x.xid < n.m), '') as position
    from newest n)
-- The position's columns are those of events: see enum pull_column. For its witness: the time, the id
-- above which the new transactions are, the latest time of their last events, their number, the sum of
-- these times, and the ids of those that were open before. Times are in microseconds.
select null::int8 as id,
       (select concat_ws(' ', round(extract(epoch from clock_timestamp()) * 1000000)::int8,
                         coalesce(min(t.xid::text::int8) filter (where t.xid > p.m) - 1, p.m::text::int8),
                         max(t.us), count(*), sum(t.us),
                         string_agg(t.xid::text, ' ') filter (where t.xid <= p.m))
          from since p cross join (
               select distinct on (e.xid) e.xid, round(extract(epoch from e.at) * 1000000)::int8 as us
                 from events e order by e.xid, e.id desc) t
         where not l.yes group by p.m) as uid,
       pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot()) as broadcast,
       (exists (select from since p, running x where x.xid > p.m))::text as type,
       case when not l.yes then w.position end as message
  from ends w cross join large l
union all
select e.id, e.uid, e.broadcast, e.type,
       case when e.op = 'reset'
            then '{"type":"pgcast","op":"reset","reason":"schema","for":' || to_json(e.type)::text || '}'
            else '{"type":' || to_json(e.type)::text || ',"op":"' || e.op || '","id":' || e.id
                 || ',"at":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                 || '","data":' || coalesce(e.data::text, 'null')
                 || case when e.old is null then '' else ',"old":' || e.old::text end || '}' end
  from events e
 where not (select l.yes from large l)
 order by id nulls first;
