-- Tables that are altered after they were watched: the writer never fails.
begin;
select plan(19);

create table t (id int primary key, uid text, a text, b text);
create table p (id int primary key, uid text, a text, b text) partition by range (id);
create table p1 partition of p for values from (0) to (1000);
create table chosen (id int primary key, uid text, a text, b text);
select pgcast.watch('t'), pgcast.watch('p'), pgcast.watch('chosen', columns => array['id', 'a', 'b']::name[]);
create view journal as
	select type, op, uid, broadcast, regexp_replace(data::text, ' ', '', 'g') as data,
		regexp_replace(old::text, ' ', '', 'g') as old
	from pgcast.event order by id;
create procedure write(inout n int) language plpgsql as $$
begin
	truncate pgcast.event;
	insert into t (id) values (n);
	insert into p (id) values (n);
	insert into chosen (id) values (n);
	update t set id = id + 1 where id = n;
	update p set id = id + 1 where id = n;
	update chosen set id = id + 1 where id = n;
	delete from t;
	delete from p;
	delete from chosen;
end
$$;

alter table t add column c int default 5;
insert into t values (1, 'ann', 'a', 'b');
select is((select data from journal), '{"id":1,"uid":"ann","a":"a","b":"b","c":5}', 'a new column is journaled at once');
alter table t alter column a type int using 7;
truncate pgcast.event;
update t set b = 'c';
select is((select data from journal), '{"id":1,"uid":"ann","a":7,"b":"c","c":5}', 'a column with another type, too');

alter table t rename uid to who;
alter table p rename uid to who;
alter table chosen rename uid to who;
insert into t (id, who, b) values (2, 'ann', 'x');
insert into p values (2, 'ann', 'a', 'b');
truncate pgcast.event;
update t set b = 'y' where id = 2;
select results_eq('select op, uid, data, old from journal',
	$$values ('update', 'ann', '{"id":2,"who":"ann","a":null,"b":"y","c":5}', '{"id":2,"who":"ann","a":null,"b":"x","c":5}')$$,
	'the uid column may be renamed');
truncate pgcast.event;
update p set b = 'y';
select results_eq('select op, uid, data, old from journal',
	$$values ('update', 'ann', '{"id":2,"who":"ann","a":"a","b":"y"}', '{"id":2,"who":"ann","a":"a","b":"b"}')$$,
	'with row triggers, too');
select lives_ok('call write(10)', 'writers do not fail after it was renamed');
select is(pgcast.init('t', 'ann')::json->>'data', '[]', 'init finds it');
truncate pgcast.event;
insert into chosen values (15, 'ann', 'a', 'b'), (16, 'bob', repeat('a', 2000000), 'b');
update chosen set b = 'c', id = 17 where id = 15;
select results_eq($$select op, uid, left(data, 25) from journal$$,
	$$values ('insert', 'ann', '{"id":15,"a":"a","b":"b"}'), ('insert', 'bob', '{"id":16,"a":"aaaaaaaaaaa'),
		('delete', 'ann', '{"id":15,"a":"a","b":"b"}'), ('insert', 'ann', '{"id":17,"a":"a","b":"c"}')$$,
	'events have the same form as before, large rows, too');

alter table chosen rename a to hidden;
alter table chosen rename who to a;
alter table chosen rename b to b2;
truncate pgcast.event;
insert into chosen values (20, 'ann', 'x', 'y');
select results_eq('select op, uid, data from journal', $$values ('insert', 'ann', '{"id":20,"hidden":"x","b2":"y"}')$$,
	'columns that swap their names show no other column');
select is(pgcast.init('chosen', 'ann')::json->'data'->>-1, '{"id":20,"hidden":"x","b2":"y"}', 'in init neither');
select pgcast.generate(number) from pgcast.source where relation = 'chosen'::regclass;
truncate pgcast.event;
insert into chosen values (21, 'ann', 'x', 'y');
select results_eq('select op, uid, data from journal', $$values ('insert', 'ann', '{"id":21,"hidden":"x","b2":"y"}')$$,
	'as after the functions are generated again');
select is((select uid_column || columns::text from pgcast.watched where relation = 'chosen'::regclass),
	'a{id,hidden,b2}', 'which stores the new names');
alter table chosen drop column hidden;
alter table chosen add column hidden text default 'secret';
truncate pgcast.event;
insert into chosen (id, a, b2) values (22, 'ann', 'y');
update chosen set id = 23 where id = 22;
select results_eq('select op, data, old from journal',
	$$values ('insert', '{"id":22,"b2":"y"}', null), ('delete', '{"id":22,"b2":"y"}', null), ('insert', '{"id":23,"b2":"y"}', null)$$,
	'a dropped column is left out, even when another one has its name');
select lives_ok($$select pgcast.watch('chosen', init_limit => 5)$$, 'watch may be called again after that');
select is((select columns::text from pgcast.watched where relation = 'chosen'::regclass), '{id,b2}', 'without it');

alter table t drop column who cascade;
alter table p drop column who cascade;
select lives_ok('call write(30)', 'writers do not fail after the uid column was dropped');
alter table t add column who text default 'eve';
alter table p add column who text default 'eve';
call write(35);
select is_empty($$select * from journal where type in ('t', 'p') and (uid is not null or broadcast)$$,
	'a column of its name does not replace it');

create table moved (id int primary key, uid text, at date);
select pgcast.watch('moved', columns => '{id,at}');
alter table moved alter at type timestamptz using at;
set local timezone = 'Asia/Tokyo';
insert into moved values (1, 'ann', '2026-01-01 00:00+00');
select is((select data from journal where type = 'moved'), '{"id":1,"at":"2026-01-01T00:00:00+00:00"}',
	'a column with a new type has its settings');

create schema elsewhere;
alter table t set schema elsewhere;
alter table elsewhere.t rename to t2;
alter table elsewhere.t2 add column uid text;
select pgcast.watch('elsewhere.t2', uid_column => 'uid');
truncate pgcast.event;
insert into elsewhere.t2 (id, uid) values (40, 'ann');
select is((select type || ' ' || uid from journal), 't ann', 'a table may be renamed and moved to another schema');

drop table p;
select matches((select state from pgcast.watched where type = 'p'), '^detached: ', 'a dropped table is listed as detached');

select * from finish();
rollback;
