comment on table pgcast.meta is
	'One row: the version of these objects, and the cluster whose transaction ids the journal holds';
comment on column pgcast.meta.singleton is 'Always true: the table has one row';
comment on column pgcast.meta.schema_version is 'Grows by one with each file of upgrade steps';
comment on column pgcast.meta.epoch is 'system_identifier of the cluster that wrote the journal';

create table if not exists pgcast.source (
	number int generated always as identity primary key,
	relation regclass unique,
	type text not null unique,
	uid_column name,
	columns name[],
	init_limit int not null default 100,
	notify boolean not null default true,
	order_by name[],
	filter text,
	old text not null default 'all',
	big_as_text boolean not null default false,
	utc boolean not null default false,
	replicated boolean not null default false,
	relation_oid oid,
	uid_attnum int2,
	column_attnums int2[],
	order_attnums int2[],
	table_schema name,
	table_name name,
	members oid[]
);
comment on table pgcast.source is
	'The watched tables with the arguments of pgcast.watch; pgcast.watched is the view to read';
comment on column pgcast.source.number is 'Ends the names of the functions generated for the table';
comment on column pgcast.source.relation is 'The table; NULL: it was dropped or replaced';
comment on column pgcast.source.type is 'The value of "type" in its messages';
comment on column pgcast.source.uid_column is 'NULL: every change is broadcast';
comment on column pgcast.source.columns is 'Columns that clients may see; NULL: all';
comment on column pgcast.source.init_limit is 'Maximum number of rows in an answer to init';
comment on column pgcast.source.notify is 'false: writers never send NOTIFY, bridges poll';
comment on column pgcast.source.order_by is 'Columns that order an answer to init; NULL: the key';
comment on column pgcast.source.filter is 'Condition on the rows that clients may see; NULL: none';
comment on column pgcast.source.old is 'The part of old rows that updates carry: all, changed, key or none';
comment on column pgcast.source.big_as_text is 'true: int8 and numeric values are JSON strings';
comment on column pgcast.source.utc is 'true: timestamps without time zone end in Z';
comment on column pgcast.source.replicated is 'true: triggers fire for replicated rows, too';
comment on column pgcast.source.relation_oid is
	'The table in which the columns have the numbers below; in any other their names count';
comment on column pgcast.source.uid_attnum is 'Number of uid_column, which follows it when it is renamed';
comment on column pgcast.source.column_attnums is 'Numbers of columns';
comment on column pgcast.source.order_attnums is 'Numbers of order_by';
comment on column pgcast.source.table_schema is 'The table''s schema, for when it is made anew';
comment on column pgcast.source.table_name is 'The table''s name, for when it is made anew';
comment on column pgcast.source.members is
	'The table with its partitions and children, as clients know them; NULL: not yet recorded';
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
comment on column pgcast.event.op is 'insert, update, delete, truncate, publish or reset';
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
		select format('%s %s', case c.relkind when 'r' then 'table' else 'index' end, c.oid::regclass)
				as object,
			case c.relkind when 'r' then 'A table of the journal'
				else 'A journal table''s part of an index' end as comment
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
