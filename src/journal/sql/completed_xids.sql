-- On a standby: those of a position's open transactions that have ended. This runs before the
-- snapshot of the next pull is taken: a transaction without events there will never have any.
-- parameters: position
-- prepared
select coalesce(array_agg(o.xid), '{}')
  from (select greatest(a[4]::int8 - d::int8, 0)::text::xid8 as xid
          from string_to_array(:'position', '.') a cross join unnest(a[5:]) d) o
 where pg_xact_status(o.xid) is distinct from 'in progress';
