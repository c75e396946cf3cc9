-- pgcast: journals every change of the watched tables and rings a bell for the bridges.
--
-- Installs, or upgrades what is there, in one transaction:
--
--     psql -v ON_ERROR_STOP=1 -f pgcast.sql
--
-- Needs PostgreSQL 13 or later and a role that may create objects in the database and roles
-- (CREATEROLE); once the role pgcast_owner is there, membership in it is enough. Running it again
-- changes nothing. uninstall.sql takes all of it away.
--
-- How it fits together. Every watched table is a row of pgcast.source. From that row
-- pgcast.generate writes trigger functions with static SQL, which put one row per change and uid
-- into the journal, pgcast.event, in the writer's own transaction, and ring when a bridge sleeps.
-- All objects belong to pgcast_owner, which can't log in and is no superuser; what writers reach,
-- they reach through SECURITY DEFINER functions with a pinned search_path.
--
-- Advisory locks, by (class, key of the bridge):
--   1885823793 'pgc1'  alive: held by a bridge's session as long as it lives
--   1885823794 'pgc2'  asleep: held by a bridge while it waits for the bell; writers try it shared
--   1885823795 'pgc3'  pruning (key 0): held by pgcast.prune

begin;

set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;

-- ---- the owner and the schema ---------------------------------------------------------------

do $install$
declare
	answer constant text := 'Run it as a superuser or as a role with CREATEROLE, or let one create'
		' the role first: create role pgcast_owner nologin; grant pgcast_owner to '
		|| quote_ident(current_user) || ';';
begin
	if current_setting('server_version_num')::int < 130000 then
		raise exception 'pgcast needs PostgreSQL 13 or later'
			using errcode = 'feature_not_supported';
	end if;
	if to_regrole('pgcast_owner') is null then
		begin
			create role pgcast_owner nologin;
			comment on role pgcast_owner is 'Owns the schema pgcast. Can''t log in.';
		exception when insufficient_privilege then
			raise exception 'pgcast: % may not create the role pgcast_owner', current_user
				using errcode = 'insufficient_privilege', hint = answer;
		end;
	end if;
	if (select r.rolsuper from pg_roles r where r.rolname = 'pgcast_owner') then
		raise exception 'pgcast: the role pgcast_owner must not be a superuser'
			using hint = 'alter role pgcast_owner nosuperuser;';
	end if;
	if not pg_has_role('pgcast_owner', 'usage') then
		begin
			execute format('grant pgcast_owner to %I', current_user);
		exception when insufficient_privilege then
			raise exception 'pgcast: % is no member of pgcast_owner', current_user
				using errcode = 'insufficient_privilege', hint = answer;
		end;
	end if;
	if to_regnamespace('pgcast') is null then
		create schema pgcast authorization pgcast_owner;
	elsif (select n.nspowner from pg_namespace n where n.nspname = 'pgcast')
			<> to_regrole('pgcast_owner') then
		raise exception 'pgcast: a schema pgcast is there already and belongs to somebody else'
			using hint = 'alter schema pgcast owner to pgcast_owner; or drop it.';
	end if;
	-- From here on everything is made as the owner; the last section needs the installer again.
	perform set_config('pgcast.installer', current_setting('role'), true);
	perform set_config('role', 'pgcast_owner', true);
end
$install$;

comment on schema pgcast is 'pgcast: pushes changes of watched tables to WebSocket clients';

create table if not exists pgcast.meta (
	one boolean primary key default true check (one),
	schema_version int not null,
	epoch text not null
);
comment on table pgcast.meta is
	'One row: the version of these objects, and which cluster the journal''s transaction ids belong to';
comment on column pgcast.meta.schema_version is 'Grows by one with every change that needs a step';
comment on column pgcast.meta.epoch is 'system_identifier of the cluster that wrote the journal';

insert into pgcast.meta (schema_version, epoch)
select 2, c.system_identifier::text from pg_control_system() c
on conflict do nothing;

do $upgrade$
declare
	newest constant int := 2;
	present int := (select m.schema_version from pgcast.meta m);
begin
	if present > newest then
		raise exception 'pgcast: schema version % is installed, this file has the older version %',
			present, newest
			using hint = 'Use the pgcast.sql that belongs to the newest pgcast you run.';
	end if;
	-- Steps, each raising the version by one; what is made anew below need only be dropped here.
	if present = 1 then
		alter table pgcast.ring add bridges int[] not null default '{}';
		update pgcast.ring g set bridges = array(select b.key from pgcast.bridge b order by b.key);
		drop index pgcast.event_uid, pgcast.event_broadcast;
		present := 2;
	end if;
	update pgcast.meta m set schema_version = present where m.schema_version <> present;
end
$upgrade$;

-- ---- tables ---------------------------------------------------------------------------------

create table if not exists pgcast.source (
	number int generated always as identity primary key,
	relation regclass not null unique,
	type text not null unique,
	uid_column name,
	columns name[],
	init_limit int not null,
	bell boolean not null
);
comment on table pgcast.source is
	'The watched tables, as pgcast.watch was told; pgcast.watched is the view to read';
comment on column pgcast.source.number is 'Ends the names of the functions generated for the table';
comment on column pgcast.source.uid_column is 'NULL: every change is broadcast';
comment on column pgcast.source.columns is 'What clients may see; NULL: everything';
comment on column pgcast.source.init_limit is 'Rows in an answer to init, at most';
comment on column pgcast.source.bell is 'false: writers never NOTIFY, bridges poll';
comment on sequence pgcast.source_number_seq is 'Numbers of pgcast.source';

create table if not exists pgcast.ring (
	one boolean primary key default true check (one),
	current smallint not null default 0 check (current between 0 and 2),
	since timestamptz not null default clock_timestamp(),
	pruned_xid xid8 not null default '0',
	pruned_id bigint not null default 0,
	bridges int[] not null default '{}'
);
comment on table pgcast.ring is
	'One row: the slot of the journal that writers fill. The journal is a ring of three slots.';

comment on column pgcast.ring.current is 'The slot that writers fill';
comment on column pgcast.ring.since is 'Since when they do';
comment on column pgcast.ring.pruned_xid is 'The greatest transaction id that has been pruned';
comment on column pgcast.ring.pruned_id is 'The greatest event id of that transaction';
comment on column pgcast.ring.bridges is
	'The keys of pgcast.bridge: what a writer has to know stands in one row';

insert into pgcast.ring default values on conflict do nothing;

