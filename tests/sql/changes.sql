-- Which events an UPDATE makes: keys that change, changes that nobody sees, filter, old.
begin;
select plan(25);

create view journal as
	select e.type, e.uid, e.op, e.data::text as data, e.old::text as old from pgcast.event e order by e.id;
create table item (id int primary key, uid text, v int, secret int default 0);
create table item_p (id int, uid text, v int, secret int default 0, primary key (id)) partition by range (id);
create table item_p1 partition of item_p for values from (0) to (1000);
create index on item (uid, id);
create index on item_p (uid, id);
select pgcast.watch('item', columns => '{id,v}'), pgcast.watch('item_p', columns => '{id,v}');

insert into item select i, 'ann', i from generate_series(1, 3) i;
insert into item_p table item;
truncate pgcast.event;
update item set id = id + 1 where id = 3;
update item_p set id = id + 1 where id = 3;
select results_eq('table journal', $$values ('item', 'ann', 'delete', '{"id":3,"v":3}', null),
	('item', 'ann', 'insert', '{"id":4,"v":3}', null), ('item_p', 'ann', 'delete', '{"id":3,"v":3}', null),
	('item_p', 'ann', 'insert', '{"id":4,"v":3}', null)$$, 'a row whose key changes is deleted and inserted');
alter table item drop constraint item_pkey, add primary key (id) deferrable;
truncate pgcast.event;
update item set id = id + 1;
select results_eq('select op, data from journal', $$values ('delete', '{"id":1,"v":1}'), ('delete', '{"id":2,"v":2}'),
	('delete', '{"id":4,"v":3}'), ('insert', '{"id":2,"v":1}'), ('insert', '{"id":3,"v":2}'),
	('insert', '{"id":5,"v":3}')$$, 'all deletes of a statement come before its inserts');
create table wide (id int primary key deferrable, uid text, pad text);
create index on wide (uid, id);
select pgcast.watch('wide');
insert into wide select i, 'ann', repeat('x', 2000000) from generate_series(1, 3) i;
truncate pgcast.event;
update wide set id = id + 1 where id > 1;
update wide set pad = pad;
select results_eq($$select op, left(data, 8) from journal$$, $$values ('delete', '{"id":2,'), ('delete', '{"id":3,'),
	('insert', '{"id":3,'), ('insert', '{"id":4,')$$, 'those of large rows, too');

truncate pgcast.event;
update item set v = v;
update item set secret = 1;
update item set secret = 2 where id = 3;
update item_p set v = v;
update item_p set secret = 1;
select is_empty('table journal', 'nothing is sent when nothing visible changed');
update item set secret = 3, v = id % 4;
select bag_eq('select op, data, old from journal', $$values ('update', '{"id":2,"v":2}', '{"id":2,"v":1}'),
	('update', '{"id":3,"v":3}', '{"id":3,"v":2}'), ('update', '{"id":5,"v":1}', '{"id":5,"v":3}')$$,
	'and the rows that changed otherwise');

create table big (id int primary key, uid text, body text);
create index on big (uid, id);
select pgcast.watch('big');
insert into big values (1, 'ann', repeat('x', 20000000));
truncate pgcast.event;
update big set body = body || 'y';
select results_eq('select op, data, old from journal', $$values ('update', '{"id":1}', '{"id":1}')$$,
	'a change of a row that is too large for JSON is sent');

-- old
create table part (id int primary key, uid text, a int, b text, c int);
create table part_p (like part including all) partition by range (id);
create table part_p1 partition of part_p default;
create index on part (uid, id);
create index on part_p (uid, id);
create procedure change(old text) language plpgsql as $$
begin
	perform pgcast.watch('part', old => change.old), pgcast.watch('part_p', old => change.old);
	truncate part, part_p;
	insert into part values (1, 'ann', 1, 'x"', null), (2, 'ann', 1, 'x"', null);
	insert into part_p table part;
	truncate pgcast.event;
	update part set a = 2, c = 3 where id = 1;
	update part set a = 2, c = 3;
	update part_p set a = 2, c = 3 where id = 1;
end
$$;
call change('changed');
select results_eq('select type, data, old from journal', $$values
	('part', '{"id":1,"uid":"ann","a":2,"b":"x\"","c":3}', '{"a":1,"c":null}'),
	('part', '{"id":2,"uid":"ann","a":2,"b":"x\"","c":3}', '{"a":1,"c":null}'),
	('part_p', '{"id":1,"uid":"ann","a":2,"b":"x\"","c":3}', '{"a":1,"c":null}')$$, 'old => changed');
call change('key');
select results_eq('select old from journal', $$values ('{"id":1}'), ('{"id":2}'), ('{"id":1}')$$, 'old => key');
call change('none');
select results_eq('select old from journal', $$values (null::text), (null), (null)$$, 'old => none');
call change('all');
select is((select count(distinct old) from journal), 2::bigint, 'old => all');
update part set b = repeat('x', 15000000) where id = 1;
select is((select count(*) from (values ('changed'), ('key'), ('none')) o(old)
	cross join lateral (select pgcast.watch('part', old => o.old)) w), 3::bigint, 'old is changed');
do $$
declare
	o text;
begin
	truncate pgcast.event;
	foreach o in array array['changed', 'key', 'none'] loop
		perform pgcast.watch('part', old => o);
		update part set a = a + 1 where id = 1;
	end loop;
