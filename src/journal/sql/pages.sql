-- A page of events for each client that is catching up: first a row per page with the reason why its
-- window cannot be read, or null, and the id up to which the page has every event, null if that is the
-- end of the window; then the events by id, each with its page, or broadcasts with their windows.
-- parameters: froms, tos, unverified, uids, windows, afters, page_events, page_bytes
--
-- Windows are distinct; tos are null for those that are open. A page begins behind an id: that of the
-- last page, or the lowest that its window can have. Broadcasts are read once for all pages.

-- Broadcasts in a turn, and bytes of their JSON, null for TRUNCATE. They are tested for each window.
\set max_broadcasts 2000
\set max_broadcast_bytes 4194304

with requested as materialized (
  select w.n, w.unverified, w.t is null as is_open, f.*, t.m as to_m, t.open as to_open
    from unnest(:'froms'::text[], :'tos'::text[], :'unverified'::bool[])
         with ordinality w(f, t, unverified, n)
   cross join lateral (
         select a[1] as epoch, a[2]::int8 as anchor, a[3]::int8 as at, a[4]::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(w.f, '.') as a offset 0) q) f
   cross join lateral (
         select coalesce(a[4], '18446744073709551615')::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(w.t, '.') as a offset 0) q) t),
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
-- offset 0: once per window, and only for those with a page that has no id yet.
lows as materialized (
  select c.n, pgcast.low_id(c.m, c.open, c.anchor) as low from checked c
   where c.lost is null and c.n = any (array(
         select p.w from unnest(:'windows'::int8[], :'afters'::int8[]) p(w, after)
          where p.after = 0))
  offset 0),
pages as materialized (
  select p.n, pgcast.from_utf8(p.uid) as uid, c.n as w, c.m, c.open, c.to_m, c.to_open, c.lost,
         case when p.after > 0 then p.after else l.low end as low
    from unnest(:'uids'::bytea[], :'windows'::int8[], :'afters'::int8[])
         with ordinality p(uid, w, after, n)
    join checked c on c.n = p.w
    left join lows l on l.n = p.w),
broadcasts as materialized (
  select b.*, sum(b.bytes) over (order by b.id) <= :max_broadcast_bytes
              or row_number() over (order by b.id) = 1 as fits
    from (select e.*, coalesce(octet_length(e.data::text), 0) + coalesce(octet_length(e.old::text), 0)
                 as bytes
            from pgcast.event e
           where e.uid is null and e.broadcast
             and e.id > (select min(p.low) from pages p where p.lost is null)
           order by e.uid, e.id limit :max_broadcasts) b),
-- The last broadcast, unless all were read.
bound as materialized (
  select case when count(*) = :max_broadcasts or not bool_and(b.fits)
              then max(b.id) filter (where b.fits) end as id
    from broadcasts b),
own as materialized (
  select o.*, row_number() over by_id as place, sum(o.bytes) over by_id as sum
    from (
         select p.n, e.*, coalesce(octet_length(e.data::text), 0)
                + coalesce(octet_length(e.old::text), 0) as bytes
           from pages p cross join lateral (
                select e.* from pgcast.event e
                 where e.uid = p.uid and e.id > p.low
                   and e.id <= (select coalesce(b.id, 9223372036854775807) from bound b)
                   and (e.xid > p.m or e.xid = any (p.open))
                   and e.xid <= p.to_m and e.xid <> all (p.to_open)
                 order by e.id limit :'page_events'::int8) e
          where p.lost is null) o
  window by_id as (partition by o.n order by o.id)),
-- The last event of a page that has more than fit.
ends as materialized (
  select o.n, max(o.id) filter (where o.place = 1 or o.sum <= :'page_bytes'::int8) as id
    from own o group by o.n
  having count(*) = :'page_events'::int8
      or count(*) > count(*) filter (where o.place = 1 or o.sum <= :'page_bytes'::int8))
select null::int8 as id, null::text, null::bool, null::text, null::text,
       p.n as page, null::int8[], p.lost, coalesce(e.id, b.id)
  from pages p cross join bound b left join ends e on e.n = p.n
union all
select e.id, e.uid, e.broadcast, e.type,
       case when e.op = 'reset'
            then '{"type":"pgcast","op":"reset","reason":"schema","for":' || to_json(e.type)::text || '}'
            else '{"type":' || to_json(e.type)::text || ',"op":"' || e.op || '","id":' || e.id
                 || ',"at":"' || to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
                 || '","data":' || coalesce(e.data::text, 'null')
                 || case when e.old is null then '' else ',"old":' || e.old::text end || '}' end,
       e.page, e.windows, null, null
  from (
       select o.n as page, null::int8[] as windows, o.id, o.uid, o.broadcast, o.type, o.op, o.data, o.old, o.at
         from own o where o.place = 1 or o.sum <= :'page_bytes'::int8
       union all
       select null, array(select c.n from checked c
                           where c.lost is null and (b.xid > c.m or b.xid = any (c.open))
                             and b.xid <= c.to_m and b.xid <> all (c.to_open)),
              b.id, b.uid, b.broadcast, b.type, b.op, b.data, b.old, b.at
         from broadcasts b where b.fits) e
 order by id nulls first;
