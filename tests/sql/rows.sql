-- The events of changed rows.
begin;
select plan(15);

create table note (id int primary key, uid text, body text);
create index on note (uid, id);
select pgcast.watch('note');

insert into note values (1, 'ann', 'one');
select results_eq(
	'select uid, broadcast, type, op, data::text, old::text from pgcast.event',
	$$values ('ann', false, 'note', 'insert', '{"id":1,"uid":"ann","body":"one"}', null)$$,
	'an insert has the new row');
select is(
	(select (xid, at between now() and clock_timestamp(), id > 0)::text from pgcast.event),
	(pg_current_xact_id(), true, true)::text,
	'an event has its transaction, time and id');

truncate pgcast.event;
update note set body = 'two';
select results_eq(
	'select uid, op, data::text, old::text from pgcast.event',
	$$values ('ann', 'update', '{"id":1,"uid":"ann","body":"two"}', '{"id":1,"uid":"ann","body":"one"}')$$,
	'an update has the new and the old row');

truncate pgcast.event;
delete from note;
select results_eq(
	'select uid, op, data::text, old::text from pgcast.event',
	$$values ('ann', 'delete', '{"id":1,"uid":"ann","body":"two"}', null)$$,
	'a delete has the old row');

truncate pgcast.event;
insert into note values (1, 'ann', 'a'), (2, 'bob', 'b'), (3, 'ann', 'c');
update note set uid = case uid when 'ann' then 'bob' else 'ann' end, body = body || '!' where id < 3;
select results_eq(
	$$select uid, op, data->>'id', data->>'uid', data->>'body', old::text
	from pgcast.event where id > (select min(id) + 2 from pgcast.event) order by id$$,
	$$values ('ann', 'delete', '1', 'ann', 'a', null), ('bob', 'delete', '2', 'bob', 'b', null),
		('bob', 'insert', '1', 'bob', 'a!', null), ('ann', 'insert', '2', 'ann', 'b!', null)$$,
	'rows that move to another uid are deleted for the old one, then inserted for the new one');

truncate pgcast.event;
insert into note values (4, null, 'nobody''s');
update note set uid = 'ann' where id = 4;
update note set uid = null where id = 4;
update note set body = 'still' where id = 4;
delete from note where id = 4;
select results_eq(
	'select uid, broadcast, op from pgcast.event order by id',
	$$values (null, false, 'insert'), (null, false, 'delete'), ('ann', false, 'insert'),
		('ann', false, 'delete'), (null, false, 'insert'), (null, false, 'update'),
		(null, false, 'delete')$$,
	'a row without a uid is journaled without a uid');

truncate pgcast.event;
create table twin (uid text, body text);
select pgcast.watch('twin');
insert into twin values ('ann', 'same');
insert into twin values ('ann', 'same'), ('ann', 'same');
select is((select count(*) from pgcast.event), 3::bigint, 'equal rows are separate events');
select is((select count(distinct id) from pgcast.event), 3::bigint, 'with different ids');
update twin set body = 'again';
delete from twin;
select is((select count(*) from pgcast.event), 9::bigint,
	'their updates and deletes are separate events, without a key');

truncate pgcast.event;
update twin set body = 'none' where false;
delete from twin where false;
insert into twin select 'a', 'b' where false;
select is_empty('select * from pgcast.event', 'a statement that changes no row makes no event');

create type mood as enum ('glad', 'sad');
create table by_int (uid int, v int);
create table by_uuid ("user" uuid);
create table by_enum (m mood);
select pgcast.watch('by_int'), pgcast.watch('by_uuid', 'user'), pgcast.watch('by_enum', 'm');
insert into by_int values (7, 1);
insert into by_uuid values ('00000000-0000-0000-0000-00000000000A');
insert into by_enum values ('sad');
select results_eq('select uid from pgcast.event order by id',
	$$values ('7'), ('00000000-0000-0000-0000-00000000000a'), ('sad')$$,
	'a uid column may have any type; the event has its text');

truncate pgcast.event;
create table news (id int primary key, headline text);
select pgcast.watch('news', uid_column => null, type => 'breaking');
insert into news values (1, 'x');
update news set headline = 'y';
select results_eq('select uid, broadcast, type, op from pgcast.event order by id',
	$$values (null::text, true, 'breaking', 'insert'), (null, true, 'breaking', 'update')$$,
	'without a uid column every change is a broadcast, with the type of the argument');

truncate pgcast.event;
create table odd ("n" int, "r" text, "data" text, "to_uid" text, "k" int, "place" int, "o" int,
	"slow_path" int, "journal_table" int, "new_rows" int, "b" int, "g" int, "c" int, "u@number@""'x" text, "type" text);
select pgcast.watch('odd', 'u@number@"''x', 'o''d@type@{}');
insert into odd ("u@number@""'x", n, r, slow_path) values ('ann', 1, 'r', 3);
update odd set n = 2;
update odd set "u@number@""'x" = 'bob';
delete from odd;
select results_eq($$select uid, type, op, data->>'n', old->>'n' from pgcast.event order by id$$,
	$$values ('ann', 'o''d@type@{}', 'insert', '1', null), ('ann', 'o''d@type@{}', 'update', '2', '1'),
		('ann', 'o''d@type@{}', 'delete', '2', null), ('bob', 'o''d@type@{}', 'insert', '2', null),
		('bob', 'o''d@type@{}', 'delete', '2', null)$$,
	'any names of columns and types that PostgreSQL allows');

truncate pgcast.event;
select pgcast.publish('ann', 'chat', '{"text": "hi"}'), pgcast.publish(null, 'note', null);
select results_eq('select uid, broadcast, type, op, data::text from pgcast.event order by id',
	$$values ('ann', false, 'chat', 'publish', '{"text": "hi"}'), (null, true, 'note', 'publish', null)$$,
	'publish needs no table; without a uid it is a broadcast');
select throws_ok($$select pgcast.publish('ann', 'a,b', '1')$$, '22023', null,
	'publish refuses an invalid type');

select * from finish();
rollback;
