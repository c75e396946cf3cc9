-- pgcast: journals every change of the watched tables and notifies sleeping bridges.
--
-- Installs, or upgrades an older version, in one transaction:
--
--     psql -v ON_ERROR_STOP=1 -f pgcast.sql
--
-- Needs PostgreSQL 13 or later and a role that may create objects in the database and roles
-- (CREATEROLE); once the role pgcast_owner exists, membership in it is enough. Running it again
-- changes nothing. uninstall.sql removes everything.
--
-- Each watched table is a row of pgcast.source. From that row pgcast.generate writes trigger
-- functions with static SQL. They insert one row per change and uid into the journal, pgcast.event,
-- in the writer's own transaction, and send NOTIFY when a bridge sleeps. All objects belong to
-- pgcast_owner, which can't log in and is no superuser. Writers reach them through SECURITY DEFINER
-- functions with a pinned search_path.
--
-- In a checkout the parts are files of their own; the installed file holds them all.

begin;

set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;

-- ---- pgcast/00_owner.sql ----

do $install$
declare
	remedy constant text := 'Run it as a superuser or as a role with CREATEROLE, or let one create'
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
				using errcode = 'insufficient_privilege', hint = remedy;
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
				using errcode = 'insufficient_privilege', hint = remedy;
		end;
	end if;
	if to_regnamespace('pgcast') is null then
		create schema pgcast authorization pgcast_owner;
	elsif (select n.nspowner from pg_namespace n where n.nspname = 'pgcast')
			<> to_regrole('pgcast_owner') then
		raise exception 'pgcast: the schema pgcast exists and has another owner'
			using hint = 'alter schema pgcast owner to pgcast_owner; or drop it.';
	end if;
	-- From here on all objects are created as the owner; the locks of an upgrade and the triggers
	-- on watched tables need the installing role again.
	perform set_config('pgcast.installer', current_setting('role'), true);
	perform set_config('role', 'pgcast_owner', true);
end
$install$;

comment on schema pgcast is 'pgcast: pushes changes of watched tables to WebSocket clients';

create table if not exists pgcast.meta (
	singleton boolean primary key default true check (singleton),
	schema_version int not null,
	epoch text not null
);

-- ---- pgcast/01_version.sql ----

-- A writer that has entered a trigger function fails when the function's tables change before it
-- reaches them. So an upgrade first waits until no transaction that wrote to a watched table is
-- open, and keeps new ones out. It gives up all locks and tries again before any writer has waited
-- long enough to look for a deadlock. It tries for lock_timeout or, if that is 0, for a minute.
-- Attempts differ in length: one that blocks a writer who blocks it is lost, and many short ones
-- pass between short transactions where a few long ones do not.
do $version$
declare
	newest constant int := 3;
	present int;
	attempt_limit constant interval := current_setting('deadlock_timeout')::interval / 2;
	attempt interval;
	last_attempt constant timestamptz := clock_timestamp()
		+ coalesce(nullif(current_setting('lock_timeout')::interval, '0'), '60 s');
	attempt_end timestamptz;
	t record;
	relation text;
begin
	insert into pgcast.meta (schema_version, epoch)
	select newest, c.system_identifier::text from pg_control_system() c
	on conflict do nothing;
	present := (select m.schema_version from pgcast.meta m);
	if present > newest then
		raise exception 'pgcast: schema version % is installed, this file has the older version %',
			present, newest
			using hint = 'Use the pgcast.sql that belongs to the newest pgcast you run.';
	elsif present < 2 then
		raise exception 'pgcast: schema version % is older than the first release', present
			using hint = 'Remove it with uninstall.sql, install again, and call pgcast.watch again.';
	elsif present = newest then
		return;
	end if;
	perform set_config('role', current_setting('pgcast.installer'), true);
	loop
		begin
			attempt := greatest(attempt_limit / 2 ^ floor(random() * 6), '1 ms');
			attempt_end := clock_timestamp() + attempt;
			perform set_config('lock_timeout', (extract(epoch from attempt) * 1000)::int::text, true);
			-- No table becomes watched from here on.
			relation := 'pgcast.source';
			lock table pgcast.source in share row exclusive mode;
			for t in
				select c.oid::regclass as member, 'share row exclusive' as mode
				from pgcast.source s join pg_class c on c.oid = s.relation
				union all
				select c.oid, 'access exclusive' from pg_class c
				where c.relnamespace = 'pgcast'::regnamespace and c.relkind in ('r', 'p')
					and not c.relispartition
				order by mode desc, member
			loop
				relation := t.member;
				perform set_config('lock_timeout', greatest(1,
					extract(epoch from attempt_end - clock_timestamp()) * 1000)::int::text, true);
				execute format('lock table %s in %s mode', relation, t.mode);
			end loop;
			exit;
		exception
			when lock_not_available or deadlock_detected then
				if clock_timestamp() > last_attempt then
					raise exception 'pgcast: % is in use by long transactions', relation
						using errcode = 'lock_not_available',
							hint = 'Run this file again when they have ended: an upgrade needs a moment'
								' in which no transaction that wrote to a watched table is open.';
				end if;
			when insufficient_privilege then
				raise exception 'pgcast: % may not lock %, whose writers would fail during the upgrade',
						current_user, relation
					using errcode = 'insufficient_privilege',
						hint = 'Run this file as a superuser or as the owner of the watched tables.';
		end;
		perform pg_sleep(extract(epoch from attempt));
	end loop;
	perform set_config('lock_timeout', (extract(epoch from attempt_limit) * 1000)::int::text, true);
	perform set_config('role', 'pgcast_owner', true);
end
$version$;

-- ---- upgrade/2--3.sql ----

-- A step renames and drops objects that later parts do not replace. Writers wait during it: it must
-- not rewrite or index the journal. Tables and the view are renamed, so that grants survive.
do $step$
declare
	c record;
begin
	if (select m.schema_version from pgcast.meta m) <> 2 then
		return;
	end if;
	drop trigger tell_bridges on pgcast.bridge;
	drop function pgcast.tell_bridges(), pgcast.templates(), pgcast.snippets(int),
		pgcast.picked(regclass, name[], text), pgcast.swells(oid), pgcast.forget(int),
		pgcast.remember(regclass, name, text, name[], int, boolean),
		pgcast.check_watch(regclass, name, name[], int, boolean),
		pgcast.watch(regclass, name, text, name[], int, boolean),
		pgcast.slot_in_use(int), pgcast.empty_slot(int, xid8);
	alter table pgcast.ring rename to rotation;
	alter table pgcast.rotation rename one to singleton;
	alter table pgcast.meta rename one to singleton;
	alter table pgcast.event rename slot to journal_table;
	alter table pgcast.source rename bell to notify;
	alter view pgcast.watched rename bell to notify;
	for c in
		select o.conrelid::regclass as relation, o.conname as before,
			regexp_replace(regexp_replace(regexp_replace(regexp_replace(o.conname,
				'^ring_', 'rotation_'), '_one_', '_singleton_'), '_slot_', '_journal_table_'),
				'_bell_', '_notify_') as after
		from pg_constraint o
		where o.connamespace = 'pgcast'::regnamespace and o.conrelid <> 0 and o.coninhcount = 0
	loop
		if c.before <> c.after then
			execute format('alter table %s rename constraint %I to %I', c.relation, c.before, c.after);
		end if;
	end loop;
	update pgcast.meta m set schema_version = 3;
