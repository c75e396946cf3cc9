-- A watched table over the years: pgcast.watched.state names each fault, pgcast.rewatch repairs it.
begin;
select plan(49);

create view journal as select type, op, data->>'id' as id from pgcast.event order by pgcast.event.id;
create function state(type text) returns text language sql as
	$$ select w.state from pgcast.watched w where w.type = state.type $$;
create function truncate_journal() returns void language sql as 'truncate pgcast.event';

-- Dropped and made anew.
create table log (id int primary key, uid text, secret text);
create index on log (uid, id);
select pgcast.watch('log', columns => '{id}', init_limit => 7);
insert into log values (1, 'ann', 'x');
select is(state('log'), 'ok', 'a watched table is ok');
drop table log;
select is(state('log'), 'detached: public.log was dropped (create it and call pgcast.rewatch(), or call pgcast.unwatch(''log''))',
	'a dropped table is remembered, and named with the remedy');
select matches(pgcast.init('log', 'ann'), '^init_failed the table was dropped', 'it has no init');
select truncate_journal();
select results_eq('select * from pgcast.check_watched()', $$select 'log', state('log')$$, 'the check of a bridge returns it');
select results_eq('table journal', $$values ('log', 'truncate', null::text)$$, 'and sends a truncate');
select pgcast.check_watched();
select is((select count(*) from journal), 1::bigint, 'once');
create table log (id int primary key, uid text, secret text);
create index on log (uid, id);
select is(state('log'), 'detached: public.log is another table now (call pgcast.rewatch())', 'a table of its name is not attached by itself');
select truncate_journal();
select pgcast.rewatch();
insert into log values (2, 'ann', 'x');
select results_eq('select type, op, data::text from pgcast.event order by id',
	$$values ('log', 'reset', null), ('log', 'insert', '{"id":2}')$$, 'rewatch attaches it with the settings it had, and sends a reset');
select is(state('log'), 'ok', 'and it is ok');

-- Replaced by an online schema change.
create table log_new (like log including all);
alter table log rename to log_old;
select is(state('log'), 'ok', 'a renamed table is still watched');
alter table log_new rename to log;
select is(state('log'), 'detached: public.log is another table now (call pgcast.rewatch())', 'a replaced one is not');
select matches(pgcast.init('log', 'ann'), '^init_failed the table was .*replaced', 'init does not read the old table');
select truncate_journal();
select pgcast.check_watched();
insert into log_old values (3, 'ann', 'x');
select results_eq('select op from journal', $$values ('truncate')$$, 'after the check, changes of the old table are not sent');
select pgcast.rewatch('log');
insert into log values (4, 'ann', 'x');
insert into log_old values (5, 'ann', 'x');
select results_eq('select op, id from journal', $$values ('truncate', null), ('reset', null), ('insert', '4')$$, 'rewatch moves to the new one');
select is(pgcast.init('log', 'ann')::json->>'data', '[{"id":4}]', 'with its rows');
alter table log rename to log_2;
select pgcast.check_watched();
create table log (id int primary key, uid text);
select is(state('log'), 'ok', 'after a check, the new name of a renamed table counts');
drop table log, log_2;
select lives_ok($$select pgcast.unwatch('log')$$, 'a dropped table can be unwatched by its type');
select is_empty('select * from pgcast.watched', 'and is no longer listed');
create table log (id int primary key, uid text);
select pgcast.watch('log', columns => '{id}');
drop table log;
create table log (id int primary key, uid text, secret text);
select pgcast.watch('log');
select is((select columns::text from pgcast.watched), '{id}', 'watch of a table made anew keeps the settings, too');
drop table log;
create table chat (id int primary key, uid text);
create index on chat (uid);
select lives_ok($$select pgcast.watch('chat', type => 'log')$$, 'the type of a dropped table is free');
select pgcast.unwatch('chat');

-- Triggers, indexes and rights.
create table t (id int primary key, uid text);
select pgcast.watch('t');
select is(state('t'), 'no index starts with the uid column, so each init reads the whole table (create index on t (uid))', 'a missing index');
create index on t (uid, id);
select is(state('t'), 'ok', 'an index that begins with the uid');
alter table t disable trigger user;
select is(state('t'), 'triggers are disabled on t (call pgcast.rewatch(''t''))', 'disabled triggers');
select pgcast.rewatch('t');
select is(state('t'), 'ok', 'rewatch enables them');
do $$ begin
	execute format('drop trigger %I on t', (select tgname from pg_trigger where tgrelid = 't'::regclass and tgname ~ '_insert'));
