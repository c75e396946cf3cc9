-- A page of events for each window: a row with the reason why its beginning is lost, or null (for
-- unverified windows, and where there is a reason), then the first events of the uid in the window.
-- parameters: uids, froms, tos, afters, unverified, page_events
--
-- tos are null for windows that are open-ended. Windows that begin shortly before now (all of them
-- after a restart) are cut from the same few recent rows; others are found by uid and id, and
-- broadcasts, which have no uid, in the order of the same index: ordering by id alone would sort
-- everything that follows.

-- Few enough rows to be read at every restart, enough for one.
\set recent_rows 20000

with requested as materialized (
  select r.n, r.uid, r.after, r.unverified, r.after = 0 and r.t is null as fresh,
         f.epoch, f.anchor, f.at, f.m, f.open, t.m as to_m, t.open as to_open
    from unnest(:'uids'::text[], :'froms'::text[], :'tos'::text[], :'afters'::int8[],
                :'unverified'::bool[]) with ordinality r(uid, f, t, after, unverified, n)
   cross join lateral (
         select a[1] as epoch, a[2]::int8 as anchor, a[3]::int8 as at, a[4]::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(r.f, '.') as a offset 0) q) f
   cross join lateral (
         select coalesce(a[4], '18446744073709551615')::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(r.t, '.') as a offset 0) q) t),
checked as materialized (
  select r.*, case
         when r.epoch <> s.epoch then 'epoch'
         when r.m < g.pruned_xid or g.pruned_xid >= any (r.open) then 'pruned'
         when not r.unverified then null
         -- A standby that lags behind may still replay this transaction.
         when pg_is_in_recovery() and case
              when r.m >= pg_snapshot_xmax(pg_current_snapshot()) then true
              else pg_xact_status(r.m) is not distinct from 'in progress' end then 'later'
         when r.m >= pg_snapshot_xmax(pg_current_snapshot()) then 'cursor'
         -- The position of an empty journal, of the last pruned row, or of a row that is there.
         when r.anchor = 0 and r.m = '0'::xid8
              or r.anchor = g.pruned_id and r.m = g.pruned_xid
              or exists (select from pgcast.event e
                          where e.xid = r.m and e.id = r.anchor
                            and round(extract(epoch from e.at) * 1000000)::int8 = r.at) then null
         else 'cursor' end as lost
    from requested r cross join pgcast.meta s cross join pgcast.rotation g),
recent as materialized (
  select e.* from pgcast.event e
   where e.xid > (select min(least(c.m::text::int8, (select min(x)::text::int8 - 1
                                                       from unnest(c.open) x)))::text::xid8
                    from checked c where c.fresh and c.lost is null)
   limit :recent_rows),
is_small as materialized (select count(*) < :recent_rows as yes from recent),
broadcasts as materialized (select * from recent e where e.broadcast),
eligible as materialized (
  select c.* from checked c
   where (select yes from is_small) and c.fresh and c.lost is null),
from_recent as (
  select e.*, row_number() over (partition by e.n order by e.id) as place from (
         select c.n, e.* from eligible c join recent e on e.uid = c.uid
          where (e.xid > c.m or e.xid = any (c.open))
            and e.xid <= c.to_m and e.xid <> all (c.to_open)
         union all
         select c.n, e.* from eligible c cross join broadcasts e
          where (e.xid > c.m or e.xid = any (c.open))
            and e.xid <= c.to_m and e.xid <> all (c.to_open)) e),
from_index as (
  select c.n, e.* from checked c cross join lateral (
         (select e.* from pgcast.event e
           where e.uid = c.uid and e.id > c.after
             and (e.xid > c.m or e.xid = any (c.open))
             and e.xid <= c.to_m and e.xid <> all (c.to_open)
           order by e.id limit :'page_events'::int8)
         union all
         (select e.* from pgcast.event e
           where e.uid is null and e.broadcast and e.id > c.after
             and (e.xid > c.m or e.xid = any (c.open))
             and e.xid <= c.to_m and e.xid <> all (c.to_open)
           order by e.uid, e.id limit :'page_events'::int8)
         order by id limit :'page_events'::int8) e
   where not ((select yes from is_small) and c.fresh) and c.lost is null)
select null::int8 as id, null::text, null::bool, null::text, null::text, c.n as page, c.lost
  from checked c where c.unverified or c.lost is not null
union all
select e.id, e.uid, e.broadcast, e.type,
       '{"type":' || to_json(e.type)::text || ',"op":"' || e.op || '","id":' || e.id
       || ',"at":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
       || '","data":' || coalesce(e.data::text, 'null')
       || case when e.old is null then '' else ',"old":' || e.old::text end || '}',
       e.n, null
  from (select * from from_recent union all select f.*, 0 from from_index f) e
 where e.place <= :'page_events'::int8
 order by page, id nulls first;
