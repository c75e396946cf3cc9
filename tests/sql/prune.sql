-- The journal's ring of three slots, and what pgcast.prune does to it.
begin;
select plan(26);

create view tables as
select journal_table, count(*) as rows from pgcast.event group by 1 order by 1;
-- As if all that is there had been seen finished that long ago.
create function elapse(by interval) returns void language sql as $$
	update pgcast.horizon set at = at - by;
	update pgcast.rotation set since = since - by;
$$;
create function publish(n int) returns void language sql as $$
	select pgcast.publish('ann', 'x', to_json(i)) from generate_series(1, n) i
$$;
-- Within one transaction nothing is ever seen finished: so as if.
create function end_all() returns void language sql as $$
	update pgcast.event set xid = '3';
	insert into pgcast.horizon (xid) values ('4') on conflict (at) do update set xid = excluded.xid;
$$;

truncate pgcast.event, pgcast.horizon;
update pgcast.rotation set current = 0, since = clock_timestamp(), pruned_xid = '0', pruned_id = 0;

select throws_ok('select pgcast.prune(null)', '22023', null, 'an interval is needed');
select throws_ok($$select pgcast.prune('-1s')$$, '22023', null, 'that is not negative');
select is(pgcast.prune('1h'), 0::bigint, 'of nothing, nothing is pruned');
select is(current, 0::smallint, 'and the ring stands') from pgcast.rotation;
select isnt_empty('table pgcast.horizon', 'but it was noted what is finished');
select pgcast.prune('1h');
select is(count(*), 1::bigint, 'not on every look') from pgcast.horizon;

select publish(3);
select is(pgcast.prune('1h'), 0::bigint, 'what is young stays');
select elapse('40min');
select is(pgcast.prune('1h'), 0::bigint, 'what is middle-aged, too');
select is(current, 1::smallint, 'but the ring turns') from pgcast.rotation;
select publish(2);
select results_eq('table tables', $$values (0::smallint, 3::bigint), (1::smallint, 2::bigint)$$,
	'so that new events go to the next slot');

select elapse('2h');
select is(pgcast.prune('1h'), 0::bigint, 'what was not seen finished stays, however old');
select is(current, 2::smallint, 'while the ring turns') from pgcast.rotation;
select publish(1);
select elapse('2h');
select is(pgcast.prune('1h'), 0::bigint, 'and if that lasts');
select is(current, 2::smallint, 'it stops before the slot that is full') from pgcast.rotation;
select results_eq('table tables',
	$$values (0::smallint, 3::bigint), (1::smallint, 2::bigint), (2::smallint, 1::bigint)$$,
	'with all of it there');

select max(id) as last_id from pgcast.event where journal_table = 0 \gset
select end_all();
select elapse('2h');
select is(pgcast.prune('1h'), 3::bigint, 'the oldest slot goes when it was seen finished that long ago');
select results_eq('table tables', $$values (1::smallint, 2::bigint), (2::smallint, 1::bigint)$$,
	'and only that one');
select is(pruned_id, :last_id::bigint, 'its last event is remembered') from pgcast.rotation;
select is(pruned_xid, '3'::xid8, 'by its transaction, too') from pgcast.rotation;
select is(pgcast.prune('1h'), 2::bigint, 'the next look takes the next slot');
select is(current, 0::smallint, 'and the ring turns again') from pgcast.rotation;
select is(pgcast.prune('1h'), 1::bigint, 'and the last one');
select is_empty('table tables', 'and the journal is empty');
insert into pgcast.horizon values (now() - interval '3h', '5'), (now() - interval '2h', '6');
select is(pgcast.prune('1h'), 0::bigint, 'then there is nothing to do');
select is(count(*), 0::bigint, 'but to forget what was finished, when more has been since')
from pgcast.horizon where xid < '6';
select publish(1);
select is(count(*), 1::bigint, 'writers write on') from pgcast.event;

select * from finish();
rollback;
