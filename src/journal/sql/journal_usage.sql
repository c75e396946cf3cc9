-- The journal: its rows, as PostgreSQL estimates them; its bytes; and the age of the oldest event, in
-- microseconds: of those in the first blocks of its tables, which are filled from the beginning.
\set blocks 8
\set rows_of_a_block 64

select sum(greatest(pg_stat_get_live_tuples(c.oid), c.reltuples::int8, 0))::int8,
       sum(pg_total_relation_size(c.oid))::int8,
       coalesce((select round(extract(epoch from now() - min(e.at)) * 1000000)::int8
                   from pgcast.event e
                  where e.ctid = any (array(
                        select format('(%s,%s)', b, r)::tid
                          from generate_series(0, :blocks - 1) b, generate_series(1, :rows_of_a_block) r))),
                0)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'pgcast.event'::regclass;
