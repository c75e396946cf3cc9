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
