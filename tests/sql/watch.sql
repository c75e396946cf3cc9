-- The arguments of pgcast.watch and pgcast.unwatch.
begin;
select plan(35);

create table "My Table" (id int, uid text, who text);
create table other (id int, uid text);
create view a_view as select 1 as uid;
create materialized view a_matview as select 1 as uid;
create temp table a_temp (uid text);
create sequence a_sequence;

select lives_ok($$select pgcast.watch('"My Table"')$$, 'watch with a table alone');
select results_eq('select relation::text, type, uid_column::text collate "default", columns::text collate "default", init_limit, notify from pgcast.watched',
	$$values ('"My Table"', 'My Table', 'uid', null::text, 100, true)$$, 'stores defaults of the other arguments');
select lives_ok($$select pgcast.watch('"My Table"', 'who', 'mine', array['id']::name[], 7, false)$$, 'watch again with other arguments');
select results_eq('select relation::text, type, uid_column::text collate "default", columns::text collate "default", init_limit, notify from pgcast.watched',
	$$values ('"My Table"', 'mine', 'who', '{id}', 7, false)$$, 'stores those');
insert into "My Table" values (1, 'ann', 'bob');
select results_eq('select type, uid, data::text from pgcast.event', $$values ('mine', 'bob', '{"id":1}')$$, 'and applies them');

select throws_ok($$select pgcast.watch('other', 'nobody')$$, '42703', 'pgcast: public.other has no column nobody', 'an unknown uid column is refused');
select throws_ok($$select pgcast.watch('other', columns => array['id', 'No']::name[])$$, '42703', 'pgcast: public.other has no column "No"', 'an unknown column in columns is refused');
select throws_ok($$select pgcast.watch('other', columns => '{}')$$, '22023', null, 'empty columns are refused');
select throws_ok($$select pgcast.watch('other', columns => array['id', 'id']::name[])$$, '22023', null, 'a repeated column is refused');
select throws_ok($$select pgcast.watch('other', type => 'mine')$$, '42710', 'pgcast: the type ''mine'' belongs to public."My Table"', 'another table''s type is refused');
select throws_ok(format('select pgcast.watch(''other'', type => %L)', t), case t when 'pgcast' then '42939' else '22023' end, null, 'the type ' || to_json(t) || ' is refused')
from unnest(array['a,b', E'a\nb', E'a\u007f', '', 'pgcast', repeat('x', 256)]) t;
select throws_ok(format('select pgcast.watch(%L)', t), '42809', null, t || ' is refused')
from unnest(array['a_view', 'a_matview', 'a_temp', 'a_sequence', 'pg_class', 'pgcast.event', 'information_schema.sql_features']) t;
select throws_ok($$select pgcast.watch('other', init_limit => -1)$$, '22023', null, 'a negative init_limit is refused');
select throws_ok($$select pgcast.watch('other', old => 'half')$$, '22023', null, 'an unknown value of old is refused');
select throws_ok(format('select pgcast.watch(''other'', %s)', a), '22023', null, a || ' is refused')
from unnest(array['broadcast => true, uid_column => ''k''', 'broadcast => false, uid_column => null']) a;
select throws_ok($$select pgcast.unwatch('other')$$, '42704', 'pgcast: public.other is not watched', 'unwatch of a table that is not watched is refused');

create table kept (k int primary key, owner text, secret text);
select pgcast.watch('kept', 'owner', 'mine too', '{k}', 7, false, order_by => '{owner,k}', filter => 'k > 0', old => 'key',
	big_as_text => true, utc => true, replicated => true);
create temp view kept_settings as select to_jsonb(w) - '{relation,state}'::text[] as settings from pgcast.watched w where relation = 'kept'::regclass;
select pgcast.watch('kept');
select is((select settings from kept_settings), '{"type": "mine too", "uid_column": "owner", "columns": ["k"], "init_limit": 7,
	"notify": false, "order_by": ["owner", "k"], "filter": "k > 0", "old": "key", "big_as_text": true, "utc": true,
	"replicated": true}', 'settings that are not given stay as they were');
select pgcast.watch('kept', type => 'kept', columns => '{*}', order_by => '{}', filter => '', broadcast => true);
select is((select settings from kept_settings), '{"type": "kept", "uid_column": null, "columns": null, "init_limit": 7,
	"notify": false, "order_by": null, "filter": null, "old": "key", "big_as_text": true, "utc": true,
	"replicated": true}', 'given settings change, and each can be taken back');
select throws_ok($$select pgcast.watch('kept', broadcast => false)$$, '42703', null, 'a table that is no longer broadcast needs a uid column');
select pgcast.watch('kept', 'owner');
select is((select settings->>'uid_column' from kept_settings), 'owner', 'a given uid column ends broadcasting');
select pgcast.unwatch('kept');

select lives_ok($$select pgcast.unwatch('"My Table"')$$, 'unwatch a table');
insert into "My Table" values (2, 'ann', 'bob');
select is((select count(*) from pgcast.event), 1::bigint, 'stops journaling and keeps the journal');
select is_empty($$select tgname from pg_trigger where tgrelid = '"My Table"'::regclass
	union all select proname from pg_proc where pronamespace = 'pgcast'::regnamespace and proname ~ '_[0-9]+$'
	union all select 'grant' where has_table_privilege('pgcast_owner', '"My Table"', 'select')$$,
	'and drops triggers, functions and grants');

select * from finish();
rollback;
