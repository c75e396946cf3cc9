-- pgcast.init: a uid's newest rows.
begin;
select plan(26);

create table note (id int primary key, uid text, n int);
create index on note (uid, id);
select pgcast.watch('note', init_limit => 3);
insert into note select i, case when i % 2 = 0 then 'ann' else 'bob' end, i from generate_series(1, 10) i order by random();
select is(pgcast.init('note', 'ann'),
	'{"type":"note","op":"init","key":["id"],"more":true,"data":[{"id":6,"uid":"ann","n":6},{"id":8,"uid":"ann","n":8},{"id":10,"uid":"ann","n":10}]}',
	'the newest init_limit rows of the uid, oldest first');
select is(pgcast.init('note', 'carl'), '{"type":"note","op":"init","key":["id"],"more":false,"data":[]}', 'no rows of an unknown uid');
select is(pgcast.init('note', 'ANN'''), '{"type":"note","op":"init","key":["id"],"more":false,"data":[]}', 'uids are compared with case and quotes');
select is(pgcast.init('nothing', 'ann'), null, 'NULL for an unknown type');
select is(pgcast.init(null, 'ann'), null, 'NULL for a NULL type');
select is(pgcast.init('note', null), '{"type":"note","op":"init","key":["id"],"more":false,"data":[]}', 'no rows of a NULL uid');
select pgcast.watch('note', type => 'a "b"', init_limit => 0);
select is(pgcast.init('a "b"', 'ann'), '{"type":"a \"b\"","op":"init","key":["id"],"more":true,"data":[]}', 'a type is quoted in JSON; a limit may be 0');
select pgcast.watch('note', uid_column => null, type => 'note', init_limit => 2);
select is(pgcast.init('note', 'x')::json->'data'->>1, '{"id":10,"uid":"ann","n":10}', 'a broadcast table returns the same rows to every uid');

create table by_int (k int, uid int, primary key (uid, k));
select pgcast.watch('by_int');
insert into by_int select i, i % 100 from generate_series(1, 10000) i;
analyze by_int;
select is(json_array_length(pgcast.init('by_int', '7')::json->'data'), 100, 'an integer uid column: all rows of a uid');
select is(pgcast.init('by_int', '007'), '{"type":"by_int","op":"init","key":["uid","k"],"more":false,"data":[]}', 'an integer uid is compared as text');
select is(pgcast.init('by_int', 'seven'), '{"type":"by_int","op":"init","key":["uid","k"],"more":false,"data":[]}', 'a uid that is no integer has no rows');
select is(pgcast.init('by_int', '99999999999'), '{"type":"by_int","op":"init","key":["uid","k"],"more":false,"data":[]}', 'a uid out of the type''s range has no rows');
create function plan_of(uid text) returns setof text language plpgsql as $$
begin
	return query execute 'explain select n.* from by_int n where ' || pgcast.uid_condition('by_int', 'uid', uid)
		|| ' order by n.uid desc, n.k desc limit 100';
end
$$;
select matches((select string_agg(l, ' ') from plan_of('7') l), 'Index.*uid = 7', 'an integer uid is found by index');

create domain short as varchar(5) check (value <> 'bad');
create type mood as enum ('glad', 'sad');
create table by_domain (uid short, v int);
create table by_mood (uid mood, v int);
create table by_point (uid point, v int);
select pgcast.watch('by_domain'), pgcast.watch('by_mood'), pgcast.watch('by_point');
insert into by_domain values ('abcde', 1);
insert into by_mood values ('sad', 1);
insert into by_point values ('(1,2)', 1);
select is(json_array_length(pgcast.init('by_domain', 'abcde')::json->'data'), 1, 'a uid column with a domain type');
select is(json_array_length(pgcast.init('by_domain', u)::json->'data'), 0, 'a uid that violates the domain has no rows') from unnest(array['bad']) u;
select is(json_array_length(pgcast.init('by_domain', 'abcdef')::json->'data'), 0, 'a uid too long for the domain has no rows');
select is(json_array_length(pgcast.init('by_mood', 'sad')::json->'data')
	+ json_array_length(pgcast.init('by_mood', 'mad')::json->'data'), 1, 'a uid column with an enum type');
