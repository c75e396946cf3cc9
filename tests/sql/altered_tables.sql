-- Tables that are altered after they were watched: the writer never fails.
begin;
select plan(12);

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
	$$values ('update', null::text, '{"id":2,"who":"ann","a":null,"b":"y","c":5}', '{"id":2,"who":"ann","a":null,"b":"x","c":5}')$$,
	'after the uid column was renamed, an update is journaled without a uid');
truncate pgcast.event;
update p set b = 'y';
select results_eq('select op, uid, data, old from journal',
	$$values ('update', null::text, '{"id":2,"who":"ann","a":"a","b":"y"}', '{"id":2,"who":"ann","a":"a","b":"b"}')$$,
	'by row triggers, too');
select lives_ok('call write(10)', 'writers do not fail after the uid column was renamed');
select is((select array_agg(distinct type || ' ' || op) from journal where uid is null and not broadcast), (select array_agg(distinct t || ' ' || o) from unnest(array['t', 'p', 'chosen']) t, unnest(array['insert', 'update', 'delete']) o), 'their changes are journaled');
select is_empty('select * from journal where uid is not null or broadcast', 'without a uid');
select is(pgcast.init('t', 'ann'), null, 'init returns NULL');

alter table chosen rename b to b2;
alter table chosen drop column a;
select pgcast.watch('t', 'who'), pgcast.watch('p', 'who');
truncate pgcast.event;
insert into chosen values (20, 'ann', 'b');
update chosen set id = 21;
select results_eq('select op, data, old from journal',
	$$values ('insert', '{"id":20}', null), ('update', '{"id":21}', '{"id":20}')$$,
	'dropped and renamed columns are left out');

alter table t drop column who cascade;
alter table p drop column who cascade;
select lives_ok('call write(30)', 'writers do not fail after the uid column was dropped');

create schema elsewhere;
alter table t set schema elsewhere;
alter table elsewhere.t rename to t2;
alter table elsewhere.t2 add column uid text;
select pgcast.watch('elsewhere.t2', uid_column => 'uid');
truncate pgcast.event;
insert into elsewhere.t2 (id, uid) values (40, 'ann');
select is((select type || ' ' || uid from journal), 't ann', 'a table may be renamed and moved to another schema');

drop table p;
select is((select count(*) from pgcast.watched where type = 'p'), 0::bigint, 'a dropped table is not listed');

select * from finish();
rollback;
