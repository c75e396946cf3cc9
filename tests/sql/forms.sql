-- The form of JSON and uids: the same with any settings of a session; big_as_text, utc; line breaks;
-- virtual generated columns.
begin;
select plan(24);

create type mood as enum ('glad', 'sad');
create type pair as (f float8, t timestamptz, b bytea);
create domain moment as timestamptz;
create table form (id int primary key, uid text, d date, ts timestamp, tz timestamptz, mo moment, iv interval, by bytea,
	f4 float4, f8 float8, pt point, m money, cl regclass, ty regtype[], dr daterange, tr tstzrange, nr numrange, fa float8[], p pair, pa pair[], x xml,
	c mood);
create table form_p (like form including all) partition by range (id);
create table form_p1 partition of form_p default;
create index on form (uid, id);
create index on form_p (uid, id);
select pgcast.watch('form'), pgcast.watch('form_p');
create procedure hostile(on_ boolean) language plpgsql as $$
begin
	if on_ then
		set local datestyle = 'German';
		set local intervalstyle = iso_8601;
		set local bytea_output = escape;
		set local extra_float_digits = -10;
		set local lc_monetary = 'C.UTF-8';
		set local timezone = 'Asia/Tokyo';
		set local quote_all_identifiers = on;
		set local xmlbinary = hex;
		set local xmloption = document;
	else
		set local datestyle = 'ISO, MDY';
		set local intervalstyle = postgres;
		set local bytea_output = hex;
		set local extra_float_digits = 1;
		set local timezone = 'UTC';
		set local quote_all_identifiers = off;
		set local lc_monetary = 'C';
	end if;
end
$$;
create table form_row as select 1 as id, 'ann' as uid, date '2026-01-02' as d, timestamp '2026-01-02 03:04:05.6' as ts,
	timestamptz '2026-01-02 03:04:05.6+00' as tz, timestamptz '2026-01-02 03:04:05.6+00' as mo,
	interval '1 year 2 days 03:04:05' as iv, '\x00ff'::bytea as by, 0.1::float4 as f4,
	1.0/3::float8 as f8, point(1.0/3, 2) as pt, 1234.5::numeric::money as m, 'form'::regclass as cl, array['pair'::regtype, 'text'] as ty,
	daterange('2026-01-02', '2026-02-03') as dr, tstzrange('2026-01-02 03:04:05+00', null) as tr,
	numrange(1, 2) as nr, array[1.0/3::float8] as fa, row(1.0/3, '2026-01-02 00:00+00', 'x')::pair as p,
	array[row(1.0/3, '2026-01-02 00:00+00', 'x')::pair] as pa, '<a/>'::xml as x, 'sad'::mood as c;
call hostile(true);
insert into form select * from form_row;
insert into form_p select * from form_row;
create temp table answer as select pgcast.init('form', 'ann')::json->'data'->>0 as data;
call hostile(false);
select is((select data::text from pgcast.event where type = 'form'), (select data from answer), 'an event and init have one form');
select is((select data from answer), pgcast.init('form', 'ann')::json->'data'->>0, 'init has it with any settings');
select is((select data::text from pgcast.event where type = 'form_p'), (select data from answer), 'row triggers, too');
select results_eq($$select key, value from pgcast.event e, json_each_text(e.data) where type = 'form' and key not in ('id', 'uid')$$,
	$$values ('d', '2026-01-02'), ('ts', '2026-01-02T03:04:05.6'), ('tz', '2026-01-02T03:04:05.6+00:00'),
		('mo', '2026-01-02T03:04:05.6+00:00'), ('iv', '1 year 2 days 03:04:05'), ('by', '\x00ff'), ('f4', '0.1'),
		('f8', '0.3333333333333333'), ('pt', '(0.3333333333333333,2)'), ('m', '$1,234.50'), ('cl', 'public.form'),
		('ty', '["public.pair","text"]'), ('dr', '[2026-01-02,2026-02-03)'), ('tr', '["2026-01-02 03:04:05+00",)'), ('nr', '[1,2)'),
		('fa', '[0.3333333333333333]'), ('p', '{"f":0.3333333333333333,"t":"2026-01-02T00:00:00+00:00","b":"\\x78"}'),
		('pa', '[{"f":0.3333333333333333,"t":"2026-01-02T00:00:00+00:00","b":"\\x78"}]'), ('x', '<a/>'), ('c', 'sad')$$,
	'ISO dates, hex bytea, shortest exact floats, UTC');
