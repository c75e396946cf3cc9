-- Changes that are rolled back are not journaled.
begin;
select plan(4);

create table r (id int primary key, uid text);
create table rp (id int, uid text) partition by list (id);
create table rp1 partition of rp for values in (1, 2, 3);
create index on r (uid, id);
select pgcast.watch('r'), pgcast.watch('rp');

insert into r values (1, 'ann');
savepoint a;
insert into r values (2, 'ann');
insert into rp values (2, 'ann');
savepoint b;
insert into r values (3, 'ann');
rollback to b;
insert into r values (4, 'ann');
rollback to a;
insert into r values (5, 'ann');
savepoint c;
insert into r values (6, 'ann');
insert into rp values (3, 'ann');
release c;
select results_eq($$select type, (data->>'id')::int from pgcast.event order by id$$,
	$$values ('r', 1), ('r', 5), ('r', 6), ('rp', 3)$$, 'only changes that no savepoint rolled back are journaled');
select is((select count(distinct xid) from pgcast.event), 1::bigint,
	'changes under a savepoint have the top-level transaction''s id');
select is((select xid from pgcast.event limit 1), pg_current_xact_id(), 'the current one');

truncate pgcast.event;
do $$ begin
	insert into r values (7, 'ann');
	begin
		insert into r values (8, 'ann');
		insert into r values (8, 'ann');
	exception when unique_violation then
		insert into r values (9, 'ann');
	end;
end $$;
select results_eq($$select (data->>'id')::int from pgcast.event order by id$$, $$values (7), (9)$$,
	'a function''s exception block undoes events, too');

select * from finish();
rollback;
