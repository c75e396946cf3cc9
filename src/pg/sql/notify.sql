-- A notification to this session itself, to see whether any arrives.
select pg_notify('pgcast', '');
