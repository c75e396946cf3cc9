-- Partitioned tables and inheritance trees.
begin;
select plan(14);

create table metric (id int, day date, uid text, v int, primary key (day, id)) partition by range (day);
create table metric_1 partition of metric for values from ('2026-01-01') to ('2026-02-01');
create table metric_2 (v int, gone int, uid text, day date not null, id int not null);
alter table metric_2 drop column gone;
alter table metric attach partition metric_2 for values from ('2026-02-01') to ('2026-03-01');
create index on metric (uid, day, id);
select pgcast.watch('metric');
create view journal as
	select type, uid, op, (data->>'id')::int as id, (data->>'v')::int as v, (old->>'v')::int as was
	from pgcast.event order by pgcast.event.id;

insert into metric values (1, '2026-01-05', 'ann', 1), (2, '2026-02-05', 'bob', 2);
update metric set v = v + 10;
delete from metric where id = 1;
select results_eq('table journal',
	$$values ('metric', 'ann', 'insert', 1, 1, null::int), ('metric', 'bob', 'insert', 2, 2, null),
		('metric', 'ann', 'update', 1, 11, 1), ('metric', 'bob', 'update', 2, 12, 2),
		('metric', 'ann', 'delete', 1, 11, null)$$,
	'changes through the parent');

truncate pgcast.event;
insert into metric_1 values (3, '2026-01-06', 'ann', 1);
update metric_2 set v = 3;
delete from metric_2;
select results_eq('table journal',
	$$values ('metric', 'ann', 'insert', 3, 1, null::int), ('metric', 'bob', 'update', 2, 3, 12),
		('metric', 'bob', 'delete', 2, 3, null)$$,
	'changes that name a partition');

truncate pgcast.event;
create table metric_3 partition of metric for values from ('2026-03-01') to ('2026-04-01');
insert into metric_3 values (4, '2026-03-06', 'ann', 1);
insert into metric values (5, '2026-03-06', 'ann', 1);
select results_eq('select id, op from journal', $$values (4, 'insert'), (5, 'insert')$$,
	'inserts into a partition created later');

truncate pgcast.event;
update metric set day = '2026-01-31' where id = 5;
select results_eq('select id, op from journal', $$values (5, 'delete'), (5, 'insert')$$,
	'a row that moves to another partition with a part of its key is deleted and inserted');

create table stage (id int, uid text, state int, v int) partition by list (state);
create table stage_1 partition of stage for values in (1);
create table stage_2 (v int, gone int, state int, uid text, id int);
alter table stage_2 drop column gone;
alter table stage attach partition stage_2 for values in (2, 3);
select pgcast.watch('stage');
insert into stage values (1, 'ann', 1, 1), (2, 'bob', 2, 2), (3, 'ann', 1, 3);
truncate pgcast.event;
update stage set state = 2 where state = 1;
update stage set state = case state when 2 then 1 end, uid = 'carl' where id = 1;
select results_eq($$select uid, op, data::text, old::text from pgcast.event order by id$$,
	$$values ('ann', 'update', '{"v":1,"state":2,"uid":"ann","id":1}', '{"id":1,"uid":"ann","state":1,"v":1}'),
		('ann', 'update', '{"v":3,"state":2,"uid":"ann","id":3}', '{"id":3,"uid":"ann","state":1,"v":3}'),
		('ann', 'delete', '{"v":1,"state":2,"uid":"ann","id":1}', null), ('carl', 'insert', '{"id":1,"uid":"carl","state":1,"v":1}', null)$$,
	'a row that moves to another partition is updated');
create function refuse() returns trigger language plpgsql as $f$ begin return null; end $f$;
create trigger refuse before insert on stage_1 for each row execute function refuse();
truncate pgcast.event;
update stage set state = 1;
select results_eq('select id, op from journal order by id', $$values (2, 'delete'), (3, 'delete')$$,
	'or deleted, when its insert is refused');

create table slot (id int primary key deferrable, uid text) partition by range (id);
create table slot_1 partition of slot for values from (0) to (10);
create table slot_2 partition of slot for values from (10) to (100);
select pgcast.watch('slot');
insert into slot select i, 'ann' from generate_series(7, 11) i;
truncate pgcast.event;
update slot set id = id + 1;
select results_eq('select id, op from journal', $$values (7, 'delete'), (8, 'delete'), (9, 'delete'), (10, 'delete'), (11, 'delete'),
	(8, 'insert'), (9, 'insert'), (10, 'insert'), (11, 'insert'), (12, 'insert')$$,
	'all deletes of an UPDATE come before its inserts');
create function nested() returns trigger language plpgsql as $f$
begin
	if pg_trigger_depth() = 1 then
		update slot_2 set id = id + 20 where id in (11, 12);
	end if;
	return null;
end
$f$;
create trigger nested after update on slot_1 for each row when (old.id = 8) execute function nested();
truncate pgcast.event;
update slot set id = id - 1 where id < 10;
select results_eq('select id, op from journal', $$values (8, 'delete'), (11, 'delete'), (12, 'delete'), (31, 'insert'), (32, 'insert'),
	(9, 'delete'), (7, 'insert'), (8, 'insert')$$, 'of a nested one, too');

truncate pgcast.event;
update metric set uid = 'bob' where id = 4;
update metric set uid = null where id = 4;
select results_eq('select uid, op from journal',
	$$values ('ann', 'delete'), ('bob', 'insert'), ('bob', 'delete'), (null, 'insert')$$,
	'a row that moves to another uid is deleted and inserted');

truncate pgcast.event;
copy metric from stdin;
7	2026-01-07	ann	1
8	2026-02-07	bob	2
\.
select results_eq('select uid, id from journal', $$values ('ann', 7), ('bob', 8)$$, 'COPY');

select is(pgcast.init('metric', 'ann')::json->'data'->0->>'id', '3', 'init reads the whole tree');

create table animal (id int primary key, uid text, name text);
create table dog (breed text) inherits (animal);
create index on animal (uid, id);
select pgcast.watch('animal');
truncate pgcast.event;
insert into animal values (1, 'ann', 'x');
insert into dog values (2, 'ann', 'y', 'z');
update animal set name = 'w';
delete from dog;
select results_eq($$select op, (data->>'id')::int, data->>'name', old->>'name' from pgcast.event order by id$$,
	$$values ('insert', 1, 'x', null), ('insert', 2, 'y', null), ('update', 1, 'w', 'x'),
		('update', 2, 'w', 'y'), ('delete', 2, 'w', null)$$,
	'inheritance: changes through the parent and by the child''s name');

create table cat () inherits (animal);
select pgcast.watch('animal');
truncate pgcast.event;
insert into cat values (3, 'ann', 'c');
select results_eq('select op, id from journal', $$values ('insert', 3)$$,
	'a new child is watched once pgcast.watch was called again');

create table lone (id int, uid text) partition by list (id);
create table lone_1 partition of lone for values in (1);
select pgcast.watch('lone_1');
truncate pgcast.event;
insert into lone values (1, 'ann');
insert into lone_1 values (1, 'bob');
select results_eq('select type, uid from journal', $$values ('lone_1', 'ann'), ('lone_1', 'bob')$$,
	'a partition can be watched alone');

select * from finish();
rollback;
