-- The settings of a turn behind a pooler, which gives each transaction another session: see
-- src/pg/sql/settings.sql.
select set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_bitmapscan', 'off', true),
       set_config('statement_timeout', '8s', true), set_config('lock_timeout', '5s', true),
       set_config('search_path', 'pg_catalog', true), set_config('TimeZone', 'UTC', true);