end
$step$;

-- ---- pgcast/10_constants.sql ----

-- Advisory locks are (class, key of the bridge); the daemon knows the class lock_asleep, too.
--   lock_alive    'pgc1'  held by a bridge's session until it ends
--   lock_asleep   'pgc2'  held by a bridge that waits for NOTIFY; writers try it shared
--   lock_pruning  'pgc3'  held by pgcast.prune, with key 0
-- Rows larger than slow_path_bytes are encoded one at a time. A row that may expand is measured from
-- expandable_bytes on: below, not even 1e131071 makes its JSON larger than max_json_bytes.
create or replace function pgcast.constants() returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	select jsonb_build_object(
		'lock_alive', 1885823793,
		'lock_asleep', 1885823794,
		'lock_pruning', 1885823795,
		'max_json_bytes', 16 * 1024 * 1024,
		'max_uid_bytes', 1024,
		'max_type_bytes', 255,
		'max_init_limit', 100000,
		'slow_path_bytes', 1024 * 1024,
		'expandable_bytes', 1024)
$$;
comment on function pgcast.constants() is 'Classes of advisory locks, and limits';

-- The planner replaces a call by its value.
create or replace function pgcast.constant(name text) returns int
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
	if pgcast.constants() ? constant.name then
		return pgcast.constants()->>constant.name;
	end if;
	raise exception 'pgcast: unknown constant %', quote_literal(constant.name);
end
$$;
comment on function pgcast.constant(text) is 'One of pgcast.constants; raises when it is unknown';

create or replace function pgcast.fill(template text, variables jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
	-- Text and names alternate. Values are not searched for placeholders.
	pieces constant text[] := string_to_array(template, '@');
	name text;
begin
	if cardinality(pieces) % 2 = 0 then
		raise exception 'pgcast: a template has a placeholder without an end';
	end if;
	select p.piece into name from unnest(pieces) with ordinality p(piece, place)
	where p.place % 2 = 0 and variables->>p.piece is null;
	if found then
		raise exception 'pgcast: placeholder @%@ has no value', name;
	end if;
	return (select string_agg(
			case when p.place % 2 = 0 then variables->>p.piece else p.piece end, '' order by p.place)
		from unnest(pieces) with ordinality p(piece, place));
end
$$;
comment on function pgcast.fill(text, jsonb) is
	'Replaces each @name@ in a template by the variable of that name; raises when it has no value';

-- ---- pgcast/20_tables.sql ----

comment on table pgcast.meta is
	'One row: the version of these objects, and the cluster whose transaction ids the journal holds';
comment on column pgcast.meta.singleton is 'Always true: the table has one row';
comment on column pgcast.meta.schema_version is 'Grows by one with each file of upgrade steps';
comment on column pgcast.meta.epoch is 'system_identifier of the cluster that wrote the journal';

create table if not exists pgcast.source (
	number int generated always as identity primary key,
	relation regclass not null unique,
	type text not null unique,
	uid_column name,
	columns name[],
	init_limit int not null,
	notify boolean not null
);
comment on table pgcast.source is
	'The watched tables with the arguments of pgcast.watch; pgcast.watched is the view to read';
comment on column pgcast.source.number is 'Ends the names of the functions generated for the table';
comment on column pgcast.source.relation is 'The table';
comment on column pgcast.source.type is 'The value of "type" in its messages';
comment on column pgcast.source.uid_column is 'NULL: every change is broadcast';
comment on column pgcast.source.columns is 'Columns that clients may see; NULL: all';
comment on column pgcast.source.init_limit is 'Maximum number of rows in an answer to init';
comment on column pgcast.source.notify is 'false: writers never send NOTIFY, bridges poll';
comment on sequence pgcast.source_number_seq is 'Numbers of pgcast.source';

create table if not exists pgcast.rotation (
	singleton boolean primary key default true check (singleton),
	current smallint not null default 0 check (current between 0 and 2),
	since timestamptz not null default clock_timestamp(),
	pruned_xid xid8 not null default '0',
	pruned_id bigint not null default 0,
	bridges int[] not null default '{}'
);
comment on table pgcast.rotation is
	'One row: the table of the journal that writers fill. The journal rotates among three tables.';
comment on column pgcast.rotation.singleton is 'Always true: the table has one row';
comment on column pgcast.rotation.current is 'Number of the table that writers fill';
comment on column pgcast.rotation.since is 'Time since which they fill it';
comment on column pgcast.rotation.pruned_xid is 'The greatest transaction id that has been pruned';
comment on column pgcast.rotation.pruned_id is 'The greatest event id of that transaction';
comment on column pgcast.rotation.bridges is
	'The keys of pgcast.bridge, so that one row holds all that a writer has to read';

insert into pgcast.rotation default values on conflict do nothing;

create table if not exists pgcast.horizon (
	at timestamptz primary key default clock_timestamp(),
	xid xid8 not null
);
comment on table pgcast.horizon is
	'When pgcast.prune saw transactions ended: retention counts from there, not from the writing';
comment on column pgcast.horizon.at is 'Time of the observation';
comment on column pgcast.horizon.xid is 'All transactions below it had ended';

create table if not exists pgcast.bridge (
	key int primary key,
	joined timestamptz not null default clock_timestamp()
);
comment on table pgcast.bridge is
	'One row per bridge: the key of its two advisory locks. Rows are reused, not kept up to date.';
comment on column pgcast.bridge.key is 'Second key of its advisory locks';
comment on column pgcast.bridge.joined is 'Time at which the row was made';

create or replace function pgcast.copy_bridge_keys() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	update pgcast.rotation g set bridges = b.keys
	from (select array(select b.key from pgcast.bridge b order by b.key) as keys) b
	where g.bridges <> b.keys;
	return null;
end
$$;
comment on function pgcast.copy_bridge_keys() is 'Keeps pgcast.rotation.bridges up to date';

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
	journal_table smallint not null
) partition by list (journal_table);
comment on table pgcast.event is 'The journal: one row per change and uid';
comment on column pgcast.event.id is 'Ascends along the changes of a row, not along commits';
comment on column pgcast.event.xid is 'The top-level transaction that made the change';
comment on column pgcast.event.uid is 'The uid that the event belongs to; NULL: everybody or nobody';
comment on column pgcast.event.broadcast is 'true: for every client';
comment on column pgcast.event.type is 'The watched table''s type, or the argument of pgcast.publish';
comment on column pgcast.event.op is 'insert, update, delete, truncate or publish';
comment on column pgcast.event.data is 'The new row; of a delete the old row; of a truncate NULL';
comment on column pgcast.event.old is 'The old row of an update, else NULL';
comment on column pgcast.event.at is 'Time of the change, not of the commit';
comment on column pgcast.event.journal_table is 'Number of the table that holds the row';

