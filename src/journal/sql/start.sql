-- Where the journal ends: the row with the position of a pull without events, and the witness of all that
-- came after a position, or of the last transactions if that is empty.
-- With `standby` set, for a standby: see pull.sql.
-- parameters: position

-- Ranges are cut at so many running transactions, from the newest on: the newest event is searched from
-- the end, and the events that they have written would be read in vain.
\set cuts 64

-- As the witness of the first position, transactions with so many ids.
\set first_witness 256

with newest as materialized (
  select e.* from (
         select array(select x.xid from pg_snapshot_xip(pg_current_snapshot()) x(xid)
                       order by 1 desc limit :cuts) as running) c
   cross join lateral unnest(c.running || '0'::xid8,
                             pg_snapshot_xmax(pg_current_snapshot()) || c.running) r(lo, hi)
   cross join lateral (
         select e.xid, e.id, e.at from pgcast.event e
          where e.xid > r.lo and e.xid < r.hi order by e.xid desc, e.id desc limit 1) e
   limit 1),
running as materialized (
\if :{?standby}
  select x.xid from (
         select g::text::xid8 as xid from newest t cross join generate_series(
                pg_snapshot_xmin(pg_current_snapshot())::text::int8, t.xid::text::int8 - 1) g) x
   where not exists (select from pgcast.event e where e.xid = x.xid offset 0)
\else
  select x as xid from pg_snapshot_xip(pg_current_snapshot()) x
\endif
),
since as materialized (
  select coalesce(a[4], greatest(t.xid::text::int8 - :first_witness, g.pruned_xid::text::int8, 0)::text)::xid8
         as m,
         array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8 from unnest(a[5:]) d) as open
    from (select string_to_array(:'position', '.') as a offset 0) q
   cross join pgcast.rotation g left join newest t on true)
-- Pruned events have been delivered: the position is never before the end of these.
select null::int8,
       (select concat_ws(' ', round(extract(epoch from clock_timestamp()) * 1000000)::int8, p.m, w.newest, w.n, w.sum,
                         nullif(array_to_string(e.ended, ' '), ''))
          from since p cross join newest t
         cross join lateral (select array(select o from unnest(p.open) o
                                           where exists (select from pgcast.event e where e.xid = o offset 0))
                             as ended) e
         cross join lateral pgcast.witness(p.m, t.xid, array(select x.xid from running x), e.ended) w
         where w.n > 0),
       pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot()), 'false',
       case when t.xid > g.pruned_xid
            then concat_ws('.', s.epoch, t.id, round(extract(epoch from t.at) * 1000000)::int8,
                           t.xid)
            else concat_ws('.', s.epoch, g.pruned_id, 0, g.pruned_xid) end
       || coalesce((select string_agg('.' || (t.xid::text::int8 - x.xid::text::int8), ''
                                      order by x.xid desc)
                      from running x where x.xid < t.xid), '')
  from pgcast.meta s cross join pgcast.rotation g left join newest t on true;
