-- The answer to init: a message, or the reason why there is none; 'later': the next turn asks again.
-- Sets the time limit of the next init.
-- parameters: limit_ms
-- prepared
select coalesce(current_setting('pgcast.answer', true), 'later'),
       set_config('statement_timeout', :'limit_ms', true);