-- TRUNCATE empties these tables: to vacuum rows that were only inserted would be work for nothing.
create table if not exists pgcast.event_0 partition of pgcast.event for values in (0)
	with (autovacuum_vacuum_insert_threshold = -1);
create table if not exists pgcast.event_1 partition of pgcast.event for values in (1)
	with (autovacuum_vacuum_insert_threshold = -1);
create table if not exists pgcast.event_2 partition of pgcast.event for values in (2)
	with (autovacuum_vacuum_insert_threshold = -1);

create or replace view pgcast.watched as
select s.relation, s.type, s.uid_column, s.columns, s.init_limit, s.notify
from pgcast.source s
where exists (select from pg_catalog.pg_class c where c.oid = s.relation);
comment on view pgcast.watched is 'The watched tables and their settings';

do $rest$
declare
	named record;
begin
	-- CREATE INDEX IF NOT EXISTS waits for writers even when the index exists.
	if to_regclass('pgcast.event_uid') is null then
		-- Their cost for a writer of one row and, per row, of 1000: event_xid 2.0 and 1.3 us, event_uid
		-- 2.2 and 1.6. A third one, of broadcasts alone, would cost all others 1.8 and 0.4.
		create index event_xid on pgcast.event (xid, id);
		create index event_uid on pgcast.event (uid, id);
	end if;
	if not exists (select from pg_trigger t where t.tgname = 'copy_bridge_keys'
			and t.tgrelid = 'pgcast.bridge'::regclass) then
		create trigger copy_bridge_keys after insert or update or delete or truncate on pgcast.bridge
			for each statement execute function pgcast.copy_bridge_keys();
	end if;
	for named in
		select format('column pgcast.watched.%I', a.attname) as object,
			col_description('pgcast.source'::regclass, s.attnum) as comment
		from pg_attribute a join pg_attribute s using (attname)
		where a.attrelid = 'pgcast.watched'::regclass and s.attrelid = 'pgcast.source'::regclass
		union all
		select format('%s %s', case c.relkind when 'r' then 'table' else 'index' end, c.oid::regclass),
			case c.relkind when 'r' then 'A table of the journal'
				else 'A journal table''s part of an index' end
		from pg_class c where c.relispartition and c.relnamespace = 'pgcast'::regnamespace
	loop
		execute format('comment on %s is %L', named.object, named.comment);
	end loop;
end
$rest$;
comment on trigger copy_bridge_keys on pgcast.bridge is 'Keeps pgcast.rotation.bridges up to date';
comment on index pgcast.event_xid is 'Finds the events after a position, of all uids';
comment on index pgcast.event_uid is
	'Finds the events after a position, of some uids, and those without a uid';
comment on index pgcast.meta_pkey is 'One row at most';
comment on index pgcast.rotation_pkey is 'One row at most';
comment on index pgcast.horizon_pkey is 'Times of observations';
comment on index pgcast.bridge_pkey is 'Keys of bridges';
comment on index pgcast.source_pkey is 'Numbers of watched tables';
comment on index pgcast.source_relation_key is 'A table is watched once';
comment on index pgcast.source_type_key is 'A type belongs to one table';

-- ---- pgcast/30_relations.sql ----

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
	' or child, and fire after the table''s own AFTER ROW triggers: if one of them updated the row just'
	' inserted, the update would be journaled before the insert.';

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
	'The columns that order a table''s rows by age: its primary key; without one, the columns after the'
	' uid in the first index that begins with it; else NULL';

create or replace function pgcast.select_list(relation regclass, columns name[], alias text) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select case when select_list.columns is not null then coalesce(
		(select string_agg(format('%1$s.%2$I as %2$I', select_list.alias, c.name), ', ' order by c.place)
		from unnest(select_list.columns) with ordinality c(name, place)
		join pg_attribute a on a.attrelid = select_list.relation and a.attname = c.name
			and a.attnum > 0 and not a.attisdropped), 'null as "?"') end
$$;
comment on function pgcast.select_list(regclass, name[], text) is
	'The select list of the columns that clients may see and that still exist; NULL: all of them';

