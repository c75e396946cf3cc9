-- Limits the time of the answers to init that follow in this transaction.
-- prepared
select set_config('statement_timeout', '500ms', true);
