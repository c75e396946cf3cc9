-- Rights of writers, bridges and the owner.
begin;
select plan(19);

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

-- Objects of other roles that would replace ours, found before ours: functions and operators that raise,
-- types and tables of another form. The generated functions do not pin search_path.
create schema trap;
grant usage on schema trap to public;
do $$
declare
	name text;
	type text;
begin
	foreach name in array array['to_json(anyelement) returns json', 'pg_notify(text, text) returns void',
			'pg_column_size(anyelement) returns int', 'octet_length(text) returns int',
			'pg_try_advisory_xact_lock_shared(int, int) returns boolean', 'current_setting(text) returns text',
			'current_setting(text, boolean) returns text', 'set_config(text, text, boolean) returns text',
			'pg_current_xact_id() returns xid8', 'replace(text, text, text) returns text',
			'row_number() returns bigint', 'isfinite(timestamp) returns boolean',
			'btrim(text, text) returns text', 'json_agg(anyelement) returns json',
			'columns_hold(regclass, int2[], name[], oid[], boolean, text) returns boolean']
	loop
		execute format('create function trap.%s language plpgsql as $f$ begin raise ''trapped''; end $f$', name);
	end loop;
	foreach type in array array['text', 'bool', 'int4', 'int8', 'text[]', 'json', 'name', 'oid'] loop
		execute format('create function trap.op(%1$s, %1$s) returns boolean language plpgsql as'
			' $f$ begin raise ''trapped''; end $f$', type);
		foreach name in array array['=', '<>', '<', '>', '<=', '>=', '+', '||'] loop
			execute format('create operator trap.%s (leftarg = %2$s, rightarg = %2$s, function = trap.op)', name, type);
		end loop;
	end loop;
	foreach type in array array['text', 'bool', 'int2', 'int4', 'int8', 'json', 'record', 'regclass', 'name', 'oid'] loop
		execute format('create type trap.%I as enum ()', type);
	end loop;
end
$$;
create table trap.event (id int);
create table trap.rotation (current int);
create table trap.new_rows (id int);
create table trap.old_rows (id int);

create table sums (id bigint primary key, uid text, at timestamp, note json, a bigint[], b int);
select pgcast.watch('sums', big_as_text => true, utc => true, old => 'changed');
grant usage on schema trap to pgcast_test_writer;
grant select, insert, update, delete on sums to pgcast_test_writer;
set local role pgcast_test_writer;
create temp table event (id int);
create temp table rotation (current int);
create temp table new_rows (id int);
create temp table old_rows (id int);
set local search_path = pg_temp, trap, pg_catalog, public;
insert into public.t values (1, 'ann');
update public.t set uid = 'bob';
delete from public.t;
truncate public.t;
insert into public.p values (1, 'ann');
update public.p set uid = 'bob';
delete from public.p;
truncate public.p;
insert into public.sums values (1, 'ann', '2026-01-01', '{}', '{1,2}', 1), (2, 'bob', '2026-01-01', '{}', '{1,2}', 1);
update public.sums set id = 3, uid = 'carl' where id OPERATOR(pg_catalog.=) 1;
update public.sums set b = 2;
delete from public.sums;
set local search_path = public;
select throws_ok('select * from pgcast.event', '42501', null, 'a writer can''t read the journal');
select throws_ok($$select pgcast.publish('ann', 'x', '1')$$, '42501', null, 'a writer can''t publish');
select throws_ok($$select pgcast.watch('t')$$, '42501', null, 'a writer can''t watch');
select throws_ok($$select pgcast.init('t', 'ann')$$, '42501', null, 'a writer can''t call init');
reset role;
select results_eq('select type, op from pgcast.event order by id',
	$$values ('t', 'insert'), ('t', 'delete'), ('t', 'insert'), ('t', 'delete'), ('t', 'truncate'),
		('p', 'insert'), ('p', 'delete'), ('p', 'insert'), ('p', 'delete'), ('p', 'truncate'),
		('sums', 'insert'), ('sums', 'insert'), ('sums', 'delete'), ('sums', 'insert'),
		('sums', 'update'), ('sums', 'update'), ('sums', 'delete'), ('sums', 'delete')$$,
	'a writer needs no right on pgcast to write, with any search path');
select is((select data::text || old from pgcast.event where type = 'sums' and op = 'update' and uid = 'bob'),
	'{"id":"2","uid":"bob","at":"2026-01-01T00:00:00Z","note":{},"a":["1","2"],"b":2}{"b":1}',
	'and the messages are the same');
-- Literals and quoted names are removed first.
select is_empty($$
	select p.proname, m from pg_proc p
	cross join lateral (select regexp_replace(regexp_replace(p.prosrc, '''[^'']*''|"[^"]*"', '?', 'g'),
		'operator\(pg_catalog\.[^)]*\)|:=|<<our>>|-- [^\n]*', ',', 'gi')) s(body)
	cross join lateral regexp_matches(s.body,
		'[^.\w](?!(?:exists|coalesce|values|from|and|or|over|array|case|k|select|into|event|any|in|as|pair|lateral|when|join|type|if|not) ?\()[a-z_]\w* ?\('
		'|::(?!pg_catalog\.)\w+|[=<>+|]', 'g') m
	where p.pronamespace = 'pgcast'::regnamespace and p.proname ~ '^((row_)?(insert|update|delete)|(begin|end)_update)_[0-9]+$'$$,
	'generated functions name no function, operator or cast that a search path could find');

set local role pgcast_test_bridge;
select isnt_empty('select * from pgcast.event', 'a bridge reads the journal');
select is(pgcast.schema_version(), 4, 'a bridge reads the version');
select is(pgcast.init('t', 'ann'), '{"type":"t","op":"init","key":["id"],"more":false,"data":[]}', 'a bridge calls init');
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
				and p.proname !~ '^((row_)?(insert|update|delete)|(begin|end)_update)_[0-9]+$'
				and (p.proname not in ('watch', 'rewatch', 'unwatch', 'find_table')
					or p.prosecdef or p.proargtypes[0] <> 'text'::regtype)
			or p.proowner <> 'pgcast_owner'::regrole
			or p.proname not in ('schema_version', 'from_utf8', 'low_id', 'find_answer')
				and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0))
	union all
	select c.oid::regclass::text from pg_class c
	where c.relnamespace = 'pgcast'::regnamespace
		and (c.relowner <> 'pgcast_owner'::regrole or exists (select from aclexplode(c.relacl) a where a.grantee = 0))$$,
	'every function that neither is generated nor finds tables by name pins its search path, pgcast_owner owns all objects, PUBLIC may only call three functions');
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
