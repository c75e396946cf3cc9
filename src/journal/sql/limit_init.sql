-- The time limit of the next answer to init; once it has passed, all others wait for the next turn.
-- prepared
select set_config('statement_timeout', '500ms', true), set_config('pgcast.inits_began', '', true);
