-- Finds the answer to init, for answer.sql: the time limit of this statement covers nothing but that,
-- since it would end the session while the answer is sent. 'later': the ones before took too long.
-- parameters: type, uid
-- prepared
select case when clock_timestamp() > b.began + interval '200ms'
            then length(set_config('pgcast.answer', 'later', true))
            else pgcast.find_answer(pgcast.from_utf8(:'type'::bytea), pgcast.from_utf8(:'uid'::bytea))
       end,
       set_config('statement_timeout', '8s', true)
  from (select coalesce(nullif(current_setting('pgcast.inits_began', true), '')::timestamptz,
                        set_config('pgcast.inits_began', clock_timestamp()::text, true)::timestamptz)
               as began offset 0) b;
