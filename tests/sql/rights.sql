-- Rights of writers, bridges and the owner.
begin;
select plan(17);

create role pgcast_test_writer;
create role pgcast_test_bridge;
do $$ begin
	execute format('grant pgcast_test_writer, pgcast_test_bridge to %I', current_user);
end $$;
create table t (id int primary key, uid text);
create table p (id int primary key, uid text) partition by range (id);
create table p1 partition of p default;
create index on t (uid, id);
select pgcast.watch('t'), pgcast.watch('p', columns => array['id']::name[]);
grant select, insert, update, delete, truncate on t, p to pgcast_test_writer;
select pgcast.grant_bridge('pgcast_test_bridge');

-- A search path with objects of another role that replace ours.
create schema trap;
grant usage on schema trap to public;
create function trap.to_json(anyelement) returns json language plpgsql as $$ begin raise 'trapped'; end $$;
create function trap.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'trapped'; end $$;
create function trap.isnt(text, text) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$;
create operator trap.= (leftarg = text, rightarg = text, function = trap.isnt);
create operator trap.<> (leftarg = text, rightarg = text, function = trap.isnt);
create table trap.event (id int);
create table trap.rotation (current int);

grant usage on schema trap to pgcast_test_writer;
set local role pgcast_test_writer;
set local search_path = trap, pg_catalog, public;
insert into public.t values (1, 'ann');
update public.t set uid = 'bob';
delete from public.t;
truncate public.t;
insert into public.p values (1, 'ann');
update public.p set uid = 'bob';
delete from public.p;
truncate public.p;
set local search_path = public;
select throws_ok('select * from pgcast.event', '42501', null, 'a writer can''t read the journal');
select throws_ok($$select pgcast.publish('ann', 'x', '1')$$, '42501', null, 'a writer can''t publish');
select throws_ok($$select pgcast.watch('t')$$, '42501', null, 'a writer can''t watch');
select throws_ok($$select pgcast.init('t', 'ann')$$, '42501', null, 'a writer can''t call init');
reset role;
select results_eq('select type, op from pgcast.event order by id',
	$$values ('t', 'insert'), ('t', 'delete'), ('t', 'insert'), ('t', 'delete'), ('t', 'truncate'),
		('p', 'insert'), ('p', 'delete'), ('p', 'insert'), ('p', 'delete'), ('p', 'truncate')$$,
	'a writer needs no right on pgcast to write, with any search path');

set local role pgcast_test_bridge;
select isnt_empty('select * from pgcast.event', 'a bridge reads the journal');
select is(pgcast.schema_version(), 4, 'a bridge reads the version');
select is(pgcast.init('t', 'ann'), '{"type":"t","op":"init","data":[]}', 'a bridge calls init');
select isnt_empty('select * from pgcast.watched', 'a bridge reads pgcast.watched');
select ok(pgcast.bridge_join() > 0, 'a bridge joins');
select throws_ok('delete from pgcast.event', '42501', null, 'a bridge can''t change the journal');
select throws_ok('select * from t', '42501', null, 'a bridge can''t read a watched table');
reset role;
select throws_ok($$select pgcast.grant_bridge('nobody at all')$$, '42704', null, 'grant_bridge refuses an unknown role');

select is_empty($$
	select p.oid::regprocedure::text from pg_proc p
	where p.pronamespace = 'pgcast'::regnamespace
		and (not coalesce(p.proconfig && array['search_path=pg_catalog, pg_temp'], false)
			or p.proowner <> 'pgcast_owner'::regrole
			or p.proname not in ('schema_version', 'from_utf8', 'low_id', 'find_answer')
				and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0))
	union all
	select c.oid::regclass::text from pg_class c
	where c.relnamespace = 'pgcast'::regnamespace
		and (c.relowner <> 'pgcast_owner'::regrole or exists (select from aclexplode(c.relacl) a where a.grantee = 0))$$,
	'every function pins its search path, pgcast_owner owns all objects, PUBLIC may only call three functions');
select is((select (rolsuper, rolcanlogin, rolcreaterole, rolbypassrls)::text from pg_roles where rolname = 'pgcast_owner'),
	'(f,f,f,f)', 'the owner can''t log in and has no attributes');
select is_empty($$
	select 'function ' || p.oid::regprocedure::text from pg_proc p
	where p.pronamespace = 'pgcast'::regnamespace and obj_description(p.oid, 'pg_proc') is null
	union all
	select 'relation ' || c.oid::regclass::text from pg_class c
	where c.relnamespace = 'pgcast'::regnamespace and obj_description(c.oid, 'pg_class') is null
	union all
	select 'type ' || t.oid::regtype::text from pg_type t
	where t.typnamespace = 'pgcast'::regnamespace and t.typrelid = 0 and t.typcategory <> 'A'
		and obj_description(t.oid, 'pg_type') is null
	union all
	select 'schema' where obj_description('pgcast'::regnamespace, 'pg_namespace') is null$$,
	'everything has a comment');

create table rls (id int primary key, uid text);
alter table rls enable row level security;
grant insert on rls to pgcast_test_writer;
create policy writers on rls for insert to pgcast_test_writer with check (true);
select pgcast.watch('rls');
set local role pgcast_test_writer;
insert into rls values (1, 'ann');
reset role;
select is((select count(*) from pgcast.event where type = 'rls'), 1::bigint,
	'row-level security: a row that its writer may not read is journaled');

select * from finish();
rollback;
