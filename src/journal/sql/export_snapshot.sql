-- The snapshot of the turn, for a query connection: see queries.h.
-- prepared
select pg_export_snapshot();
