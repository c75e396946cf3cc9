-- Each kind of statement that changes rows.
begin;
select plan(10);

create table item (id int primary key, uid text, v int);
create index on item (uid, id);
select pgcast.watch('item');
create view journal as
	select e.uid, e.op, (e.data->>'id')::int as id, (e.data->>'v')::int as v, (e.old->>'v')::int as was
	from pgcast.event e order by e.id;

insert into item values (1, 'ann', 1);
truncate pgcast.event;
insert into item values (1, 'ann', 2), (2, 'ann', 2) on conflict (id) do update set v = excluded.v;
select bag_eq('select op, id, v, was from journal',
	$$values ('insert', 2, 2, null), ('update', 1, 2, 1)$$, 'ON CONFLICT DO UPDATE');
truncate pgcast.event;
insert into item values (1, 'ann', 3), (3, 'ann', 3) on conflict do nothing;
select results_eq('select op, id, v from journal', $$values ('insert', 3, 3)$$, 'ON CONFLICT DO NOTHING');

truncate pgcast.event;
copy item from stdin;
10	ann	1
11	bob	2
12	\N	3
\.
select results_eq('select uid, op, id, v from journal',
	$$values ('ann', 'insert', 10, 1), ('bob', 'insert', 11, 2), (null, 'insert', 12, 3)$$, 'COPY');

truncate pgcast.event;
select current_setting('server_version_num')::int >= 150000 as has_merge \gset
\if :has_merge
merge into item i using (values (10, 5), (11, 6), (13, 7)) s(id, v) on s.id = i.id
	when matched and s.id = 10 then delete
	when matched then update set v = s.v
	when not matched then insert values (s.id, 'ann', s.v);
select bag_eq('select op, id, v, was from journal',
	$$values ('delete', 10, 1, null), ('update', 11, 6, 2), ('insert', 13, 7, null)$$, 'MERGE');
\else
select skip('MERGE', 1);
\endif

truncate pgcast.event;
create table parent (id int primary key);
create table child (id int, uid text, primary key (uid, id),
	a int references parent on delete cascade on update cascade,
	v int references parent on delete set null on update cascade);
select pgcast.watch('child');
insert into parent values (1), (2), (3);
insert into child values (20, 'ann', 1, null), (21, 'bob', 2, 3), (22, 'ann', 1, 2);
truncate pgcast.event;
delete from parent where id = 1;
delete from parent where id = 3;
update parent set id = 9 where id = 2;
select results_eq('select uid, op, id, v, was from journal',
	$$values ('ann', 'delete', 20, null, null), ('ann', 'delete', 22, 2, null),
		('bob', 'update', 21, null, 3), ('bob', 'update', 21, null, null)$$,
	'cascades of foreign keys');

truncate pgcast.event;
with gone as (delete from item where id = 11 returning *)
insert into item select id + 100, uid, v from gone;
select bag_eq('select op, id from journal', $$values ('delete', 11), ('insert', 111)$$,
	'data-modifying WITH');

truncate pgcast.event;
do $$ begin
	for i in 200 .. 204 loop insert into item values (i, 'ann', i); end loop;
	update item set v = 0 where id = 203;
	delete from item where id between 200 and 201;
end $$;
select results_eq('select op, id from journal',
	$$values ('insert', 200), ('insert', 201), ('insert', 202), ('insert', 203), ('insert', 204),
		('update', 203), ('delete', 200), ('delete', 201)$$,
	'changes made by a function, in their order');

-- A change by a table's own trigger must not be journaled before the change that fired it.
truncate pgcast.event;
create table page (id int primary key, uid text, path text);
create function page_path() returns trigger language plpgsql as $$
begin
	update page set path = '/' || new.id where id = new.id;
	return null;
end
$$;
create trigger a_path after insert on page for each row execute function page_path();
create index on page (uid, id);
select pgcast.watch('page');
insert into page values (1, 'ann', null);
select results_eq($$select op, data->>'path' from pgcast.event order by id$$,
	$$values ('insert', null), ('update', '/1')$$,
	'a change by the table''s own AFTER ROW trigger comes after the change that fired it');

truncate pgcast.event;
create rule item_log as on update to item do also insert into page values (old.id + 500, 'rule', null);
update item set v = v + 1 where id in (1, 2);
select is((select count(*) from pgcast.event where type = 'item'), 2::bigint, 'a table with a rule');

create function hide() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger hide before insert on item for each row execute function hide();
truncate pgcast.event;
insert into item values (900, 'ann', 1);
select is_empty('select * from pgcast.event', 'a row that a BEFORE trigger suppressed makes no event');

select * from finish();
rollback;
