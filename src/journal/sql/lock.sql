-- Tries to take the sleeping lock of this bridge ('pgc2' in pgcast.sql), or releases it.
-- parameters: take, key
-- prepared
select case when :'take'::bool then pg_try_advisory_lock(l.class, l.key)
            else pg_advisory_unlock(l.class, l.key) end
  from (values (1885823794, :'key'::int4)) l(class, key);
