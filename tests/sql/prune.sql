-- pgcast.prune: rotation among the journal's three tables, and retention.
begin;
select plan(28);

create view journal_tables as
select journal_table, count(*) as rows from pgcast.event group by 1 order by 1;
-- As if all transactions so far had been seen ended that long ago.
create function elapse(by interval) returns void language sql as $$
	update pgcast.horizon set at = at - by;
	update pgcast.rotation set since = since - by;
$$;
create function publish(n int) returns void language sql as $$
	select pgcast.publish('ann', 'x', to_json(i)) from generate_series(1, n) i
$$;
-- Within one transaction none is seen ended: so as if.
create function end_all() returns void language sql as $$
	update pgcast.event set xid = '3';
	insert into pgcast.horizon (xid) values ('4') on conflict (at) do update set xid = excluded.xid;
$$;

truncate pgcast.event, pgcast.horizon;
update pgcast.rotation set current = 0, since = clock_timestamp(), pruned_xid = '0', pruned_id = 0;

select throws_ok('select pgcast.prune(null)', '22023', null, 'NULL is refused');
select throws_ok($$select pgcast.prune('-1s')$$, '22023', null, 'a negative interval is refused');
select is(pgcast.prune('1h'), 0::bigint, 'an empty journal: nothing is pruned');
select is(current, 0::smallint, 'and no rotation') from pgcast.rotation;
select isnt_empty('table pgcast.horizon', 'but the horizon is recorded');
select pgcast.prune('1h');
select is(count(*), 1::bigint, 'not at every call') from pgcast.horizon;

select publish(3);
select is(pgcast.prune('1h'), 0::bigint, 'young events stay');
select elapse('40min');
select is(pgcast.prune('1h'), 0::bigint, 'events older than half of keep stay');
select is(current, 1::smallint, 'but writers move to the next table') from pgcast.rotation;
select publish(2);
select results_eq('table journal_tables', $$values (0::smallint, 3::bigint), (1::smallint, 2::bigint)$$,
	'which receives new events');

select elapse('2h');
select is(pgcast.prune('1h'), 0::bigint, 'old events stay while the horizon is not known to be as old');
select is(current, 2::smallint, 'while writers move to the last empty table') from pgcast.rotation;
select publish(1);
select elapse('2h');
select is(pgcast.prune('1h'), 0::bigint, 'later, too');
select is(current, 2::smallint, 'the rotation stops before a table with events') from pgcast.rotation;
select results_eq('table journal_tables',
	$$values (0::smallint, 3::bigint), (1::smallint, 2::bigint), (2::smallint, 1::bigint)$$,
	'and no event is dropped');

select max(id) as last_id from pgcast.event where journal_table = 0 \gset
select end_all();
select elapse('2h');
select is(pgcast.prune('1h'), 3::bigint, 'the oldest table is emptied when the horizon is older than keep');
select results_eq('table journal_tables', $$values (1::smallint, 2::bigint), (2::smallint, 1::bigint)$$,
	'and only that one');
select is(pruned_id, :last_id::bigint, 'its last event is stored') from pgcast.rotation;
select is(pruned_xid, '3'::xid8, 'with its transaction') from pgcast.rotation;
select is(pgcast.prune('1h'), 2::bigint, 'the next call empties the next table');
select is(current, 0::smallint, 'and rotates again') from pgcast.rotation;
select is(pgcast.prune('1h'), 1::bigint, 'and the last one');
select is_empty('table journal_tables', 'until the journal is empty');
insert into pgcast.horizon values (now() - interval '3h', '5'), (now() - interval '2h', '6');
select is(pgcast.prune('1h'), 0::bigint, 'nothing is left to prune');
select is(count(*), 0::bigint, 'but old horizons are deleted')
from pgcast.horizon where xid < '6';
select publish(1);
select is(count(*), 1::bigint, 'writers still write') from pgcast.event;

insert into pgcast.horizon values (now() + interval '3 days', '7');
update pgcast.rotation set since = now() + interval '3 days';
select lives_ok($$select pgcast.prune('1h')$$, 'the clock was set back by three days');
select is_empty($$select from pgcast.horizon h, pgcast.rotation g
	where h.at > clock_timestamp() or g.since > clock_timestamp()$$, 'retention begins anew');

select * from finish();
rollback;
