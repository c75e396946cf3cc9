-- Tables that change after they were watched. The writer never fails.
begin;
select plan(12);

create table t (id int primary key, uid text, a text, b text);
create table p (id int primary key, uid text, a text, b text) partition by range (id);
create table p1 partition of p for values from (0) to (1000);
create table picked (id int primary key, uid text, a text, b text);
select pgcast.watch('t'), pgcast.watch('p'), pgcast.watch('picked', columns => array['id', 'a', 'b']::name[]);
create view told as
	select type, op, uid, broadcast, regexp_replace(data::text, ' ', '', 'g') as data,
		regexp_replace(old::text, ' ', '', 'g') as old
	from pgcast.event order by id;
create procedure write(inout n int) language plpgsql as $$
begin
	truncate pgcast.event;
	insert into t (id) values (n);
	insert into p (id) values (n);
	insert into picked (id) values (n);
	update t set id = id + 1 where id = n;
	update p set id = id + 1 where id = n;
	update picked set id = id + 1 where id = n;
	delete from t;
	delete from p;
	delete from picked;
end
$$;

alter table t add column c int default 5;
insert into t values (1, 'ann', 'a', 'b');
select is((select data from told), '{"id":1,"uid":"ann","a":"a","b":"b","c":5}', 'a new column is told at once');
alter table t alter column a type int using 7;
truncate pgcast.event;
update t set b = 'c';
select is((select data from told), '{"id":1,"uid":"ann","a":7,"b":"c","c":5}', 'a column of another type, too');

alter table t rename uid to who;
alter table p rename uid to who;
alter table picked rename uid to who;
insert into t (id, who, b) values (2, 'ann', 'x');
insert into p values (2, 'ann', 'a', 'b');
truncate pgcast.event;
update t set b = 'y' where id = 2;
select results_eq('select op, uid, data, old from told',
	$$values ('update', null::text, '{"id":2,"who":"ann","a":null,"b":"y","c":5}', '{"id":2,"who":"ann","a":null,"b":"x","c":5}')$$,
	'when the uid column was renamed, the change is journaled and is for nobody');
truncate pgcast.event;
update p set b = 'y';
select results_eq('select op, uid, data, old from told',
	$$values ('update', null::text, '{"id":2,"who":"ann","a":"a","b":"y"}', '{"id":2,"who":"ann","a":"a","b":"b"}')$$,
	'in row triggers, too');
select lives_ok('call write(10)', 'writers go on');
select is((select array_agg(distinct type || ' ' || op) from told where uid is null and not broadcast), (select array_agg(distinct t || ' ' || o) from unnest(array['t', 'p', 'picked']) t, unnest(array['insert', 'update', 'delete']) o), 'their changes are journaled');
select is_empty('select * from told where uid is not null or broadcast', 'and nobody gets them');
select is(pgcast.init('t', 'ann'), null, 'init has no answer');

alter table picked rename b to b2;
alter table picked drop column a;
select pgcast.watch('t', 'who'), pgcast.watch('p', 'who');
truncate pgcast.event;
insert into picked values (20, 'ann', 'b');
update picked set id = 21;
select results_eq('select op, data, old from told',
	$$values ('insert', '{"id":20}', null), ('update', '{"id":21}', '{"id":20}')$$,
	'allowed columns that are gone are left out');

alter table t drop column who cascade;
alter table p drop column who cascade;
select lives_ok('call write(30)', 'dropped uid columns do not keep anybody from writing');

create schema elsewhere;
alter table t set schema elsewhere;
alter table elsewhere.t rename to t2;
alter table elsewhere.t2 add column uid text;
select pgcast.watch('elsewhere.t2', type => 't');
truncate pgcast.event;
insert into elsewhere.t2 (id, uid) values (40, 'ann');
select is((select type || ' ' || uid from told), 't ann', 'a table may be renamed and moved');

drop table p;
select is((select count(*) from pgcast.watched where type = 'p'), 0::bigint, 'a dropped table is not watched');

select * from finish();
rollback;