truncate pgcast.event;
call hostile(true);
update form set by = by;
update form_p set by = by;
call hostile(false);
select is_empty('select * from pgcast.event', 'an update that changes nothing does so with any settings');

create table simple (id bigint primary key, uid text, at timestamp, d date[], n numeric, j jsonb, u uuid, m mood, i inet);
select pgcast.watch('simple');
select is((select p.proconfig from pg_proc p join pgcast.source s on p.proname = 'insert_' || s.number where s.type = 'simple'), null,
	'a table of types without such settings pins none');
create table stamped (id bigint primary key, uid text, at timestamptz[]);
select pgcast.watch('stamped');
select is((select p.proconfig::text from pg_proc p join pgcast.source s on p.proname = 'insert_' || s.number where s.type = 'stamped'), '{TimeZone=UTC}',
	'one with timestamptz[] pins the time zone alone');

create function journaled_uid(type text, value text) returns text language plpgsql as $$
declare
	uid text;
	init text;
begin
	execute format('drop table if exists by_type; create table by_type (id int primary key, uid %s)', type);
	perform pgcast.watch('by_type');
	call hostile(true);
	truncate pgcast.event;
	execute format('insert into by_type values (1, %L)', value);
	select e.uid into uid from pgcast.event e;
	init := pgcast.init('by_type', uid);
	call hostile(false);
	return concat_ws(' ', uid, json_array_length(init::json->'data'));
end
$$;
select is(journaled_uid(type, value), uid || ' 1', 'uid column of type ' || type)
from (values ('date', '02.01.2026', '2026-01-02'), ('float8', '0.3333333333333333', '0.3333333333333333'), ('bytea', '\x00ff', '\x00ff'),
	('interval', '1 day 02:00', '1 day 02:00:00'), ('daterange', '[02.01.2026,03.02.2026)', '[2026-01-02,2026-02-03)'),
	('timestamptz', '2026-01-02 12:00+09', '2026-01-02 03:00:00+00')) u(type, value, uid);

-- big_as_text and utc
create domain big as numeric;
create type amount as (n bigint, s text, at timestamp, ns big[]);
create table sum (id bigint primary key, uid text, n numeric, d big, a bigint[], am amount, ams amount[], i int, r int8range, at timestamp, ats timestamp[], none amount, empty amount[]);
create table sum_p (like sum including all) partition by range (id);
create table sum_p1 partition of sum_p default;
create index on sum (uid, id);
create index on sum_p (uid, id);
select pgcast.watch('sum', big_as_text => true, utc => true, old => 'key'), pgcast.watch('sum_p', big_as_text => true, utc => true, old => 'key');
truncate pgcast.event;
insert into sum values (9007199254740993, 'ann', 1.50, 2, '{{1,2},{3,null}}', (1, 's', '2026-01-02 03:04', '{4}'),
	array[(1, 's', '2026-01-02 03:04', '{4}')::amount, null], 5, '[1,2)', 'infinity', '{2026-01-02 03:04,null}', null, '{}');
insert into sum_p table sum;
select is((select data::text from pgcast.event where type = 'sum'), '{"id":"9007199254740993","uid":"ann","n":"1.50","d":"2","a":[["1","2"],["3",null]],'
	'"am":{"n":"1","s":"s","at":"2026-01-02T03:04:00Z","ns":["4"]},"ams":[{"n":"1","s":"s","at":"2026-01-02T03:04:00Z","ns":["4"]}, null],"i":5,'
	'"r":"[1,2)","at":"infinity","ats":["2026-01-02T03:04:00Z", null],"none":null,"empty":[]}',
	'big_as_text: int8 and numeric are strings; utc: timestamps end in Z');
