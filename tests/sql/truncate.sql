-- TRUNCATE is broadcast once.
begin;
select plan(5);

create table t (id int primary key, uid text);
create table p (id int, uid text) partition by range (id);
create table p1 partition of p for values from (0) to (10);
create table p2 partition of p for values from (10) to (20) partition by range (id);
create table p21 partition of p2 for values from (10) to (20);
create table base (id int, uid text);
create table derived () inherits (base);
select pgcast.watch('t'), pgcast.watch('p'), pgcast.watch('base');
create view journal as select type, op, uid, broadcast, data::text from pgcast.event order by id;

insert into t values (1, 'ann');
truncate pgcast.event;
truncate t;
select results_eq('table journal', $$values ('t', 'truncate', null::text, true, null::text)$$,
	'a plain table');
truncate pgcast.event;
truncate p;
select results_eq('select type, op from journal', $$values ('p', 'truncate')$$, 'a partitioned table');
insert into p values (1, 'ann');
truncate p21;
truncate p1;
select results_eq('select type, op from journal',
	$$values ('p', 'truncate'), ('p', 'insert'), ('p', 'truncate')$$, 'partitions by name');
truncate pgcast.event;
truncate base, t;
truncate only derived;
select results_eq('select type, op from journal',
	$$values ('base', 'truncate'), ('t', 'truncate'), ('base', 'truncate')$$,
	'an inheritance tree, and a child by name');
alter table p detach partition p1;
truncate pgcast.event;
truncate p1;
select is_empty('table journal', 'a detached partition makes no event');

select * from finish();
rollback;