end $$;
select is(state('t'), 'triggers are missing on t (call pgcast.rewatch(''t''))', 'a missing trigger');
select pgcast.rewatch('t');
select is(state('t'), 'ok', 'rewatch creates it');
create function touch() returns trigger language plpgsql as $f$ begin update t set uid = 'bob' where id = new.id and uid = 'ann'; return null; end $f$;
create trigger "000_audit" after insert on t for each row execute function touch();
select is(state('t'), 'needs row triggers, for its children or AFTER ROW triggers (call pgcast.rewatch(''t''))', 'an AFTER ROW trigger that was added');
select pgcast.rewatch();
select truncate_journal();
insert into t values (1, 'ann');
select results_eq('select op from journal', $$values ('insert'), ('delete'), ('insert')$$, 'rewatch mends the order, also beside a name that begins with digits');
alter table t enable row level security;
create policy own on t for select using (uid = current_setting('app.uid'));
select is(state('t'), 'row-level security may hide rows from init (create policy pgcast on t for select to pgcast_owner using (true))', 'row-level security');
create policy pgcast on t for select to pgcast_owner using (true);
select is(state('t'), 'ok', 'a policy for pgcast_owner');
alter table t disable row level security;
create schema s2;
alter table t set schema s2;
select is(state('t'), 'pgcast_owner may not read it, so init fails (grant usage on schema s2 to pgcast_owner; grant select on s2.t to pgcast_owner)', 'another schema');
select pgcast.rewatch();
select is(state('t'), 'ok', 'rewatch grants the rights that the caller may grant');
drop trigger "000_audit" on s2.t;
select pgcast.watch('s2.t', replicated => true);
select is(state('t'), 'ok', 'replicated');
select is((select count(*) from pg_trigger where tgrelid = 's2.t'::regclass and tgtype & 1 = 1 and tgenabled = 'A'), 3::bigint, 'gives it row triggers that fire always');
select pgcast.watch('s2.t', replicated => false);
select is(state('t'), 'ok', 'not replicated');
select is((select count(*) from pg_trigger where tgrelid = 's2.t'::regclass and tgenabled = 'A'), 0::bigint, 'makes them ordinary ones');
alter table s2.t drop column uid cascade;
select matches(state('t'), '^the column uid is missing', 'a missing column');
drop table s2.t;

-- Partitions and children.
create table p (id int, uid text) partition by range (id);
create table p0 partition of p for values from (0) to (10);
create index on p (uid, id);
select pgcast.watch('p');
create table p1 partition of p for values from (10) to (20);
select is(state('p'), 'triggers are missing on p1 (call pgcast.rewatch(''p''))', 'a new partition');
select truncate_journal();
select pgcast.rewatch();
truncate p1;
select results_eq('select op from journal', $$values ('truncate')$$, 'rewatch gives it triggers, and sends no reset for an empty one');
create table p2 (id int, uid text);
insert into p2 values (20, 'ann');
alter table p attach partition p2 for values from (20) to (30);
select truncate_journal();
select pgcast.check_watched();
select results_eq('select type, op from journal', $$values ('p', 'reset')$$, 'one that is attached with rows is a reset');
alter table p detach partition p2;
select pgcast.check_watched();
drop table p1;
select pgcast.check_watched();
select pgcast.check_watched();
select results_eq('select op from journal', $$values ('reset'), ('reset'), ('reset')$$, 'one that is detached or dropped, too, once');
drop table p;

create table base (id int primary key, uid text);
create index on base (uid);
create table child () inherits (base);
select pgcast.watch('base');
create table second () inherits (base);
select is(state('base'), 'triggers are missing on second (call pgcast.rewatch(''base''))', 'a new child');
select pgcast.rewatch();
alter table child no inherit base;
select truncate_journal();
insert into child values (1, 'ann');
truncate child;
insert into second values (2, 'ann');
select results_eq('select id from journal', $$values ('2')$$, 'a table that is no longer a child sends nothing');
select pgcast.rewatch();
select is_empty($$select from pg_trigger where tgrelid = 'child'::regclass$$, 'rewatch drops its triggers');
drop table base cascade;

-- Unlogged.
create unlogged table fast (id int primary key, uid text);
create index on fast (uid);
select pgcast.watch('fast');
select pgcast.check_watched();
truncate pgcast.crash_marker;  -- as a crash does
select truncate_journal();
select pgcast.check_watched();
select pgcast.check_watched();
select results_eq('select type, op from journal', $$values ('fast', 'truncate'), ('fast', 'reset')$$, 'a crash that emptied it is a truncate');

-- Names that are not found.
create table "Logs" (id int, "userId" text);
create function hint_of(query text) returns text language plpgsql as $f$
declare
	hint text;
begin
	execute query;
	return null;
exception when others then
	get stacked diagnostics hint = pg_exception_hint;
	return hint;
end
$f$;
select is(hint_of(format('select pgcast.%s(%L)', f, n)), 'Quote the name: ''public."Logs"''.', f || ' of ' || n || ' names the table that exists')
from unnest(array['watch', 'unwatch', 'rewatch']) f, unnest(array['Logs']) n;
select is(hint_of($$select pgcast.watch('"Logs"', uid_column => '"userId"')$$),
	'The column ''userId'' exists: names of columns are given as they are, without double quotes.', 'and the column');

select * from finish();
rollback;
