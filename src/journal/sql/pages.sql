-- A page of events for each client that is catching up: first a row per page with the reason why its
-- window cannot be read (behind 'end ': why it has to be read anew), or null, and the id up to which the
-- page has every event, null if that is the end of the window; then the events by id, each with its
-- page, or broadcasts with their windows.
-- parameters: froms, tos, unverified, uids, windows, afters, page_events, page_bytes
--
-- Windows are distinct; tos are null for those that are open. A page begins behind an id: that of the
-- last page, or the lowest that its window can have. Broadcasts are read once for all pages that are
-- close to each other.

-- Broadcasts in a turn, and bytes of their JSON, null for TRUNCATE. They are tested for each window.
\set max_broadcasts 2000
\set max_broadcast_bytes 4194304

with requested as materialized (
  select w.n, f.*, t.m as to_m, t.open as to_open,
         case when w.unverified then coalesce(pgcast.lost(w.f), 'end ' || pgcast.lost(w.t)) end as lost
    from unnest(:'froms'::text[], :'tos'::text[], :'unverified'::bool[])
         with ordinality w(f, t, unverified, n)
   cross join lateral (
         select a[1] as epoch, a[2]::int8 as anchor, a[4]::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(w.f, '.') as a offset 0) q) f
   cross join lateral (
         select coalesce(a[4], '18446744073709551615')::xid8 as m,
                array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                        from unnest(a[5:]) d) as open
           from (select string_to_array(w.t, '.') as a offset 0) q) t),
checked as materialized (
  select r.n, r.m, r.open, r.anchor, r.to_m, r.to_open, coalesce(r.lost, case
         when r.epoch <> s.epoch then 'epoch'
         when r.m < g.pruned_xid or g.pruned_xid >= any (r.open) then 'pruned' end) as lost
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
ranges as materialized (
  select r.low, r.bound, count(*) over () as n from pgcast.broadcast_ranges(
         array(select distinct p.low from pages p where p.lost is null), :max_broadcasts) r),
broadcasts as materialized (
  select b.*, sum(b.bytes) over by_id <= :max_broadcast_bytes / b.n or row_number() over by_id = 1 as fits
    from (select r.low, r.n, e.*,
                 coalesce(octet_length(e.data::text), 0) + coalesce(octet_length(e.old::text), 0) as bytes
            from ranges r cross join lateral (
                 select e.* from pgcast.event e
                  where e.uid is null and e.broadcast and e.id > r.low
                    and e.id <= coalesce(r.bound, 9223372036854775807)
                  order by e.uid, e.id) e) b
  window by_id as (partition by b.low order by b.id)),
-- The last broadcast of each range, unless all were read.
bounds as materialized (
  select r.low, case when r.bound is not null or not bool_and(b.fits)
                     then max(b.id) filter (where b.fits) end as id
    from ranges r left join broadcasts b on b.low = r.low
   group by r.low, r.bound),
-- A page ends where its range does; one that is in none waits.
bounded as materialized (
  select p.*, case when r.low is null or b.id < p.low then p.low else b.id end as bound
    from pages p
    left join lateral (
         select r.low, r.bound from ranges r where r.low <= p.low order by r.low desc limit 1) r
      on p.low < r.bound is not false
    left join bounds b on b.low = r.low),
own as materialized (
  select o.*, row_number() over by_id as place, sum(o.bytes) over by_id as sum
    from (
         select p.n, e.*, coalesce(octet_length(e.data::text), 0)
                + coalesce(octet_length(e.old::text), 0) as bytes
           from bounded p cross join lateral (
                select e.* from pgcast.event e
                 where e.uid = p.uid and e.id > p.low
                   and e.id <= coalesce(p.bound, 9223372036854775807)
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
       p.n as page, null::int8[], p.lost, coalesce(e.id, p.bound)
  from bounded p left join ends e on e.n = p.n
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
 where e.windows is distinct from '{}'
 order by id nulls first;