select is(json_array_length(pgcast.init('by_point', '(1,2)')::json->'data'), 1, 'a uid column with a type without an equality operator');

create table by_class (uid regclass, v int);
create table by_vector (uid tsvector, v int);
select pgcast.watch('by_class'), pgcast.watch('by_vector');
insert into by_class values ('pg_class', 1);
insert into by_vector values ('a b', 1);
select results_eq($$select json_array_length(pgcast.init(type, uid)::json->'data') from
	(values ('by_class', 'pg_class'), ('by_class', 'no such'), ('by_class', 'a"'), ('by_vector', '''a'' ''b'''), ('by_vector', '''a'), ('by_vector', 'b a')) u(type, uid)$$,
	$$values (1), (0), (0), (1), (0), (0)$$, 'a uid that a type''s input refuses has no rows');
select count(*) = 2 as has_extensions from pg_available_extensions where name in ('ltree', 'hstore')
	and (select rolsuper from pg_roles where rolname = current_user) \gset
\if :has_extensions
create extension ltree;
create extension hstore;
create table by_ltree (uid ltree, v hstore);
create table by_hstore (uid hstore, v ltree);
select pgcast.watch('by_ltree'), pgcast.watch('by_hstore');
insert into by_ltree values ('a.b', 'x=>1');
insert into by_hstore values ('a=>1', 'c.d');
select results_eq($$select json_array_length(pgcast.init(type, uid)::json->'data') from
	(values ('by_ltree', 'a.b'), ('by_ltree', 'a..b'), ('by_hstore', '"a"=>"1"'), ('by_hstore', 'a=>')) u(type, uid)$$,
	$$values (1), (0), (1), (0)$$, 'of extensions, too');
\else
select skip('no extensions', 1);
\endif

create table ordered (id uuid primary key, uid text, created int, n int);
create index on ordered (uid, created);
select pgcast.watch('ordered', order_by => '{created}', init_limit => 2);
insert into ordered select md5(i::text)::uuid, 'ann', i / 2, i from generate_series(1, 6) i;
select is(pgcast.init('ordered', 'ann')::json#>>'{data,1,n}', '6', 'order_by gives the newest rows');
alter table ordered rename created to "createdAt";
select is(pgcast.init('ordered', 'ann')::json#>>'{data,1,n}', '6', 'which follows a renamed column');
select is((select (i->>'more') || (i->>'key') || json_array_length(i->'data') from (select pgcast.init('ordered', 'ann')::json) x(i)),
	'true["id"]2', 'more rows than init_limit, and the key''s columns');
select pgcast.watch('ordered', init_limit => 6);
select is(pgcast.init('ordered', 'ann')::json->>'more', 'false', 'exactly init_limit rows');

create table keyless (uid text, at int, v int);
create index on keyless (uid, at);
select pgcast.watch('keyless', init_limit => 2);
insert into keyless values ('ann', 3, 3), ('ann', 1, 1), ('ann', 2, 2);
select is(pgcast.init('keyless', 'ann')::json->>'data', '[{"uid":"ann","at":2,"v":2},{"uid":"ann","at":3,"v":3}]',
	'without a primary key, the columns after the uid in its index give the order');

create table moment (id int primary key, uid text, at timestamptz);
create index on moment (uid, id);
select pgcast.watch('moment');
set local timezone = 'Asia/Tokyo';
insert into moment values (1, 'ann', '2026-01-01 00:00+00');
set local timezone = 'Europe/Paris';
select is(pgcast.init('moment', 'ann')::json->'data'->>0, (select data::text from pgcast.event where type = 'moment'),
	'JSON equals that of the event, in every time zone of the session');

select * from finish();
rollback;