create or replace function pgcast.may_expand(type oid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive base(oid, typtype, typnamespace, next, is_array) as (
		select t.oid, t.typtype, t.typnamespace,
			case when t.typtype = 'd' then t.typbasetype when t.typcategory = 'A' then t.typelem end,
			t.typtype <> 'd' and t.typcategory = 'A'
		from pg_type t where t.oid = may_expand.type
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
comment on function pgcast.may_expand(oid) is
	'Whether the JSON of a value of the type may be many times larger than its stored form: 1e100000 in'
	' a jsonb value takes a few bytes. A single numeric has at most 147 kB of text and does not count.';

create or replace function pgcast.check_type(type text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
	if check_type.type is null or check_type.type = '' or check_type.type ~ '[[:cntrl:],]'
			or octet_length(check_type.type) > pgcast.constant('max_type_bytes') then
		raise exception 'pgcast: invalid type %', coalesce(quote_literal(check_type.type), 'NULL')
			using errcode = 'invalid_parameter_value',
				hint = format('A type has 1 to %s bytes, no comma and no control character.',
					pgcast.constant('max_type_bytes'));
	end if;
	if check_type.type = 'pgcast' then
		raise exception 'pgcast: the type "pgcast" is reserved for control messages'
			using errcode = 'reserved_name', hint = 'Give another type.';
	end if;
end
$$;
comment on function pgcast.check_type(text) is 'Raises when the text is no valid type';

-- ---- pgcast/40_template_statement.sql ----

-- Its speed matters to every writer. To start a query costs 10 us and more, so there are two. Their
-- shared variables are labelled, since the table may have columns of any name. The block with the
-- exception writes nothing: its subtransaction would take a transaction id for each statement.
create or replace function pgcast.template_statement() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	key int;
	r record;
begin
	begin
		select g.current, g.bridges, exists (select from @rows@ n@join_columns@ where @is_slow@)
		into journal_table, bridges, slow_path
		from pgcast.rotation g;
	exception when others then
		select g.current, g.bridges, true into journal_table, bridges, slow_path from pgcast.rotation g;
	end;
	if slow_path then
		for r in select * from @rows@ loop
			insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
			select d.to_uid, @broadcast@, @type@, '@op@', d.data, our.journal_table
			from pgcast.describe_@number@(r) d;
		end loop;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		select @n_uid@, @broadcast@, @type@, '@op@', @n_json@, our.journal_table
		from @rows@ n@join_columns@;
	end if;
	if found then
		foreach key in array bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_statement() is
	'Body of the functions that journal a statement''s inserted or deleted rows';

-- ---- pgcast/41_template_update.sql ----

-- Old and new rows are kept in the same order, so their numbers pair them, without a key. A session
-- keeps the plan of its first call, which may have been for one row: so one row has a statement of its
-- own, and many rows are paired by sorting, not by a join whose plan could be a nested loop.
create or replace function pgcast.template_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	many boolean;
	key int;
	old_cursor cursor for select * from old_rows;
	new_cursor cursor for select * from new_rows;
	old_row record;
	new_row record;
begin
	begin
		select g.current, g.bridges, exists (select from new_rows n@join_columns@ where @is_slow@)
			or exists (select from old_rows n@join_columns@ where @is_slow@),
			exists (select from new_rows offset 1)
		into journal_table, bridges, slow_path, many
		from pgcast.rotation g;
	exception when others then
		select g.current, g.bridges, true into journal_table, bridges, slow_path from pgcast.rotation g;
	end;
	if slow_path then
		open old_cursor;
		open new_cursor;
		loop
			fetch old_cursor into old_row;
			exit when not found;
			fetch new_cursor into new_row;
			insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
			select case when k.op = 'delete' then o.to_uid else n.to_uid end, @broadcast@, @type@, k.op,
				case when k.op = 'delete' then o.data else n.data end,
				case when k.op = 'update' then o.data end,
				our.journal_table
			from pgcast.describe_@number@(old_row) o
			cross join pgcast.describe_@number@(new_row) n
			join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
				on k.moved = (o.to_uid is distinct from n.to_uid)
			order by k.step;
		end loop;
		close old_cursor;
		close new_cursor;
	elsif many then
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select case when k.op = 'delete' then o.uid else o.new_uid end, @broadcast@, @type@, k.op,
			case when k.op = 'delete' then o.data else o.new_data end,
			case when k.op = 'update' then o.data end,
			our.journal_table
		from (
			select b.place, b.version, b.uid, b.data,
				lead(b.uid) over pair as new_uid, lead(b.data) over pair as new_data
			from (
				select 1 as version, row_number() over () as place, @n_uid@ as uid, @n_json@ as data
				from old_rows n@join_columns@
				union all
				select 2, row_number() over (), @n_uid@, @n_json@ from new_rows n@join_columns@) b
			window pair as (order by b.place, b.version)) o
		join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
			on k.moved = (o.uid is distinct from o.new_uid)
		where o.version = 1
		order by o.place, k.step;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select case when k.op = 'delete' then o.uid else n.uid end, @broadcast@, @type@, k.op,
			case when k.op = 'delete' then o.data else n.data end,
			case when k.op = 'update' then o.data end,
			our.journal_table
		from (select @n_uid@ as uid, @n_json@ as data from old_rows n@join_columns@) o
		cross join (select @n_uid@ as uid, @n_json@ as data from new_rows n@join_columns@) n
		join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
			on k.moved = (o.uid is distinct from n.uid)
		order by k.step;
	end if;
	if slow_path or found then
		foreach key in array bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_update() is
	'Body of the function that journals a statement''s updated rows';

-- ---- pgcast/42_template_row.sql ----

create or replace function pgcast.template_row() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	to_uid text;
	data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := @row_uid@;
		data := @row_json@;
		fits := pg_column_size(data) <= @max_json_bytes@
			and (to_uid is null or octet_length(to_uid) <= @max_uid_bytes@);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_@number@(@row@) d;
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	values (to_uid, @broadcast@, @type@, '@op@', data, (select g.current from pgcast.rotation g));
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row() is
	'Body of the functions that journal an inserted or deleted row';

-- Rolling back to a savepoint undoes the setting together with the lock and the NOTIFY.
create or replace function pgcast.template_notify_once() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$if current_setting('pgcast.notified', true)
			is distinct from pg_current_xact_id()::text then
		foreach key in array (select g.bridges from pgcast.rotation g) loop
			@notify_bridge@
		end loop;
		perform set_config('pgcast.notified', pg_current_xact_id()::text, true);
	end if;$template$ $function$;
comment on function pgcast.template_notify_once() is
	'Sends NOTIFY at the first changed row of a transaction';

-- ---- pgcast/43_template_row_update.sql ----

create or replace function pgcast.template_row_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	to_uid text;
	data json;
	old_uid text;
	old_data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := @new_uid@;
		data := @new_json@;
		old_uid := @old_uid@;
		old_data := @old_json@;
		fits := pg_column_size(data) <= @max_json_bytes@ and pg_column_size(old_data) <= @max_json_bytes@
			and (to_uid is null or octet_length(to_uid) <= @max_uid_bytes@)
			and (old_uid is null or octet_length(old_uid) <= @max_uid_bytes@);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_@number@(new) d;
		select d.to_uid, d.data into old_uid, old_data from pgcast.describe_@number@(old) d;
	end if;
	if to_uid is not distinct from old_uid then
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		values (to_uid, @broadcast@, @type@, 'update', data, old_data,
			(select g.current from pgcast.rotation g));
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		values (old_uid, @broadcast@, @type@, 'delete', old_data, (select g.current from pgcast.rotation g)),
			(to_uid, @broadcast@, @type@, 'insert', data, (select g.current from pgcast.rotation g));
	end if;
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row_update() is
	'Body of the function that journals an updated row';

-- ---- pgcast/44_template_truncate.sql ----

-- One TRUNCATE fires for a parent and for each of its partitions, one right after the other. A
-- partition that was detached keeps the trigger, but is no longer part of the watched table.
create or replace function pgcast.template_truncate() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	key int;
begin
	if not exists (select from pgcast.source s, pgcast.tree(s.relation) t
			where s.number = @number@ and t = tg_relid) then
		return null;
	end if;
	insert into pgcast.event (broadcast, type, op, journal_table)
	select true, @type@, 'truncate', g.current
	from pgcast.rotation g
	where not exists (
		select from (select e.type, e.op from pgcast.event e
			where e.xid = pg_current_xact_id() order by e.id desc limit 1) e
		where e.type = @type@ and e.op = 'truncate');
	foreach key in array (select g.bridges from pgcast.rotation g) loop
		@notify_bridge@
	end loop;
	return null;
end
$template$ $function$;
comment on function pgcast.template_truncate() is
	'Body of the function that journals a TRUNCATE';

-- ---- pgcast/45_template_describe.sql ----

-- The row is too large, or a column is missing. Each attempt stands alone and writes nothing, so its
-- subtransaction takes no transaction id.
create or replace function pgcast.template_describe() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
begin
	begin
		to_uid := @r_uid@;
		if octet_length(to_uid) > @max_uid_bytes@ then
			to_uid := null;
		end if;
	exception when others then
		if current_setting('pgcast.warned', true) is distinct from '@number@' then
			perform set_config('pgcast.warned', '@number@', true);
			raise warning 'pgcast: a change of type % reaches nobody: %', quote_ident(@type@), sqlerrm
				using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
		end if;
	end;
	begin
		data := @r_json@;
	exception when others then
		begin
			data := (select json_object_agg(j.key, j.value) from json_each(to_json(r)) j
				where @columns@ is null or j.key = any(@columns@));
		exception when others then
			data := null;
		end;
	end;
	if data is null or pg_column_size(data) > @max_json_bytes@ then
		begin
			data := @r_key@;
		exception when others then
			data := '{}';
		end;
	end if;
end
$template$ $function$;
comment on function pgcast.template_describe() is
	'Body of the function that makes uid and JSON of any row of a table';

-- ---- pgcast/50_generate.sql ----

create or replace function pgcast.generated(out name text, out by_row boolean, out op text,
	out changed_row text, out scope text, out about text, out template text)
returns setof record
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	values
		('insert', false, 'insert', 'new', 'referencing new table as new_rows for each statement',
			'Journals an INSERT', pgcast.template_statement()),
		('update', false, 'update', null,
			'referencing old table as old_rows new table as new_rows for each statement',
			'Journals an UPDATE; one that moves a row to another uid as DELETE and INSERT',
			pgcast.template_update()),
		('delete', false, 'delete', 'old', 'referencing old table as old_rows for each statement',
			'Journals a DELETE', pgcast.template_statement()),
		('row_insert', true, 'insert', 'new', 'for each row', 'Journals an inserted row',
			pgcast.template_row()),
		('row_update', true, 'update', null, 'for each row',
			'Journals an updated row; one that moves to another uid as DELETE and INSERT',
			pgcast.template_row_update()),
		('row_delete', true, 'delete', 'old', 'for each row', 'Journals a deleted row',
			pgcast.template_row()),
		('truncate', null, 'truncate', null, 'for each statement', 'Journals a TRUNCATE, as a broadcast',
			pgcast.template_truncate()),
		('describe', null, null, null, null, 'Makes uid and JSON of any row', pgcast.template_describe())
$$;
comment on function pgcast.generated() is
	'The functions that are generated for a watched table: name, whether row triggers use it (NULL: both'
	' kinds), operation, row that is journaled, form of the trigger (NULL: no trigger function), comment,'
	' body';

create or replace function pgcast.variables(number int) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	s pgcast.source := (select s from pgcast.source s where s.number = variables.number);
	list text := pgcast.select_list(s.relation, s.columns, 'n');
	visible text := case when list is null then 'n.*' else 'c.*' end;
	vars jsonb := pgcast.constants() || jsonb_build_object(
		'number', s.number, 'type', quote_literal(s.type), 'broadcast', s.uid_column is null,
		'columns', format('%L::name[]', s.columns),
		'join_columns', coalesce(' cross join lateral (select ' || list || ') c', ''),
		'n_json', format('to_json(%s)', visible), 'visible', visible,
		'r_key', coalesce((select format('json_build_object(%s)',
				string_agg(format('%1$L, r.%1$I', k.name), ', ' order by k.place))
			from unnest(pgcast.keys(s.relation, s.uid_column)) with ordinality k(name, place)
			where s.columns is null or k.name = any(s.columns)), '''{}''::json'));
	alias text;
begin
	foreach alias in array array['n', 'new', 'old', 'r'] loop
		vars := jsonb_build_object(
			alias || '_uid', coalesce(alias || '.' || quote_ident(s.uid_column) || '::text', 'null::text'),
			alias || '_json', coalesce('(select to_json(c.*) from (select '
				|| pgcast.select_list(s.relation, s.columns, alias) || ') c)', format('to_json(%s)', alias)))
			|| vars;
	end loop;
	vars := vars || jsonb_build_object(
		'is_slow', pgcast.fill(case when exists (select from pg_attribute a
				where a.attrelid = s.relation and a.attnum > 0 and not a.attisdropped
					and (s.columns is null or a.attname = any(s.columns))
					and pgcast.may_expand(a.atttypid))
			then 'case when pg_column_size(@visible@) > @expandable_bytes@'
				' then pg_column_size(@visible@) > @slow_path_bytes@'
				' or pg_column_size(to_json(@visible@)) > @max_json_bytes@ else false end'
			else 'pg_column_size(@visible@) > @slow_path_bytes@' end
			|| case when s.uid_column is null then '' else ' or octet_length(@n_uid@) > @max_uid_bytes@' end,
			vars),
		'notify_bridge', case when s.notify
			then pgcast.fill('if not pg_try_advisory_xact_lock_shared(@lock_asleep@, key) then'
				' perform pg_notify(''pgcast'', @type@); exit; end if;', vars)
			else 'exit;' end);
	return vars || jsonb_build_object('notify_once',
		case when s.notify then pgcast.fill(pgcast.template_notify_once(), vars) else '' end);
end
$$;
comment on function pgcast.variables(int) is
	'The values of the templates'' placeholders for a watched table: pieces of SQL, and constants';

create or replace function pgcast.generate(number int) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	relation regclass := (select s.relation from pgcast.source s where s.number = generate.number);
	vars jsonb := pgcast.variables(generate.number);
	by_row boolean := pgcast.row_level(relation);
	t record;
	fn text;
begin
	for t in select * from pgcast.generated() loop
		fn := format('pgcast.%I', t.name || '_' || generate.number);
		if t.by_row <> by_row then
			-- Drops the triggers, too.
			execute format('drop function if exists %s() cascade', fn);
			continue;
		end if;
		-- Times in UTC, as in an answer to init: the JSON of a row does not depend on the writer. A plan
		-- that was made for a bulk statement would keep its JIT flags, and be compiled for each row.
		execute format('create or replace function %s%s language plpgsql security definer'
			' set search_path = pg_catalog, pg_temp set timezone = ''UTC'' set jit = off as %L', fn,
			case when t.scope is null then '(r record, out to_uid text, out data json) returns record'
				else '() returns trigger' end,
			pgcast.fill(t.template, vars || jsonb_build_object('op', t.op, 'row', t.changed_row,
				'rows', t.changed_row || '_rows', 'row_uid', vars->(t.changed_row || '_uid'),
				'row_json', vars->(t.changed_row || '_json'))));
		fn := fn || case when t.scope is null then '(record)' else '()' end;
		execute format('revoke all on function %s from public', fn);
		execute format('comment on function %s is %L', fn,
			t.about || ' of ' || relation || '; generated by pgcast.watch');
	end loop;
end
$$;
comment on function pgcast.generate(int) is
	'Writes a watched table''s functions anew; drops those, with their triggers, that it does not need';

-- With the caller's rights: the table's owner decides about triggers on it.
create or replace function pgcast.attach(number int) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	top regclass := (select s.relation from pgcast.source s where s.number = attach.number);
	cloned boolean := (select c.relkind = 'p' from pg_class c where c.oid = top);
	t record;
begin
	for t in
		select m as member, w.name, w.op, w.scope, p.oid::regproc as fn
		from pgcast.tree(top) m
		cross join pgcast.generated() w
		join pg_proc p on p.proname = w.name || '_' || attach.number
			and p.pronamespace = 'pgcast'::regnamespace
		where w.scope is not null
			and (m = top or not cloned or w.name = 'truncate')
			and not exists (select from pg_trigger g where g.tgrelid = m and g.tgfoid = p.oid)
	loop
		execute format('create trigger %I after %s on %s %s execute function %s()',
			'00_pgcast_' || attach.number || '_' || t.name, t.op, t.member, t.scope, t.fn);
	end loop;
end
$$;
comment on function pgcast.attach(int) is
	'Creates the triggers that a watched table and its children lack. Their names sort first: they'
	' fire before the table''s own, whose changes come later.';

create or replace function pgcast.drop_source(number int) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p join pgcast.generated() w
			on p.proname = w.name || '_' || drop_source.number
		where p.pronamespace = 'pgcast'::regnamespace
	loop
		execute format('drop function %s cascade', fn);
	end loop;
	delete from pgcast.source s where s.number = drop_source.number;
end
$$;
comment on function pgcast.drop_source(int) is
	'Drops a watched table''s triggers, functions and settings';

create or replace function pgcast.save_source(
	relation regclass, uid_column name, type text, columns name[], init_limit int, notify boolean)
returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
	number int;
begin
	lock table pgcast.source in share row exclusive mode;
	perform pgcast.drop_source(s.number) from pgcast.source s
	where not exists (select from pg_class c where c.oid = s.relation);
	if exists (select from pgcast.source s
			where s.type = save_source.type and s.relation <> save_source.relation) then
		raise exception 'pgcast: the type % belongs to %', quote_literal(save_source.type),
				(select s.relation from pgcast.source s where s.type = save_source.type)
			using errcode = 'duplicate_object', hint = 'Give another type.';
	end if;
	insert into pgcast.source as s (relation, type, uid_column, columns, init_limit, notify)
	values (save_source.relation, save_source.type, save_source.uid_column, save_source.columns,
		save_source.init_limit, save_source.notify)
	on conflict (relation) do update set type = excluded.type, uid_column = excluded.uid_column,
		columns = excluded.columns, init_limit = excluded.init_limit, notify = excluded.notify
	returning s.number into number;
	perform pgcast.generate(number);
	return number;
end
$$;
comment on function pgcast.save_source(regclass, name, text, name[], int, boolean) is
	'Stores the arguments of pgcast.watch and writes the functions; returns the table''s number';

-- ---- pgcast/60_watch.sql ----

create or replace function pgcast.check_watch(
	relation regclass, uid_column name, columns name[], init_limit int, notify boolean)
returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	missing name;
begin
	select * into c from pg_class where oid = check_watch.relation;
	if not found then
		raise exception 'pgcast: no such table'
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
				hint = 'uid_column => ''name'' names the column with the uid, uid_column => null makes each'
					' change a broadcast.';
	end if;
	if check_watch.columns is not null and (cardinality(check_watch.columns) = 0
			or array_position(check_watch.columns, null) is not null
			or cardinality(check_watch.columns)
				<> (select count(distinct w.name) from unnest(check_watch.columns) w(name))) then
		raise exception 'pgcast: columns must name each column once, and at least one'
			using errcode = 'invalid_parameter_value';
	end if;
	if coalesce(check_watch.init_limit not between 0 and pgcast.constant('max_init_limit'), true) then
		raise exception 'pgcast: init_limit must be between 0 and %', pgcast.constant('max_init_limit')
			using errcode = 'invalid_parameter_value';
	end if;
	if check_watch.notify is null then
		raise exception 'pgcast: notify must be true or false'
			using errcode = 'null_value_not_allowed';
	end if;
end
$$;
comment on function pgcast.check_watch(regclass, name, name[], int, boolean) is
	'Raises when the table can''t be watched, or not with these arguments';

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
	'Lets pgcast_owner read the table, for init; warns where the caller may not grant that';

create or replace function pgcast.watch(
	relation regclass, uid_column name default 'uid', type text default null,
	columns name[] default null, init_limit int default 100, notify boolean default true)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	wanted text := watch.type;
begin
	perform pgcast.check_watch(
		watch.relation, watch.uid_column, watch.columns, watch.init_limit, watch.notify);
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
	perform pgcast.attach(pgcast.save_source(watch.relation, watch.uid_column, wanted,
		watch.columns, watch.init_limit, watch.notify));
	perform pgcast.grant_init(watch.relation);
	if c.relrowsecurity then
		raise warning 'pgcast: row-level security of % does not reach clients', watch.relation
			using detail = 'Changes are sent to the uid in the row regardless of the policies; init'
				' reads as pgcast_owner.';
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
  uid_column  column with the uid, of any type, compared as text; NULL: each change is broadcast
  type        "type" of its messages: 1 to 255 bytes, no comma, of one table only; default: the table's name
  columns     columns that clients may see, also of old rows; NULL: all
  init_limit  rows in an answer to init, 0 to 100000; the newest by primary key (without one: by the
              columns after uid_column in an index that begins with it, else by place in the table)
  notify      false for tables written in prepared transactions, where NOTIFY is refused: bridges then poll
Raises when the table can't be watched. Warns when init is slow, forbidden, or passes row-level security.
Needs membership in pgcast_owner and the right TRIGGER on the table. Rows of the journal keep JSON of up to
16 MiB; of a larger row, only the primary key. Rows with a uid of more than 1024 bytes reach nobody.$$;

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
	perform pgcast.drop_source(number);
	if has_table_privilege(unwatch.relation, 'select with grant option') then
		execute format('revoke select on %s from pgcast_owner', unwatch.relation);
	end if;
end
$$;
comment on function pgcast.unwatch(regclass) is
	'Undoes pgcast.watch: drops the triggers, keeps the journal. Raises when the table isn''t watched.';

-- ---- pgcast/70_publish.sql ----

create or replace function pgcast.publish(uid text, type text, data json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	key int;
begin
	perform pgcast.check_type(publish.type);
	if octet_length(publish.uid) > pgcast.constant('max_uid_bytes')
			or pg_column_size(publish.data) > pgcast.constant('max_json_bytes') then
		raise exception 'pgcast: too large to publish'
			using errcode = 'program_limit_exceeded',
				hint = format('A uid has up to %s bytes, data up to %s.',
					pgcast.constant('max_uid_bytes'), pgcast.constant('max_json_bytes'));
	end if;
	-- Before the event''s id is drawn, as in a trigger: see pgcast.low_id.
	perform pg_current_xact_id();
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	select publish.uid, publish.uid is null, publish.type, 'publish', publish.data, g.current
	from pgcast.rotation g;
	foreach key in array (select g.bridges from pgcast.rotation g) loop
		if not pg_try_advisory_xact_lock_shared(pgcast.constant('lock_asleep'), key) then
			perform pg_notify('pgcast', publish.type);
			exit;
		end if;
	end loop;
end
$$;
comment on function pgcast.publish(text, text, json) is
$$Sends an event without a table, when the transaction commits; not in prepared transactions.
  uid   its receiver, up to 1024 bytes; NULL: every client
  type  as for pgcast.watch; may be a watched table's
  data  up to 16 MiB; NULL arrives as null
Only its owner may call it, until execute on it is granted.$$;

-- ---- pgcast/80_bridge.sql ----

create or replace function pgcast.schema_version() returns int
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select m.schema_version from pgcast.meta m $$;
comment on function pgcast.schema_version() is 'The version of these objects, for bridges to compare';

create or replace function pgcast.from_utf8(bytes bytea) returns text
language plpgsql immutable strict set search_path = pg_catalog, pg_temp
as $$
begin
	return convert_from(bytes, 'UTF8');
exception when untranslatable_character or character_not_in_repertoire then
	return null;
end
$$;
comment on function pgcast.from_utf8(bytea) is
	'A text from its UTF-8 form; NULL, which equals nothing, when this database''s encoding can''t hold it';

-- A transaction above m that is not delivered may have drawn ids below the anchor only if it was in
-- progress when the position was taken. There were at most so many of those as the server has
-- connections and prepared transactions, and they are the first ones above m. Ranges are cut at the
-- transactions in progress now, whose events would be read in vain.
create or replace function pgcast.low_id(m xid8, open xid8[], anchor bigint) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive running as materialized (
		select array(select x from pg_snapshot_xip(pg_current_snapshot()) x
			where x > low_id.m order by x limit 16) as xids
	), first(xid, id, hi, n) as (
		select e.xid, e.id, r.hi, 1
		from running cross join unnest(low_id.m || running.xids,
			running.xids || pg_snapshot_xmax(pg_current_snapshot())) r(lo, hi)
		cross join lateral (select e.xid, e.id from pgcast.event e
			where e.xid > r.lo and e.xid < r.hi order by e.xid, e.id limit 1) e
		union all
		select e.xid, e.id, f.hi, f.n + 1
		from first f
		cross join lateral (select e.xid, e.id from pgcast.event e
			where e.xid > f.xid and e.xid < f.hi order by e.xid, e.id limit 1) e
		where f.n < current_setting('max_connections')::int
			+ current_setting('max_prepared_transactions')::int
	)
	select least(low_id.anchor, (select min(f.id) - 1 from first f), (
		select min(e.id) - 1 from unnest(low_id.open) o
		cross join lateral (select e.id from pgcast.event e
			where e.xid = o order by e.xid, e.id limit 1) e
		where o <> all (array(select pg_snapshot_xip(pg_current_snapshot())))))
$$;
comment on function pgcast.low_id(xid8, xid8[], bigint) is
	'The id behind which all events are that a position (m, open), given by the event anchor, does not'
	' have';

create or replace function pgcast.bridge_join() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	cluster constant text := (select c.system_identifier::text from pg_control_system() c);
	own_key int;
begin
	-- One at a time. Writers do not wait: they do not write to the table.
	lock table pgcast.bridge in share row exclusive mode;
	if cluster <> (select m.epoch from pgcast.meta m) then
		truncate pgcast.event, pgcast.horizon;
		update pgcast.rotation g set pruned_xid = '0', pruned_id = 0;
		update pgcast.meta m set epoch = cluster;
	end if;
	for own_key in select b.key from pgcast.bridge b order by b.key loop
		if pg_try_advisory_lock(pgcast.constant('lock_alive'), own_key) then
			-- Each row costs every writer time: delete later ones that no bridge holds.
			delete from pgcast.bridge b
			where b.key > own_key
				and pg_try_advisory_xact_lock(pgcast.constant('lock_alive'), b.key);
			return own_key;
		end if;
	end loop;
	insert into pgcast.bridge (key) select coalesce(max(b.key), 0) + 1 from pgcast.bridge b
	returning key into own_key;
	perform pg_advisory_lock(pgcast.constant('lock_alive'), own_key);
	return own_key;
end
$$;
comment on function pgcast.bridge_join() is
	'Gives the session the key of a bridge: it holds the advisory lock (lock_alive, key) until it ends,'
	' and sleeps by holding (lock_asleep, key); see pgcast.constants. Empties a journal that comes from'
	' another cluster, whose transaction ids mean nothing here. Not on a standby.';

create or replace function pgcast.grant_bridge(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	execute format('grant usage on schema pgcast to %I', role);
	execute format('grant select on pgcast.event, pgcast.meta, pgcast.rotation, pgcast.watched to %I',
		role);
	execute format('grant execute on function pgcast.schema_version(), pgcast.bridge_join(),'
		' pgcast.init(text, text), pgcast.prune(interval) to %I', role);
end
$$;
comment on function pgcast.grant_bridge(name) is
	'Grants a role the rights of a bridge: to read the journal and to call the functions that bridges'
	' use. The role must also be able to connect. It sees every uid''s events.';

-- ---- pgcast/81_prune.sql ----

create or replace function pgcast.table_in_use(journal_table int) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$ select exists (select from pgcast.event e where e.journal_table = table_in_use.journal_table) $$;
comment on function pgcast.table_in_use(int) is 'Whether a table of the journal has rows';

create or replace function pgcast.prune(keep interval) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
	now constant timestamptz := clock_timestamp();
	settled xid8;
	active int;
	since timestamptz;
begin
	if prune.keep is null or prune.keep < interval '0' then
		raise exception 'pgcast: keep must be an interval that is not negative'
			using errcode = 'invalid_parameter_value';
	end if;
	-- One bridge at a time.
	if not pg_try_advisory_xact_lock(pgcast.constant('lock_pruning'), 0) then
		return 0;
	end if;
	insert into pgcast.horizon (at, xid)
	select now, pg_snapshot_xmin(pg_current_snapshot())
	where not exists (select from pgcast.horizon h where h.at > now - prune.keep / 100);
	-- PostgreSQL 13 and 14 have no max(xid8).
	select h.xid into settled from pgcast.horizon h
	where h.at <= now - prune.keep order by h.xid desc limit 1;
	delete from pgcast.horizon h where h.xid < settled;

	select g.current, g.since into active, since from pgcast.rotation g;
	if now - since >= prune.keep / 2 and pgcast.table_in_use(active)
			and not pgcast.table_in_use((active + 1) % 3) then
		active := (active + 1) % 3;
		update pgcast.rotation g set current = active, since = now;
	end if;
	-- The oldest table is the one that will be current next.
	return pgcast.empty_table(
		(active + case when pgcast.table_in_use((active + 1) % 3) then 1 else 2 end) % 3, settled);
end
$$;
comment on function pgcast.prune(interval) is
$$Drops journal entries that have been visible for longer than keep, one of three tables at a time, so
that some stay for up to twice as long; cursors from before them are refused with reset. Bridges call
it once a prune_interval; calling it by hand is harmless. Returns the number of entries that it dropped.
Waits up to 100 ms for any lock, and then does less; writers do not wait.$$;

create or replace function pgcast.empty_table(journal_table int, settled xid8) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	last record;
	rows bigint;
begin
	if settled is null or not pgcast.table_in_use(journal_table) then
		return 0;
	end if;
	select count(*) into rows from pgcast.event e
	where e.journal_table = empty_table.journal_table;
	-- The lock waits for transactions that write there with a snapshot from before the rotation.
	execute format('lock table pgcast.event_%s in access exclusive mode', journal_table);
	select e.xid, e.id into last from pgcast.event e
	where e.journal_table = empty_table.journal_table order by e.xid desc, e.id desc limit 1;
	if last.xid >= settled then
		return 0;
	end if;
	execute format('truncate pgcast.event_%s', journal_table);
	update pgcast.rotation g set pruned_xid = last.xid, pruned_id = last.id
	where last.xid > g.pruned_xid;
	return rows;
exception when lock_not_available then
	return 0;
end
$$;
comment on function pgcast.empty_table(int, xid8) is
	'Empties a table of the journal in which every transaction is below settled; else, or when a'
	' session is writing to it, does nothing. Returns the number of events.';

-- ---- pgcast/82_init.sql ----

-- The comparison in the column's own type is for the index, the one as text decides.
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
	list text := pgcast.select_list(s.relation, s.columns, 'n');
	keys text[] := (select array_agg(format('n.%I', k.name) order by k.place)
		from unnest(pgcast.keys(s.relation, s.uid_column)) with ordinality k(name, place));
	query text := format('select n.* from %s n where %s order by %s desc limit %s', s.relation,
		pgcast.uid_condition(s.relation, s.uid_column, newest.uid),
		array_to_string(coalesce(keys, array['n.tableoid', 'n.ctid']), ' desc, '), s.init_limit);
	data text;
	all_fit bool;
	rows text[];
	total bigint := 0;
	r record;
begin
	begin
		execute format('select string_agg(x.data, '','' order by x.place desc)'
			' filter (where x.fits), bool_and(x.fits)'
			' from (select y.*,'
			' sum(length(y.data)) filter (where y.fits) over (order by y.place) as total'
			' from (select d.*, length(d.data) <= %4$s as fits'
			' from (select to_json(%1$s.*)::text as data, row_number() over () as place'
			' from (%2$s) n%3$s) d) y) x where x.place = 1 or x.total <= %4$s or x.total is null',
			case when list is null then 'n' else 'c' end, query,
			coalesce(' cross join lateral (select ' || list || ') c', ''),
			pgcast.constant('max_json_bytes'))
		into data, all_fit;
		if all_fit is not false then
			return data;
		end if;
	exception
		when lock_not_available then
			raise;
		when others then
			null;
	end;
	-- A row is too large, probably: read them one by one.
	for r in execute query loop
		execute format('select d.data::text from pgcast.describe_%s($1) d', s.number) into data using r;
		total := total + length(data);
		exit when total > pgcast.constant('max_json_bytes') and rows is not null;
		rows := data || rows;
	end loop;
	return array_to_string(rows, ',');
end
$$;
comment on function pgcast.newest(int, text) is
	'A uid''s newest rows in a watched table as JSON, oldest first, separated by commas';

create or replace function pgcast.init(type text, uid text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
	number int := (select s.number from pgcast.source s where s.type = init.type);
begin
	if number is null then
		return null;
	end if;
	return format('{"type":%s,"op":"init","data":[%s]}', to_json(init.type),
		pgcast.newest(number, init.uid));
exception
	when query_canceled or lock_not_available then
		return 'timeout';
	when others then
		raise warning 'pgcast: init of % failed: %', quote_literal(init.type), sqlerrm
			using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
		return null;
end
$$;
comment on function pgcast.init(text, text) is
	'The answer to a client''s init: the uid''s newest rows, up to init_limit, oldest first, as a whole'
	' message. NULL when the type isn''t watched, or with a warning when the table can''t be read;'
	' ''timeout'' when that takes longer than statement_timeout, or the table is locked.';

-- The time limit may strike anywhere in here, so nothing of any length stands outside the block.
create or replace function pgcast.find_answer(type text, uid text) returns int
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	return length(set_config('pgcast.answer',
		coalesce(pgcast.init(find_answer.type, find_answer.uid), 'unknown_type'), true));
exception when query_canceled then
	return length(set_config('pgcast.answer', 'timeout', true));
end
$$;
comment on function pgcast.find_answer(text, text) is
	'Leaves the answer to init, or the reason why there is none, in the setting pgcast.answer of the'
	' transaction; returns its length. It has the caller''s rights.';

-- ---- pgcast/90_finish.sql ----

-- Roles that may use the schema may ask for its version, and bridges call the others.
do $rights$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace
			and p.proname not in ('schema_version', 'from_utf8', 'low_id', 'find_answer')
			and has_function_privilege('public', p.oid, 'execute')
	loop
		execute format('revoke all on function %s from public', fn);
	end loop;
end
$rights$;
revoke all on all tables in schema pgcast from public;
revoke all on all sequences in schema pgcast from public;

-- The functions and triggers of the watched tables, by the templates above.
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