end
$$;
select is((select count(*) from pgcast.event e where octet_length(e.data::text) between 15000000 and 15000100
	and coalesce(octet_length(e.old::text), 0) < 100), 3::bigint, 'with these, a large row is stored once');

-- filter
create table doc (id int primary key, uid text, n int, "deletedAt" timestamp, n_rows int);
create table doc_p (like doc including all) partition by range (id);
create table doc_p1 partition of doc_p default;
create index on doc (uid, id);
create index on doc_p (uid, id);
select throws_ok($$select pgcast.watch('doc', filter => '"deletedAt" is')$$, '42601', null, 'a filter that is no condition is refused');
select throws_ok($$select pgcast.watch('doc', filter => 'nothing > 1')$$, '42703', null, 'one of another table, too');
select throws_ok($$select pgcast.watch('doc', filter => 'n')$$, '42804', null, 'and one that is no boolean');
select pgcast.watch('doc', filter => '"deletedAt" is null -- visible'), pgcast.watch('doc_p', filter => '"deletedAt" is null');
create procedure soft(rel regclass) language plpgsql as $$
begin
	truncate pgcast.event;
	execute format('insert into %s values (1, ''ann'', 1, null), (2, ''ann'', 1, now())', rel);
	execute format('update %s set n = 2', rel);
	execute format('update %s set "deletedAt" = case when id = 1 then now() end', rel);
	execute format('update %s set n = 3', rel);
	execute format('update %s set "deletedAt" = null, uid = ''bob'' where id = 1', rel);
	execute format('update %s set "deletedAt" = now(), uid = ''ann'' where id = 1', rel);
	execute format('update %s set uid = ''bob'' where id = 2', rel);
	execute format('delete from %s', rel);
end
$$;
create temp table expected (uid text, op text, id int, n int, old_n int, place int generated always as identity);
insert into expected (uid, op, id, n, old_n) values ('ann', 'insert', 1, 1, null), ('ann', 'update', 1, 2, 1),
	('ann', 'delete', 1, 2, null), ('ann', 'insert', 2, 2, null), ('ann', 'update', 2, 3, 2),
	('bob', 'insert', 1, 3, null), ('bob', 'delete', 1, 3, null), ('ann', 'delete', 2, 3, null),
	('bob', 'insert', 2, 3, null), ('bob', 'delete', 2, 3, null);
call soft('doc');
select results_eq($$select uid, op, (data->>'id')::int, (data->>'n')::int, (old->>'n')::int from pgcast.event order by id$$,
	'select uid, op, id, n, old_n from expected order by place', 'filter: leaving is a delete, entering an insert');
call soft('doc_p');
select results_eq($$select uid, op, (data->>'id')::int, (data->>'n')::int, (old->>'n')::int from pgcast.event order by id$$,
	'select uid, op, id, n, old_n from expected order by place', 'with row triggers, too');
insert into doc values (1, 'ann', 1, null), (2, 'ann', 1, now());
select is(json_array_length(pgcast.init('doc', 'ann')::json->'data'), 1, 'init obeys it');
truncate pgcast.event;
insert into doc (id, uid, n) values (10, repeat('u', 3000), 1);
select is((select uid from pgcast.event), null, 'a uid that is too long');
select pgcast.watch('doc', filter => '10 / n > 1');
truncate pgcast.event;
select lives_ok($$insert into doc (id, uid, n) values (11, 'ann', 1), (12, 'ann', 0), (13, 'ann', 20)$$,
	'a filter that fails for a row does not make the writer fail');
select results_eq('select uid, (data::json->>''id'')::int from journal', $$values ('ann', 11), (null, 12)$$,
	'and the row reaches nobody');
select pgcast.watch('doc', filter => '');
truncate pgcast.event;
update doc set n = 7 where id = 13;
select is((select op from journal), 'update', 'a filter is taken back');

create table keyless (uid text, v int);
select pgcast.watch('keyless', old => 'key');
insert into keyless values ('ann', 1), ('ann', 2);
truncate pgcast.event;
update keyless set v = v + 1;
update keyless set v = v;
select results_eq('select op, old from journal', $$values ('update', '{}'), ('update', '{}')$$, 'a table without a key');

create table pair (id int primary key, uid text, was int, is_now int);
create index on pair (uid, id);
insert into pair select i, 'u' || i % 7, null, i from generate_series(1, 20000) i order by random();
analyze pair;
select pgcast.watch('pair');
update pair set was = is_now, is_now = -is_now where id = 1;
set local statement_timeout = '60s';
update pair set was = is_now, is_now = is_now + 1 where id % 2 = 0;
select is((select count(*) from pgcast.event e where e.type = 'pair' and e.data->>'id' = e.old->>'id'
	and e.data->>'was' = e.old->>'is_now'), 10001::bigint, 'rows are paired after an update of one row');
create table whole (id bigint, uid text);
select pgcast.watch('whole', uid_column => null);
insert into whole values (1, 'x');
truncate pgcast.event;
update whole set id = 1;
update whole set id = 2;
select results_eq('select op, data from journal', $$values ('update', '{"id":2,"uid":"x"}')$$, 'a broadcast table');

select * from finish();
rollback;
