-- The trigger functions keep the plan of their first call: it has to suit any later number of rows.
begin;
select plan(6);

create table many (id int primary key, uid text, n int not null default 0, note text default 'note');
create index on many (uid, id);
insert into many select i, 'u' || i % 7 from generate_series(1, 20001) i;
analyze many;
select pgcast.watch('many');

-- With the plan of one row, 20,000 rows would take a quarter of an hour.
set local statement_timeout = '120s';
update many set n = n + 1 where id = 20001;
delete from many where id = 20001;
insert into many values (20001, 'u1');
select lives_ok('update many set n = n + 1', 'update of many rows after an update of one');
select is((select count(*) from pgcast.event e where e.op = 'update'
		and (e.data->>'id')::int = (e.old->>'id')::int and (e.data->>'n')::int = (e.old->>'n')::int + 1),
	20002::bigint, 'old and new rows are paired');
select lives_ok($$update many set uid = 'v' || uid, n = n + 1$$, 'update that moves many rows');
select is((select string_agg(e.op || ' ' || e.uid, ', ' order by e.id) from pgcast.event e
		where (e.data->>'id')::int = 5),
	'update u5, delete u5, insert vu5', 'a moved row is a delete and an insert');
select lives_ok('delete from many where id <= 20000', 'delete of many rows after a delete of one');
select lives_ok($$insert into many select i, 'u1' from generate_series(1, 20000) i$$,
	'insert of many rows after an insert of one');

select * from finish();
rollback;