select is((select data::text from pgcast.event where type = 'sum_p'), (select data::text from pgcast.event where type = 'sum'), 'with row triggers, too');
select is(pgcast.init('sum', 'ann')::json->'data'->>0, (select data::text from pgcast.event where type = 'sum'), 'init, too');
truncate pgcast.event;
update sum set i = 6;
select is((select old::text from pgcast.event), '{"id":"9007199254740993"}', 'old keys, too');
alter table sum add column later bigint default 7;
truncate pgcast.event;
update sum set i = 7;
select is((select data->>'later' || json_typeof(data->'later') from pgcast.event), '7string', 'a column added later, too');

create table lines (id int primary key, uid text, j json, ja json[]);
create index on lines (uid, id);
select pgcast.watch('lines');
truncate pgcast.event;
insert into lines values (1, 'ann', E'{"a":\r\n "b\\nc\\r",\n"d":\t"x"}'::text::json, array[E'[1,\n2]'::json]);
select pgcast.publish('ann', 'chat', E'{\r\n"a": "x\\ny"}'::json);
select results_eq('select data::text from pgcast.event order by id', $$values
	('{"id":1,"uid":"ann","j":{"a":   "b\nc\r", "d":	"x"},"ja":[[1, 2]]}'), ('{  "a": "x\ny"}')$$,
	'line breaks of json values become spaces');
select is(pgcast.init('lines', 'ann')::json->'data'->>0, '{"id":1,"uid":"ann","j":{"a":   "b\nc\r", "d":	"x"},"ja":[[1, 2]]}', 'in init, too');

select current_setting('server_version_num')::int >= 180000 as has_virtual \gset
\if :has_virtual
create table gen (id int primary key, a int, b int generated always as (a * 2) virtual, key int, uid text generated always as ('u' || a) virtual);
create table gen_p (like gen including all) partition by range (id);
create table gen_p1 partition of gen_p default;
create table gen_c (like gen including all);
select pgcast.watch('gen'), pgcast.watch('gen_p'), pgcast.watch('gen_c', columns => '{b,id}', filter => 'b < 100');
truncate pgcast.event;
create procedure gens(rel regclass) language plpgsql as $$
begin
	execute format('insert into %s (id, a, key) values (1, 1, 0)', rel);
	execute format('update %s set a = 2', rel);
	execute format('update %s set a = 2, key = 1', rel);
	execute format('update %s set id = 2', rel);
	execute format('delete from %s', rel);
end
$$;
call gens('gen'); call gens('gen_p'); call gens('gen_c');
select results_eq($$select uid, op, (data->>'b')::int, (data->>'uid'), (old->>'b')::int, (old->>'key')::int from pgcast.event where type = 'gen' order by id$$,
	$$values ('u1', 'insert', 2, 'u1', null::int, null::int), ('u1', 'delete', 2, 'u1', null, null), ('u2', 'insert', 4, 'u2', null, null),
		('u2', 'update', 4, 'u2', 4, 0), ('u2', 'delete', 4, 'u2', null, null), ('u2', 'insert', 4, 'u2', null, null), ('u2', 'delete', 4, 'u2', null, null)$$,
	'virtual generated columns have their values, as uid, too');
select results_eq($$select uid, op, data::text, old::text from pgcast.event where type = 'gen_p' order by id$$,
	$$select uid, op, data::text, old::text from pgcast.event where type = 'gen' order by id$$, 'with row triggers');
select results_eq($$select uid, op, data::text from pgcast.event where type = 'gen_c' order by id$$,
	$$values ('u1', 'insert', '{"b":2,"id":1}'), ('u1', 'delete', '{"b":2,"id":1}'), ('u2', 'insert', '{"b":4,"id":1}'),
		('u2', 'delete', '{"b":4,"id":1}'), ('u2', 'insert', '{"b":4,"id":2}'), ('u2', 'delete', '{"b":4,"id":2}')$$, 'with columns and a filter');
insert into gen (id, a) values (5, 5);
select is(pgcast.init('gen', 'u5')::json->'data'->>0, '{"id":5,"a":5,"b":10,"key":null,"uid":"u5"}', 'in init');
\else
select skip('virtual generated columns', 4);
\endif

select * from finish();
rollback;
