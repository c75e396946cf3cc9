-- Rows of any size, uids of any size: the writer never fails.
begin;
select plan(15);

create table big (id int, uid text, body text, detail jsonb, primary key (id));
create table part (id int, uid text, body text, detail jsonb, primary key (id)) partition by range (id);
create table part_1 partition of part for values from (0) to (1000000);
create table chosen (id int, uid text, body text, secret text, primary key (id));
create index on big (uid, id);
create index on part (uid, id);
create index on chosen (uid, id);
select pgcast.watch('big'), pgcast.watch('part'), pgcast.watch('chosen', columns => array['uid', 'secret']::name[]);

-- random() keeps compression from making it small
create function noise(bytes int) returns text language sql as $$
	select string_agg(md5(random()::text), '') from generate_series(1, bytes / 32)
$$;

insert into big values (1, 'ann', noise(1048576));
update big set body = noise(1048576);
insert into part select * from big;
select is((select count(*) from pgcast.event e where length(e.data->>'body') = 1048576), 3::bigint,
	'rows of 1 MiB are journaled as a whole');
select is((select length(e.old->>'body') from pgcast.event e where e.op = 'update'), 1048576,
	'as old rows, too');
select is((select data->>'body' from pgcast.event where type = 'part'), (select body from big),
	'without a difference');

truncate pgcast.event;
insert into big values (2, 'ann', repeat('x', 20000000)), (3, 'bob', 'small');
insert into part values (2, 'ann', repeat('x', 20000000)), (3, 'bob', 'small');
insert into chosen values (2, 'ann', 'b', repeat('x', 20000000));
select results_eq($$select type, uid, case when pg_column_size(data) < 100 then data::text end from pgcast.event order by id$$,
	$$values ('big', 'ann', '{"id":2}'), ('big', 'bob', '{"id":3,"uid":"bob","body":"small","detail":null}'),
		('part', 'ann', '{"id":2}'), ('part', 'bob', '{"id":3,"uid":"bob","body":"small","detail":null}'),
		('chosen', 'ann', '{}')$$,
	'a row with more than 16 MiB of JSON is journaled as its primary key, if clients may see that');

truncate pgcast.event;
update big set uid = 'bob' where id = 2;
update big set body = 'small' where id = 2;
update part set body = 'small' where id = 2;
select results_eq($$select uid, op, data->>'id', data->>'body', old::text from pgcast.event order by id$$,
	$$values ('ann', 'delete', '2', null, null), ('bob', 'insert', '2', null, null),
		('bob', 'update', '2', 'small', '{"id":2}'), ('ann', 'update', '2', 'small', '{"id":2}')$$,
	'updates of such rows, too');
truncate pgcast.event;
insert into big values (4, 'ann', repeat('x', 20000000));
delete from big where id = 4;
select is((select data::text from pgcast.event where op = 'delete'), '{"id":4}', 'and deletes');

truncate pgcast.event;
insert into big select 5, 'ann', null, jsonb_agg('1e131071'::jsonb) from generate_series(1, 1000);
insert into part select id, uid, body, detail from big where id = 5;
select results_eq('select data::text from pgcast.event order by id', $$values ('{"id":5}'), ('{"id":5}')$$,
	'a few kB with 131 MB of JSON are journaled as the primary key');
truncate pgcast.event;
insert into big select 6, 'ann', null, jsonb_agg('1e131071'::jsonb) from generate_series(1, 12000);
select is((select data::text from pgcast.event), '{"id":6}', 'and a row whose JSON exceeds the limit of PostgreSQL');

truncate pgcast.event;
insert into big values (7, repeat('u', 100000), 'x');
insert into part values (7, repeat('u', 100000), 'x');
update big set body = 'y' where id = 7;
delete from big where id = 7;
select results_eq($$select uid, op, length(data->>'uid') from pgcast.event order by id$$,
	$$values (null::text, 'insert', 100000), (null, 'insert', 100000), (null, 'update', 100000), (null, 'delete', 100000)$$,
	'a uid of more than 255 bytes is journaled as NULL');

truncate pgcast.event;
insert into big select i, 'ann', 'x' from generate_series(100, 10099) i;
select is((select count(*) from pgcast.event), 10000::bigint, 'a statement with ten thousand rows');

insert into big values (20000, 'init', repeat('x', 20000000)), (20001, 'init', 'small');
select is(pgcast.init('big', 'init'),
	'{"type":"big","op":"init","key":["id"],"more":false,"data":[{"id":20000},{"id":20001,"uid":"init","body":"small","detail":null}]}',
	'init returns such a row as its primary key');

\if :huge
create table giant (id int primary key, uid text, a text, b text, c text, d text);
create table giant_source (a text);
insert into giant_source values (repeat('x', 300000000));
select pgcast.watch('giant');
truncate pgcast.event;
insert into giant select 1, 'ann', a, a, a, a from giant_source;
select results_eq('select uid, op, data::text from pgcast.event', $$values ('ann', 'insert', '{"id":1}')$$,
	'a row of 1.2 GB is inserted');
truncate pgcast.event;
update giant set uid = 'bob';
update giant set id = 2;
select results_eq('select uid, op, data::text, old::text from pgcast.event order by id',
	$$values ('ann', 'delete', '{"id":1}', null), ('bob', 'insert', '{"id":1}', null),
		('bob', 'update', '{"id":2}', '{"id":1}')$$, 'updated');
select is(pgcast.init('giant', 'bob'), '{"type":"giant","op":"init","key":["id"],"more":false,"data":[{"id":2}]}', 'asked for');
truncate pgcast.event;
delete from giant;
select results_eq('select uid, op, data::text from pgcast.event', $$values ('bob', 'delete', '{"id":2}')$$,
	'and deleted');
\else
select skip('PGCAST_TEST_HUGE is not set', 4);
\endif

select * from finish();
rollback;
