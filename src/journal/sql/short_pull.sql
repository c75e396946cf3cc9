-- The same as pull.sql in half the time, for a position at which no transaction was in progress:
-- new is everything above m. Events that others have written and not committed are read in vain.
-- parameters: position
-- prepared
-- See pull.sql.
\set max_events 20000
\set max_bytes 33554432
\set unmeasured_events 8

with events as materialized (
  select * from pgcast.event e
   where e.xid > split_part(:'position', '.', 4)::xid8
     and e.xid < pg_snapshot_xmax(pg_current_snapshot())
   limit :max_events + 1),
large as materialized (
  select case when exists (select from events offset :unmeasured_events)
              then (select count(*) > :max_events
                           or sum(coalesce(octet_length(e.data::text), 0)
                                  + coalesce(octet_length(e.old::text), 0))
                              > :max_bytes
                      from events e)
              else false end as yes),
ends as materialized (
  select coalesce((
         select concat_ws('.', split_part(:'position', '.', 1), t.id,
                          round(extract(epoch from t.at) * 1000000)::int8, t.xid)
                || coalesce((select string_agg('.' || (t.xid::text::int8 - x::text::int8), ''
                                               order by x desc)
                               from pg_snapshot_xip(pg_current_snapshot()) x where x < t.xid), '')
           from (select e.xid, e.id, e.at from events e order by e.xid desc, e.id desc limit 1) t),
         :'position') as position)
-- The position's columns are those of events: see enum pull_column.
select null::int8 as id,
       (select concat_ws(' ', round(extract(epoch from clock_timestamp()) * 1000000)::int8,
                         min(t.xid::text::int8) - 1, max(t.us), count(*), sum(t.us))
          from (select distinct on (e.xid) e.xid, round(extract(epoch from e.at) * 1000000)::int8 as us
                  from events e order by e.xid, e.id desc) t
         where not l.yes having count(*) > 0) as uid,
       pg_snapshot_xmin(pg_current_snapshot()) = pg_snapshot_xmax(pg_current_snapshot()) as broadcast,
       (pg_snapshot_xmin(pg_current_snapshot()) < pg_snapshot_xmax(pg_current_snapshot()))::text as type,
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