create table if not exists pgcast.horizon (
	at timestamptz primary key default clock_timestamp(),
	xid xid8 not null
);
comment on table pgcast.horizon is
	'What pgcast.prune has seen finished, and when: retention counts from there, not from the writing';
comment on column pgcast.horizon.at is 'When it was seen';
comment on column pgcast.horizon.xid is 'All transactions below it had ended';
comment on index pgcast.horizon_pkey is 'Times of looks';

create table if not exists pgcast.bridge (
	key int primary key,
	joined timestamptz not null default clock_timestamp()
);
comment on table pgcast.bridge is
	'One row per bridge: the key of its two advisory locks. Rows are reused, not kept up to date.';
comment on column pgcast.bridge.joined is 'When the row was made';

create or replace function pgcast.tell_bridges() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	update pgcast.ring g set bridges = b.keys
	from (select array(select b.key from pgcast.bridge b order by b.key) as keys) b
	where g.bridges <> b.keys;
	return null;
end
$$;
comment on function pgcast.tell_bridges() is 'Keeps pgcast.ring.bridges up to date';

do $trigger$
begin
	if not exists (select from pg_trigger t
			where t.tgrelid = 'pgcast.bridge'::regclass and t.tgname = 'tell_bridges') then
		create trigger tell_bridges after insert or update or delete or truncate on pgcast.bridge
			for each statement execute function pgcast.tell_bridges();
	end if;
end
$trigger$;
comment on trigger tell_bridges on pgcast.bridge is 'Keeps pgcast.ring.bridges up to date';

-- CACHE 1 keeps ids in the order of nextval over all sessions: a later change of a row, which
-- had to wait for the row's lock, has the greater id.
create sequence if not exists pgcast.event_id as bigint cache 1;
comment on sequence pgcast.event_id is 'Ids of events';

create table if not exists pgcast.event (
	id bigint not null default nextval('pgcast.event_id'),
	xid xid8 not null default pg_current_xact_id(),
	uid text,
	broadcast boolean not null,
	type text not null,
	op text not null,
	data json,
	old json,
	at timestamptz not null default clock_timestamp(),
	slot smallint not null
) partition by list (slot);
comment on table pgcast.event is 'The journal: one row per change and uid';
comment on column pgcast.event.id is 'Grows along the changes of a row, not along commits';
comment on column pgcast.event.xid is 'The top-level transaction that made the change';
comment on column pgcast.event.uid is 'Whose event it is; NULL: everybody''s or nobody''s';
comment on column pgcast.event.broadcast is 'true: for every client';
comment on column pgcast.event.type is 'The watched table''s type, or what pgcast.publish was given';
comment on column pgcast.event.op is 'insert, update, delete, truncate or publish';
comment on column pgcast.event.data is 'The new row; of a delete the old row; of a truncate NULL';
comment on column pgcast.event.old is 'Of an update the row as it was, else NULL';
comment on column pgcast.event.at is 'When the change was made, not when it was committed';
comment on column pgcast.event.slot is 'The slot of the ring that the row lies in';

-- Slots are emptied by TRUNCATE: vacuuming what was only ever inserted would be work for nothing.
create table if not exists pgcast.event_0 partition of pgcast.event for values in (0)
	with (autovacuum_vacuum_insert_threshold = -1);
create table if not exists pgcast.event_1 partition of pgcast.event for values in (1)
	with (autovacuum_vacuum_insert_threshold = -1);
create table if not exists pgcast.event_2 partition of pgcast.event for values in (2)
	with (autovacuum_vacuum_insert_threshold = -1);
-- What they cost a writer of one row and, per row, one of 1000: event_xid 2.0 and 1.3 us, event_uid
-- 2.2 and 1.6. An index of the broadcasts alone would cost all others 1.8 and 0.4; they have no uid.
create index if not exists event_xid on pgcast.event (xid, id);
create index if not exists event_uid on pgcast.event (uid, id);

do $comments$
declare
	slot regclass;
	part regclass;
begin
	for slot in select i.inhrelid from pg_inherits i where i.inhparent = 'pgcast.event'::regclass loop
		execute format('comment on table %s is %L', slot, 'A slot of the journal''s ring');
		for part in select x.indexrelid from pg_index x where x.indrelid = slot loop
			execute format('comment on index %s is %L', part, 'A slot''s part of an index of the journal');
		end loop;
	end loop;
end
$comments$;
comment on index pgcast.event_xid is 'What is new since a position, for all uids';
comment on index pgcast.event_uid is
	'What is new since a position, for some uids, and for all of them under no uid';
comment on index pgcast.meta_pkey is 'One row at most';
comment on index pgcast.ring_pkey is 'One row at most';
comment on index pgcast.bridge_pkey is 'Keys of bridges';
comment on index pgcast.source_pkey is 'Numbers of watched tables';
comment on index pgcast.source_relation_key is 'A table is watched once';
comment on index pgcast.source_type_key is 'A type belongs to one table';

create or replace view pgcast.watched as
select s.relation, s.type, s.uid_column, s.columns, s.init_limit, s.bell
from pgcast.source s
where exists (select from pg_catalog.pg_class c where c.oid = s.relation);
comment on view pgcast.watched is 'What is watched, and how';
comment on column pgcast.watched.relation is 'The table';
comment on column pgcast.watched.type is 'What its messages say under "type"';
comment on column pgcast.watched.uid_column is 'Whose row it is; NULL: every change is broadcast';
comment on column pgcast.watched.columns is 'What clients may see; NULL: everything';
comment on column pgcast.watched.init_limit is 'Rows in an answer to init, at most';
comment on column pgcast.watched.bell is 'false: writers never NOTIFY, bridges poll';

-- ---- what is known about a table ------------------------------------------------------------

create or replace function pgcast.tree(relation regclass) returns setof regclass
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive member(oid) as (
		select tree.relation::oid
		union
		select i.inhrelid from pg_inherits i join member m on i.inhparent = m.oid
	)
	select m.oid::regclass from member m
$$;
comment on function pgcast.tree(regclass) is
	'The table and its partitions or inheritance children, at any depth';

