-- The settings of the session. The sessions of a pooler are shared: with `pooled` set only the
-- encoding, which poolers keep track of.
select set_config(v.name, v.value, false)
  from (values
    -- Invalid UTF-8 in an SQL_ASCII database would fail every fetch in UTF8: messages are repaired
    -- when they are encoded.
    ('client_encoding', case current_setting('server_encoding')
                        when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)
\if :{?pooled}
\else
    -- Below the time limit of the connection for an answer: see pglink.c.
    , ('statement_timeout', '8s'), ('idle_session_timeout', '0'),
    ('idle_in_transaction_session_timeout', '10s'), ('lock_timeout', '5s'),
    ('search_path', 'pg_catalog'), ('TimeZone', 'UTC'), ('jit', 'off'),
    -- Plans are made once, when the journal may be empty, and must suit a large one.
    ('plan_cache_mode', 'force_generic_plan'), ('enable_seqscan', 'off'),
    -- A bitmap of a range holds all of it, although few of its rows are read.
    ('enable_bitmapscan', 'off')
\endif
    ) v(name, value)
 where exists (select from pg_catalog.pg_settings s where lower(s.name) = lower(v.name));
