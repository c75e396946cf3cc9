-- The time limit of the next answer to init; once it has passed, all others wait for the next turn.
-- parameters: limit_ms
-- prepared
select set_config('statement_timeout', :'limit_ms', true), set_config('pgcast.inits_began', '', true);