create or replace function pgcast.row_level(relation regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select exists (select from pg_inherits i
			where row_level.relation in (i.inhrelid, i.inhparent))
		or exists (select from pg_class c
			where c.oid = row_level.relation and c.relkind = 'p')
		or exists (select from pg_trigger t
			where t.tgrelid = row_level.relation and not t.tgisinternal
				and t.tgname !~ '^00_pgcast_' and t.tgtype & 1 = 1 and t.tgtype & 66 = 0)
$$;
comment on function pgcast.row_level(regclass) is
	'Whether a table needs row-level triggers. Statement triggers miss changes that name a partition'
	' or child, and fire after what the table''s own AFTER ROW triggers do: were such a trigger to'
	' update the row just inserted, the update would be journaled before the insert.';

create or replace function pgcast.keys(relation regclass, uid_column name) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select array_agg(a.attname order by k.place)
	from (
		select x.indrelid, x.indkey::int2[] as indkey, x.indnkeyatts, x.indisprimary
		from pg_index x
		left join pg_attribute u
			on u.attrelid = x.indrelid and u.attnum = x.indkey[0] and u.attname = keys.uid_column
		where x.indrelid = keys.relation and x.indisvalid and x.indpred is null
			and x.indexprs is null
			and (x.indisprimary or (u.attname is not null and x.indnkeyatts > 1))
		order by x.indisprimary desc, x.indexrelid
		limit 1
	) x
	cross join unnest(x.indkey) with ordinality k(attnum, place)
	join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
	where k.place <= x.indnkeyatts and (x.indisprimary or k.place > 1)
$$;
comment on function pgcast.keys(regclass, name) is
	'The columns that tell a table''s newest rows: its primary key; without one, what follows the'
	' uid in the first index that begins with it; else NULL';

create or replace function pgcast.picked(relation regclass, columns name[], alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select case when picked.columns is not null then coalesce(
		(select string_agg(format('%1$s.%2$I as %2$I', picked.alias, c.name), ', ' order by c.place)
		from unnest(picked.columns) with ordinality c(name, place)
		join pg_attribute a on a.attrelid = picked.relation and a.attname = c.name
			and a.attnum > 0 and not a.attisdropped), 'null as "?"') end
$$;
comment on function pgcast.picked(regclass, name[], text) is
	'The select list of the columns that clients may see and that still exist; NULL: all of them';

create or replace function pgcast.swells(type oid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive base(oid, typtype, typnamespace, next, is_array) as (
		select t.oid, t.typtype, t.typnamespace,
			case when t.typtype = 'd' then t.typbasetype when t.typcategory = 'A' then t.typelem end,
			t.typtype <> 'd' and t.typcategory = 'A'
		from pg_type t where t.oid = swells.type
		union all
		select t.oid, t.typtype, t.typnamespace,
			case when t.typtype = 'd' then t.typbasetype when t.typcategory = 'A' then t.typelem end,
			b.is_array or (t.typtype <> 'd' and t.typcategory = 'A')
		from base b join pg_type t on t.oid = b.next
	)
	select bool_or(b.next is null and not (
			b.typtype = 'e'
			or (b.typtype = 'b' and b.typnamespace = 'pg_catalog'::regnamespace
				and b.oid <> 'jsonb'::regtype and not (b.is_array and b.oid = 'numeric'::regtype))
			or (b.typtype = 'r' and b.typnamespace = 'pg_catalog'::regnamespace and not b.is_array)))
	from base b
$$;
comment on function pgcast.swells(oid) is
	'Whether a value of the type may be many times larger as JSON than it is stored: 1e100000 in a'
	' jsonb value takes a few bytes. One numeric, at most 147 kB of text, is not meant.';

create or replace function pgcast.check_type(type text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
	if check_type.type is null or check_type.type = '' or octet_length(check_type.type) > 255
			or check_type.type ~ '[[:cntrl:],]' then
		raise exception 'pgcast: % can''t be a type', coalesce(quote_literal(check_type.type), 'NULL')
			using errcode = 'invalid_parameter_value',
				hint = 'A type has 1 to 255 bytes, no comma and no control character.';
	end if;
	if check_type.type = 'pgcast' then
		raise exception 'pgcast: the type "pgcast" is kept for control messages'
			using errcode = 'reserved_name', hint = 'Give another type.';
	end if;
end
$$;
comment on function pgcast.check_type(text) is 'Raises when the text can''t be a type';

-- ---- the generated functions ----------------------------------------------------------------

-- How large a thing may be, in bytes: a row before it is looked at one by one, its JSON, a uid.
-- A row that may swell is looked at from 1 kB on: below, not even 1e131071 gets it past the limit.
create or replace function pgcast.snippets(number int) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	s pgcast.source := (select s from pgcast.source s where s.number = snippets.number);
	keys name[] := pgcast.keys(s.relation, s.uid_column);
	picked text := pgcast.picked(s.relation, s.columns, 'n');
	big text := case when picked is null then 'n.*' else 'c.*' end;
	uid text[];
	json text[] := array[format('to_json(%s)', big)];
	alias text;
begin
	foreach alias in array array['n', 'new', 'old', 'r'] loop
		uid := uid || coalesce(alias || '.' || quote_ident(s.uid_column) || '::text', 'null::text');
		continue when alias = 'n';
		json := json || coalesce(
			'(select to_json(c.*) from (select ' || pgcast.picked(s.relation, s.columns, alias) || ') c)',
			format('to_json(%s)', alias));
	end loop;
	if exists (select from pg_attribute a
			where a.attrelid = s.relation and a.attnum > 0 and not a.attisdropped
				and (s.columns is null or a.attname = any(s.columns)) and pgcast.swells(a.atttypid)) then
		big := format('case when pg_column_size(%1$s) > 1024 then pg_column_size(%1$s) > 1048576'
			' or pg_column_size(to_json(%1$s)) > 16777216 else false end', big);
	else
		big := format('pg_column_size(%s) > 1048576', big);
	end if;
	return array[
		/* 1 */ s.number::text,
		/* 2 */ quote_literal(s.type),
		/* 3 */ (s.uid_column is null)::text,
		/* 4 */ coalesce(' cross join lateral (select ' || picked || ') c', ''),
		/* 5 */ big || coalesce(' or octet_length(n.' || quote_ident(s.uid_column) || '::text) > 1024', ''),
		/* 6 */ case when s.bell then format('if not pg_try_advisory_xact_lock_shared(1885823794, key) then'
				' perform pg_notify(''pgcast'', %L); exit; end if;', s.type) else 'exit;' end,
		/* 7 */ coalesce((select format('json_build_object(%s)',
				string_agg(format('%1$L, r.%1$I', k.name), ', ' order by k.place))
			from unnest(keys) with ordinality k(name, place)
			where s.columns is null or k.name = any(s.columns)), '''{}''::json'),
		/* 8 */ format('%L::name[]', s.columns),
		/* 9 */ uid[1], json[1],
		/* 11 */ uid[2], json[2],
		/* 13 */ uid[3], json[3],
		/* 15 */ uid[4], json[4],
		/* 17 */ s.bell::text];
end
$$;
comment on function pgcast.snippets(int) is
	'The pieces of SQL that a watched table''s functions are put together from: 1 number, 2 type,'
	' 3 broadcast, 4 join that picks the columns, 5 whether a row needs care, 6 bell for a bridge''s key,'
	' 7 key as JSON, 8 columns, then uid and JSON of 9 n, 11 new, 13 old, 15 r, 17 whether it rings';

create or replace function pgcast.templates(out name text, out result text, out about text, out body text)
returns setof record
language sql immutable set search_path = pg_catalog, pg_temp
as $templates$
	with one(by_statement, by_row) as (values (
	-- The only one whose speed everybody's writers feel. A query costs 10 us and more to start, so
	-- there are two; what one tells the other has a label before its name, since the table may have
	-- columns of any name. The block with the exception writes nothing: its subtransaction would
	-- take a transaction id for each statement.
$$
<<our>>
declare
	slot smallint;
	bridges int[];
	care boolean;
	key int;
	r record;
begin
	begin
		select g.current, g.bridges, exists (select from /*rows*/ n%4$s where %5$s)
		into slot, bridges, care
		from pgcast.ring g;
	exception when others then
		select g.current, g.bridges, true into slot, bridges, care from pgcast.ring g;
	end;
	if care then
		for r in select * from /*rows*/ loop
			insert into pgcast.event (uid, broadcast, type, op, data, slot)
			select d.to_uid, %3$s, %2$s, '/*op*/', d.data, our.slot
			from pgcast.describe_%1$s(r) d;
		end loop;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, slot)
		select %9$s, %3$s, %2$s, '/*op*/', %10$s, our.slot
		from /*rows*/ n%4$s;
	end if;
	if found then
		foreach key in array bridges loop
			%6$s
		end loop;
	end if;
	return null;
end
$$,
	-- A row trigger rings once per transaction. Rolling back to a savepoint takes back the note of
	-- it together with the lock and the NOTIFY.
$$
declare
	to_uid text;
	data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := /*uid*/;
		data := /*data*/;
		fits := pg_column_size(data) <= 16777216
			and (to_uid is null or octet_length(to_uid) <= 1024);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_%1$s(/*row*/) d;
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, slot)
	values (to_uid, %3$s, %2$s, '/*op*/', data, (select g.current from pgcast.ring g));
	if %17$s and current_setting('pgcast.rung', true) is distinct from pg_current_xact_id()::text then
		foreach key in array (select g.bridges from pgcast.ring g) loop
			%6$s
		end loop;
		perform set_config('pgcast.rung', pg_current_xact_id()::text, true);
	end if;
	return null;
end
$$))
	select 'insert', 'trigger', 'Journals an INSERT',
		replace(replace(one.by_statement, '/*rows*/', 'new_rows'), '/*op*/', 'insert') from one
	union all
	select 'delete', 'trigger', 'Journals a DELETE',
		replace(replace(one.by_statement, '/*rows*/', 'old_rows'), '/*op*/', 'delete') from one
	union all
	select 'row_insert', 'trigger', 'Journals an inserted row',
		replace(replace(replace(replace(one.by_row, '/*uid*/', '%11$s'), '/*data*/', '%12$s'),
			'/*row*/', 'new'), '/*op*/', 'insert') from one
	union all
	select 'row_delete', 'trigger', 'Journals a deleted row',
		replace(replace(replace(replace(one.by_row, '/*uid*/', '%13$s'), '/*data*/', '%14$s'),
			'/*row*/', 'old'), '/*op*/', 'delete') from one
	union all values
	-- A row that needs care: too large, or a column is gone. Each attempt stands alone and writes
	-- nothing, so its subtransaction takes no transaction id.
	('describe', 'record', 'Makes uid and JSON of one row, whatever it holds', $$
begin
	begin
		to_uid := %15$s;
		if octet_length(to_uid) > 1024 then
			to_uid := null;
		end if;
	exception when others then
		if current_setting('pgcast.warned', true) is distinct from %1$L then
			perform set_config('pgcast.warned', %1$L, true);
			raise warning 'pgcast: a change of type %% reaches nobody: %%', quote_ident(%2$s), sqlerrm
				using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
		end if;
	end;
	begin
		data := %16$s;
	exception when others then
		begin
			data := (select json_object_agg(j.key, j.value) from json_each(to_json(r)) j
				where %8$s is null or j.key = any(%8$s));
		exception when others then
			data := null;
		end;
	end;
	if data is null or pg_column_size(data) > 16777216 then
		begin
			data := %7$s;
		exception when others then
			data := '{}';
		end;
	end if;
end
$$),
	-- Old and new rows are kept in the same order, so their numbers pair them, without a key.
	('update', 'trigger', 'Journals an UPDATE; one that moves a row to another uid as DELETE and INSERT', $$
<<our>>
declare
	slot smallint;
	bridges int[];
	care boolean;
	key int;
	old_cursor cursor for select * from old_rows;
	new_cursor cursor for select * from new_rows;
	was record;
	becomes record;
begin
	begin
		select g.current, g.bridges, exists (select from new_rows n%4$s where %5$s)
			or exists (select from old_rows n%4$s where %5$s)
		into slot, bridges, care
		from pgcast.ring g;
	exception when others then
		select g.current, g.bridges, true into slot, bridges, care from pgcast.ring g;
	end;
	if care then
		open old_cursor;
		open new_cursor;
		loop
			fetch old_cursor into was;
			exit when not found;
			fetch new_cursor into becomes;
			insert into pgcast.event (uid, broadcast, type, op, data, old, slot)
			select case when k.op = 'delete' then d.to_uid else e.to_uid end, %3$s, %2$s, k.op,
				case when k.op = 'delete' then d.data else e.data end,
				case when k.op = 'update' then d.data end,
				our.slot
			from pgcast.describe_%1$s(was) d
			cross join pgcast.describe_%1$s(becomes) e
			join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
				on k.moved = (d.to_uid is distinct from e.to_uid)
			order by k.step;
		end loop;
		close old_cursor;
		close new_cursor;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, old, slot)
		select case when k.op = 'delete' then o.uid else n.uid end, %3$s, %2$s, k.op,
			case when k.op = 'delete' then o.data else n.data end,
			case when k.op = 'update' then o.data end,
			our.slot
		from (select row_number() over () as place, %9$s as uid, %10$s as data from old_rows n%4$s) o
		join (select row_number() over () as place, %9$s as uid, %10$s as data from new_rows n%4$s) n
			on n.place = o.place
		join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
			on k.moved = (o.uid is distinct from n.uid)
		order by o.place, k.step;
	end if;
	if care or found then
		foreach key in array bridges loop
			%6$s
		end loop;
	end if;
	return null;
end
$$),
	('row_update', 'trigger', 'Journals an updated row; one that moves to another uid as DELETE and INSERT', $$
declare
	to_uid text;
	data json;
	old_uid text;
	old_data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := %11$s;
		data := %12$s;
		old_uid := %13$s;
		old_data := %14$s;
		fits := pg_column_size(data) <= 16777216 and pg_column_size(old_data) <= 16777216
			and (to_uid is null or octet_length(to_uid) <= 1024)
			and (old_uid is null or octet_length(old_uid) <= 1024);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_%1$s(new) d;
		select d.to_uid, d.data into old_uid, old_data from pgcast.describe_%1$s(old) d;
	end if;
	if to_uid is not distinct from old_uid then
		insert into pgcast.event (uid, broadcast, type, op, data, old, slot)
		values (to_uid, %3$s, %2$s, 'update', data, old_data, (select g.current from pgcast.ring g));
	else
		insert into pgcast.event (uid, broadcast, type, op, data, slot)
		values (old_uid, %3$s, %2$s, 'delete', old_data, (select g.current from pgcast.ring g)),
			(to_uid, %3$s, %2$s, 'insert', data, (select g.current from pgcast.ring g));
	end if;
	if %17$s and current_setting('pgcast.rung', true) is distinct from pg_current_xact_id()::text then
		foreach key in array (select g.bridges from pgcast.ring g) loop
			%6$s
		end loop;
		perform set_config('pgcast.rung', pg_current_xact_id()::text, true);
	end if;
	return null;
end
$$),
	-- One TRUNCATE fires for a parent and for each of its partitions, one right after the other. A
	-- partition that was detached still has the trigger, but is none of ours any more.
	('truncate', 'trigger', 'Journals a TRUNCATE, as a broadcast', $$
declare
	key int;
begin
	if not exists (select from pgcast.source s, pgcast.tree(s.relation) t
			where s.number = %1$s and t = tg_relid) then
		return null;
	end if;
	insert into pgcast.event (broadcast, type, op, slot)
	select true, %2$s, 'truncate', g.current
	from pgcast.ring g
	where not exists (
		select from (select e.type, e.op from pgcast.event e
			where e.xid = pg_current_xact_id() order by e.id desc limit 1) e
		where e.type = %2$s and e.op = 'truncate');
	foreach key in array (select g.bridges from pgcast.ring g) loop
		%6$s
	end loop;
	return null;
end
$$)
$templates$;
comment on function pgcast.templates() is
	'What pgcast.generate fills with pgcast.snippets: name and result of each function, what it is'
	' for, its body';

create or replace function pgcast.generate(number int) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	relation regclass := (select s.relation from pgcast.source s where s.number = generate.number);
	snippets text[] := pgcast.snippets(generate.number);
	by_row boolean := pgcast.row_level(relation);
	t record;
	fn text;
begin
	for t in select * from pgcast.templates() loop
		fn := format('pgcast.%I', t.name || '_' || generate.number);
		if t.name in ('insert', 'update', 'delete') and by_row or t.name like 'row%' and not by_row then
			-- Takes the triggers along.
			execute format('drop function if exists %s() cascade', fn);
			continue;
		end if;
		fn := fn || case t.result when 'trigger' then '()'
			else '(r record, out to_uid text, out data json)' end;
		-- Times in UTC, as in an init: a row looks the same whoever wrote it.
		execute format('create or replace function %s returns %s language plpgsql security definer'
			' set search_path = pg_catalog, pg_temp set timezone = ''UTC'' as %L',
			fn, t.result, format(t.body, variadic snippets));
		fn := replace(fn, ', out to_uid text, out data json', '');
		execute format('revoke all on function %s from public', fn);
		execute format('comment on function %s is %L', fn,
			t.about || ' of ' || relation || '; generated by pgcast.watch');
	end loop;
end
$$;
comment on function pgcast.generate(int) is
	'Writes a watched table''s functions anew; drops those, with their triggers, that it has no use for';

-- As the invoker: it is the table's owner who decides about triggers on it.
create or replace function pgcast.attach(number int) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	top regclass := (select s.relation from pgcast.source s where s.number = attach.number);
	cloned boolean := (select c.relkind = 'p' from pg_class c where c.oid = top);
	t record;
begin
	for t in
		select m as member, w.*
		from pgcast.tree(top) m
		cross join (values
			('insert', 'after insert', 'referencing new table as new_rows for each statement'),
			('update', 'after update',
				'referencing old table as old_rows new table as new_rows for each statement'),
			('delete', 'after delete', 'referencing old table as old_rows for each statement'),
			('row_insert', 'after insert', 'for each row'),
			('row_update', 'after update', 'for each row'),
			('row_delete', 'after delete', 'for each row'),
			('truncate', 'after truncate', 'for each statement')) w(name, event, form)
		where to_regproc(format('pgcast.%I', w.name || '_' || attach.number)) is not null
			and (m = top or not cloned or w.name = 'truncate')
			and not exists (select from pg_trigger g where g.tgrelid = m
				and g.tgfoid = to_regproc(format('pgcast.%I', w.name || '_' || attach.number)))
	loop
		execute format('create trigger %I %s on %s %s execute function pgcast.%I()',
			'00_pgcast_' || attach.number || '_' || t.name, t.event, t.member, t.form,
			t.name || '_' || attach.number);
	end loop;
end
$$;
comment on function pgcast.attach(int) is
	'Creates the triggers that a watched table and its children lack. Their names sort first: ours'
	' fire before the table''s own, whose changes come later.';

create or replace function pgcast.forget(number int) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p join pgcast.templates() t
			on p.proname = t.name || '_' || forget.number
		where p.pronamespace = 'pgcast'::regnamespace
		order by t.name = 'describe'
	loop
		execute format('drop function %s cascade', fn);
	end loop;
	delete from pgcast.source s where s.number = forget.number;
end
$$;
comment on function pgcast.forget(int) is 'Drops a watched table''s triggers, functions and settings';

create or replace function pgcast.remember(
	relation regclass, uid_column name, type text, columns name[], init_limit int, bell boolean)
returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	number int;
begin
	lock table pgcast.source in share row exclusive mode;
	perform pgcast.forget(s.number) from pgcast.source s
	where not exists (select from pg_class c where c.oid = s.relation);
	if exists (select from pgcast.source s
			where s.type = remember.type and s.relation <> remember.relation) then
		raise exception 'pgcast: the type % belongs to %', quote_literal(remember.type),
				(select s.relation from pgcast.source s where s.type = remember.type)
			using errcode = 'duplicate_object', hint = 'Give another type.';
	end if;
	update pgcast.source s
	set type = remember.type, uid_column = remember.uid_column, columns = remember.columns,
		init_limit = remember.init_limit, bell = remember.bell
	where s.relation = remember.relation
	returning s.number into number;
	if not found then
		insert into pgcast.source as s (relation, type, uid_column, columns, init_limit, bell)
		values (remember.relation, remember.type, remember.uid_column, remember.columns,
			remember.init_limit, remember.bell)
		returning s.number into number;
	end if;
	perform pgcast.generate(number);
	return number;
end
$$;
comment on function pgcast.remember(regclass, name, text, name[], int, boolean) is
	'Stores the settings of pgcast.watch and writes the functions; returns the table''s number';

-- ---- watching -------------------------------------------------------------------------------

create or replace function pgcast.check_watch(
	relation regclass, uid_column name, columns name[], init_limit int, bell boolean)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	missing name;
begin
	select * into c from pg_class where oid = check_watch.relation;
	if not found then
		raise exception 'pgcast: there is no such table'
			using errcode = 'undefined_table';
	end if;
	if c.relkind not in ('r', 'p') or c.relpersistence = 't'
			or c.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
				'pgcast'::regnamespace) then
		raise exception 'pgcast: % can''t be watched', check_watch.relation
			using errcode = 'wrong_object_type',
				hint = 'Ordinary and partitioned tables can be watched; views, foreign, temporary'
					' and system tables can''t.';
	end if;
	select w.name into missing
	from unnest(check_watch.columns || check_watch.uid_column) w(name)
	where w.name is not null and not exists (select from pg_attribute a
		where a.attrelid = check_watch.relation and a.attname = w.name
			and a.attnum > 0 and not a.attisdropped);
	if found then
		raise exception 'pgcast: % has no column %', check_watch.relation, quote_ident(missing)
			using errcode = 'undefined_column',
				hint = 'uid_column => ''name'' tells whose row it is, uid_column => null makes each'
					' change a broadcast.';
	end if;
	if check_watch.columns is not null and (cardinality(check_watch.columns) = 0
			or array_position(check_watch.columns, null) is not null
			or cardinality(check_watch.columns)
				<> (select count(distinct w.name) from unnest(check_watch.columns) w(name))) then
		raise exception 'pgcast: columns must name each column once, and at least one'
			using errcode = 'invalid_parameter_value';
	end if;
	if coalesce(check_watch.init_limit not between 0 and 100000, true) then
		raise exception 'pgcast: init_limit must be between 0 and 100000'
			using errcode = 'invalid_parameter_value';
	end if;
	if check_watch.bell is null then
		raise exception 'pgcast: bell must be true or false'
			using errcode = 'null_value_not_allowed';
	end if;
end
$$;
comment on function pgcast.check_watch(regclass, name, name[], int, boolean) is
	'Raises when the table can''t be watched, or not in this way';

create or replace function pgcast.grant_init(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	home name := (select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.oid = grant_init.relation);
begin
	if not has_table_privilege('pgcast_owner', grant_init.relation, 'select')
			and has_table_privilege(grant_init.relation, 'select with grant option') then
		execute format('grant select on %s to pgcast_owner', grant_init.relation);
	end if;
	if not has_schema_privilege('pgcast_owner', home, 'usage')
			and has_schema_privilege(home, 'usage with grant option') then
		execute format('grant usage on schema %I to pgcast_owner', home);
	end if;
	if not has_table_privilege('pgcast_owner', grant_init.relation, 'select')
			or not has_schema_privilege('pgcast_owner', home, 'usage') then
		raise warning 'pgcast: pgcast_owner may not read %, so there will be no init of it',
				grant_init.relation
			using hint = format('Let its owner run: grant usage on schema %I to pgcast_owner;'
				' grant select on %s to pgcast_owner;', home, grant_init.relation);
	end if;
end
$$;
comment on function pgcast.grant_init(regclass) is
	'Lets pgcast_owner read the table, for init; warns where the invoker can''t';

create or replace function pgcast.watch(
	relation regclass, uid_column name default 'uid', type text default null,
	columns name[] default null, init_limit int default 100, bell boolean default true)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	wanted text := watch.type;
begin
	perform pgcast.check_watch(
		watch.relation, watch.uid_column, watch.columns, watch.init_limit, watch.bell);
	select * into c from pg_class where oid = watch.relation;
	wanted := coalesce(wanted, c.relname);
	perform pgcast.check_type(wanted);
	if exists (select from pgcast.tree(watch.relation) m where not has_table_privilege(m, 'trigger')
			and (m = watch.relation or not c.relispartition)) then
		raise exception 'pgcast: % may not create triggers on %', current_user, watch.relation
			using errcode = 'insufficient_privilege',
				hint = 'Call pgcast.watch as the table''s owner, or as a role with the right TRIGGER on'
					' it; the role must be a member of pgcast_owner, too.';
	end if;
	perform pgcast.attach(pgcast.remember(watch.relation, watch.uid_column, wanted,
		watch.columns, watch.init_limit, watch.bell));
	perform pgcast.grant_init(watch.relation);
	if c.relrowsecurity then
		raise warning 'pgcast: row-level security of % does not reach clients', watch.relation
			using detail = 'Changes go to the uid in the row whatever the policies say; init reads'
				' as pgcast_owner.';
	end if;
	if watch.uid_column is not null and not exists (
			select from pg_index x join pg_attribute a
				on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
			where x.indrelid = watch.relation and a.attname = watch.uid_column
				and x.indisvalid and x.indpred is null) then
		raise warning 'pgcast: no index of % starts with %, so every init reads the whole table',
				watch.relation, quote_ident(watch.uid_column)
			using hint = format('create index on %s (%s);', watch.relation,
				(select string_agg(quote_ident(k.name), ', ' order by k.place)
				from unnest(watch.uid_column || pgcast.keys(watch.relation, watch.uid_column))
					with ordinality k(name, place)));
	end if;
end
$$;
comment on function pgcast.watch(regclass, name, text, name[], int, boolean) is
$$Journals and announces every INSERT, UPDATE, DELETE and TRUNCATE of a table, from now on. Calling it
again changes the settings; do so after renaming a column, adding a partition, a child or an AFTER ROW trigger.
  relation    an ordinary or partitioned table, or the parent of an inheritance tree
  uid_column  whose row it is, of any type, compared as text; NULL: each change is broadcast
  type        what messages say under "type": 1 to 255 bytes, no comma, of one table only; default: the table's name
  columns     what clients may see, also of old rows; NULL: everything
  init_limit  rows in an answer to init, 0 to 100000; the newest by primary key (without one: by the
              columns after uid_column in an index that begins with it, else by place in the table)
  bell        false for tables written in prepared transactions, where NOTIFY is refused: bridges then poll
Raises for what can't be watched. Warns when init will be slow, forbidden, or pass row-level security.
Needs membership in pgcast_owner and the right TRIGGER on the table. Rows of the journal keep JSON of up to
16 MiB; of a larger row, only the primary key. A uid of more than 1024 bytes is nobody's.$$;

create or replace function pgcast.unwatch(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	number int := (select s.number from pgcast.source s where s.relation = unwatch.relation);
begin
	if number is null then
		raise exception 'pgcast: % is not watched', unwatch.relation
			using errcode = 'undefined_object', hint = 'See pgcast.watched.';
	end if;
	perform pgcast.forget(number);
	if has_table_privilege(unwatch.relation, 'select with grant option') then
		execute format('revoke select on %s from pgcast_owner', unwatch.relation);
	end if;
end
$$;
comment on function pgcast.unwatch(regclass) is
	'Undoes pgcast.watch: the triggers go, the journal stays. Raises when the table isn''t watched.';

create or replace function pgcast.publish(uid text, type text, data json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	key int;
begin
	perform pgcast.check_type(publish.type);
	if octet_length(publish.uid) > 1024 or pg_column_size(publish.data) > 16777216 then
		raise exception 'pgcast: too large to publish'
			using errcode = 'program_limit_exceeded',
				hint = 'A uid has up to 1024 bytes, data up to 16 MiB.';
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, slot)
	select publish.uid, publish.uid is null, publish.type, 'publish', publish.data, g.current
	from pgcast.ring g;
	foreach key in array (select g.bridges from pgcast.ring g) loop
		if not pg_try_advisory_xact_lock_shared(1885823794, key) then
			perform pg_notify('pgcast', publish.type);
			exit;
		end if;
	end loop;
end
$$;
comment on function pgcast.publish(text, text, json) is
$$Sends an event without a table, when the transaction commits; not from prepared transactions.
  uid   for whom, up to 1024 bytes; NULL: for every client
  type  as for pgcast.watch; may be a watched table's
  data  up to 16 MiB; NULL arrives as null
Nobody may call it until its owner grants execute on it.$$;

-- ---- what the bridge calls ------------------------------------------------------------------

create or replace function pgcast.schema_version() returns int
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select m.schema_version from pgcast.meta m $$;
comment on function pgcast.schema_version() is 'The version of these objects, for bridges to compare';

create or replace function pgcast.bridge_join() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	here constant text := (select c.system_identifier::text from pg_control_system() c);
	mine int;
begin
	-- One at a time; writers only read the table and are not kept waiting.
	lock table pgcast.bridge in share row exclusive mode;
	if here <> (select m.epoch from pgcast.meta m) then
		truncate pgcast.event, pgcast.horizon;
		update pgcast.ring g set pruned_xid = '0', pruned_id = 0;
		update pgcast.meta m set epoch = here;
	end if;
	for mine in select b.key from pgcast.bridge b order by b.key loop
		if pg_try_advisory_lock(1885823793, mine) then
			-- Each row costs every writer a look: those behind this one that nobody holds go.
			delete from pgcast.bridge b
			where b.key > mine and pg_try_advisory_xact_lock(1885823793, b.key);
			return mine;
		end if;
	end loop;
	insert into pgcast.bridge (key) select coalesce(max(b.key), 0) + 1 from pgcast.bridge b
	returning key into mine;
	perform pg_advisory_lock(1885823793, mine);
	return mine;
end
$$;
comment on function pgcast.bridge_join() is
	'Gives the session a bridge''s key: it now holds the lock (1885823793, key) until it ends, and'
	' sleeps by holding (1885823794, key). Empties the journal when it comes from another cluster,'
	' whose transaction ids mean nothing here. Not on a standby.';

create or replace function pgcast.slot_in_use(slot int) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$ select exists (select from pgcast.event e where e.slot = slot_in_use.slot) $$;
comment on function pgcast.slot_in_use(int) is 'Whether the slot of the journal has rows';

create or replace function pgcast.prune(keep interval) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
	now constant timestamptz := clock_timestamp();
	settled xid8;
	slot int;
	since timestamptz;
begin
	if prune.keep is null or prune.keep < interval '0' then
		raise exception 'pgcast: keep must be an interval that is not negative'
			using errcode = 'invalid_parameter_value';
	end if;
	-- One at a time, of however many bridges.
	if not pg_try_advisory_xact_lock(1885823795, 0) then
		return 0;
	end if;
	insert into pgcast.horizon (at, xid)
	select now, pg_snapshot_xmin(pg_current_snapshot())
	where not exists (select from pgcast.horizon h where h.at > now - prune.keep / 100);
	select max(h.xid) into settled from pgcast.horizon h where h.at <= now - prune.keep;
	delete from pgcast.horizon h where h.xid < settled;

	select g.current, g.since into slot, since from pgcast.ring g;
	if now - since >= prune.keep / 2 and pgcast.slot_in_use(slot)
			and not pgcast.slot_in_use((slot + 1) % 3) then
		slot := (slot + 1) % 3;
		update pgcast.ring g set current = slot, since = now;
	end if;
	-- The oldest slot is the one that will be current next.
	return pgcast.empty_slot((slot + case when pgcast.slot_in_use((slot + 1) % 3) then 1 else 2 end) % 3,
		settled);
end
$$;
comment on function pgcast.prune(interval) is
$$Drops journal entries that have been visible for longer than keep, a third of the ring at a time, so
that some stay for up to twice as long; cursors from before them are refused with reset. Bridges call
it once a prune_interval; calling it by hand is harmless. Returns how many it dropped. Waits no longer
than 100 ms for any lock, and then does less; writers are not kept waiting.$$;

create or replace function pgcast.empty_slot(slot int, settled xid8) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	last record;
	rows bigint;
begin
	if empty_slot.settled is null or not pgcast.slot_in_use(slot) then
		return 0;
	end if;
	select count(*) into rows from pgcast.event e where e.slot = empty_slot.slot;
	-- The lock waits for those who still write there, with a snapshot from before the ring turned.
	execute format('lock table pgcast.event_%s in access exclusive mode', slot);
	select e.xid, e.id into last from pgcast.event e where e.slot = empty_slot.slot
	order by e.xid desc, e.id desc limit 1;
	if last.xid >= empty_slot.settled then
		return 0;
	end if;
	execute format('truncate pgcast.event_%s', slot);
	update pgcast.ring g set pruned_xid = last.xid, pruned_id = last.id
	where last.xid > g.pruned_xid;
	return rows;
exception when lock_not_available then
	return 0;
end
$$;
comment on function pgcast.empty_slot(int, xid8) is
	'Empties a slot in which every transaction is below settled; else, or when somebody is at work in'
	' it, does nothing. Returns the number of events.';

-- The comparison in the column's own type is there for the index, the one as text decides.
create or replace function pgcast.uid_condition(relation regclass, uid_column name, uid text)
returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	type oid;
	typename text;
	equals text;
	as_text text;
begin
	if uid_column is null then
		return 'true';
	end if;
	as_text := format('n.%I::text collate "C" = %L', uid_column, uid);
	select coalesce(nullif(t.typbasetype, 0), t.oid), format_type(a.atttypid, a.atttypmod)
	into type, typename
	from pg_attribute a join pg_type t on t.oid = a.atttypid
	where a.attrelid = uid_condition.relation and a.attname = uid_condition.uid_column
		and not a.attisdropped;
	equals := coalesce((
		select format('operator(%I.%s)', o.oprnamespace::regnamespace::name, o.oprname)
		from pg_opclass c
		join pg_amop m on m.amopfamily = c.opcfamily and m.amopstrategy = 3
			and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
		join pg_operator o on o.oid = m.amopopr
		where c.opcmethod = (select a.oid from pg_am a where a.amname = 'btree')
			and c.opcdefault and c.opcintype = type), '=');
	execute format('select %1$L::%2$s %3$s %1$L::%2$s', uid, typename, equals);
	return format('n.%I %s %L::%s and %s', uid_column, equals, uid, typename, as_text);
exception
	when undefined_function or ambiguous_function then
		return as_text;
	when data_exception or check_violation or not_null_violation then
		return 'false';
end
$$;
comment on function pgcast.uid_condition(regclass, name, text) is
	'SQL that finds a uid''s rows n: by index if there is one, and false when no value of the'
	' column''s type has that text';

create or replace function pgcast.newest(number int, uid text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set timezone = 'UTC'
as $$
declare
	s pgcast.source := (select s from pgcast.source s where s.number = newest.number);
	picked text := pgcast.picked(s.relation, s.columns, 'n');
	keys text[] := (select array_agg(format('n.%I', k.name) order by k.place)
		from unnest(pgcast.keys(s.relation, s.uid_column)) with ordinality k(name, place));
	wanted text := format('select n.* from %s n where %s order by %s desc limit %s', s.relation,
		pgcast.uid_condition(s.relation, s.uid_column, newest.uid),
		array_to_string(coalesce(keys, array['n.tableoid', 'n.ctid']), ' desc, '), s.init_limit);
	data text;
	longest int;
	list text[];
	r record;
begin
	begin
		execute format('select string_agg(x.data, '','' order by x.place desc), max(length(x.data))'
			' from (select to_json(%s.*)::text as data, row_number() over () as place'
			' from (%s) n%s) x',
			case when picked is null then 'n' else 'c' end, wanted,
			coalesce(' cross join lateral (select ' || picked || ') c', ''))
		into data, longest;
		if longest <= 16777216 or longest is null then
			return data;
		end if;
	exception when others then
		null;
	end;
	-- A row is too large, probably: one by one, then.
	for r in execute wanted loop
		execute format('select d.data::text from pgcast.describe_%s($1) d', s.number) into data using r;
		list := data || list;
	end loop;
	return array_to_string(list, ',');
end
$$;
comment on function pgcast.newest(int, text) is
	'A uid''s newest rows in a watched table as JSON, oldest first, separated by commas';

create or replace function pgcast.init(type text, uid text) returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
	number int := (select s.number from pgcast.source s where s.type = init.type);
begin
	if number is null then
		return null;
	end if;
	return format('{"type":%s,"op":"init","data":[%s]}', to_json(init.type),
		pgcast.newest(number, init.uid));
exception when others then
	raise warning 'pgcast: init of % can''t be read: %', quote_literal(init.type), sqlerrm
		using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
	return null;
end
$$;
comment on function pgcast.init(text, text) is
	'The answer to a client''s init: the uid''s newest rows, up to init_limit, oldest first, as a whole'
	' message. NULL when the type isn''t watched, or with a warning when the table can''t be read.';

create or replace function pgcast.grant_bridge(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	execute format('grant usage on schema pgcast to %I', role);
	execute format('grant select on pgcast.event, pgcast.meta, pgcast.ring, pgcast.watched to %I', role);
	execute format('grant execute on function pgcast.schema_version(), pgcast.bridge_join(),'
		' pgcast.init(text, text), pgcast.prune(interval) to %I', role);
end
$$;
comment on function pgcast.grant_bridge(name) is
	'Grants a role what a bridge needs: to read the journal and to call its functions. The role must'
	' also be able to connect, and sees every uid''s events. Raises when there is no such role.';

-- schema_version keeps the default: who may use the schema may ask for its version.
do $rights$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace and p.proname <> 'schema_version'
			and has_function_privilege('public', p.oid, 'execute')
	loop
		execute format('revoke all on function %s from public', fn);
	end loop;
end
$rights$;
revoke all on all tables in schema pgcast from public;
revoke all on all sequences in schema pgcast from public;

-- ---- the watched tables, with what is new in the above ----------------------------------------

do $again$
declare
	s record;
begin
	perform set_config('role', current_setting('pgcast.installer'), true);
	for s in select w.number, w.relation from pgcast.source w
		where exists (select from pg_class c where c.oid = w.relation) order by w.number
	loop
		perform pgcast.generate(s.number);
		begin
			perform pgcast.attach(s.number);
		exception when insufficient_privilege then
			raise warning 'pgcast: % may not create triggers on %', current_user, s.relation
				using hint = 'Let its owner, as a member of pgcast_owner, call pgcast.watch again.';
		end;
	end loop;
end
$again$;

commit;
