create or replace function pgcast.check_watch(source pgcast.source) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	missing name;
begin
	select * into c from pg_class where oid = source.relation;
	if not found then
		raise exception 'pgcast: no such table'
			using errcode = 'undefined_table';
	end if;
	if c.relkind not in ('r', 'p') or c.relpersistence = 't'
			or c.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
				'pgcast'::regnamespace) then
		raise exception 'pgcast: % can''t be watched', source.relation
			using errcode = 'wrong_object_type',
				hint = 'Ordinary and partitioned tables can be watched; views, foreign, temporary'
					' and system tables can''t.';
	end if;
	select w.name into missing
	from unnest(source.columns || source.order_by || source.uid_column) w(name)
	where w.name is not null and not exists (select from pg_attribute a
		where a.attrelid = source.relation and a.attname = w.name
			and a.attnum > 0 and not a.attisdropped);
	if found then
		raise exception 'pgcast: % has no column %', source.relation, quote_ident(missing)
			using errcode = 'undefined_column',
				hint = coalesce((
					select format('The column %s exists: names of columns are given as they are, without double'
						' quotes.', quote_literal(a.attname))
					from pg_attribute a
					where a.attrelid = source.relation and a.attnum > 0 and not a.attisdropped
						and lower(a.attname) = lower(btrim(missing, '"'))),
					'uid_column => ''name'' names the column with the uid, uid_column => null makes each change'
					' a broadcast.');
	end if;
	if source.columns is not null and (cardinality(source.columns) = 0
			or array_position(source.columns, null) is not null
			or cardinality(source.columns)
				<> (select count(distinct w.name) from unnest(source.columns) w(name))) then
		raise exception 'pgcast: columns must name each column once, and at least one'
			using errcode = 'invalid_parameter_value';
	end if;
	if source.init_limit not between 0 and pgcast.constant('max_init_limit') then
		raise exception 'pgcast: init_limit must be between 0 and %', pgcast.constant('max_init_limit')
			using errcode = 'invalid_parameter_value';
	end if;
	if source.filter is not null then
		-- With the names that the trigger functions find, and no others.
		execute format(E'select from %s n where (%s\n) limit 0', source.relation, source.filter);
	end if;
	if source.old not in ('all', 'changed', 'key', 'none') then
		raise exception 'pgcast: old must be all, changed, key or none'
			using errcode = 'invalid_parameter_value';
	end if;
end
$$;
comment on function pgcast.check_watch(pgcast.source) is
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

create or replace function pgcast.warn(s pgcast.source) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	member regclass;
begin
	if (select c.relrowsecurity from pg_class c where c.oid = s.relation) then
		raise warning 'pgcast: row-level security of % does not reach clients', s.relation
			using detail = concat('Changes are sent to the uid in the row regardless of the policies; init'
				' reads as pgcast_owner', ', under: ' || (
					select string_agg(format('%I to %s using (%s)', p.polname,
						case when p.polroles = '{0}' then 'public'
							else (select string_agg(quote_ident(pg_get_userbyid(r)), ', ')
								from unnest(p.polroles) r) end,
						pg_get_expr(p.polqual, p.polrelid)), '; ' order by p.polname)
					from pg_policy p where p.polrelid = s.relation and p.polcmd in ('r', '*')), '.'),
				hint = format('create policy pgcast on %s for select to pgcast_owner using (true);', s.relation);
	end if;
	if exists (select from pg_class c where c.oid = s.relation and c.relpersistence = 'u') then
		raise warning 'pgcast: % is unlogged', s.relation
			using detail = 'A crash of the server empties it; bridges notice that when they connect again, and'
				' send a truncate.';
	end if;
	for member in
		select m from pgcast.tree(s.relation) m join pg_foreign_table f on f.ftrelid = m
	loop
		raise warning 'pgcast: % is a foreign table', member
			using detail = 'Changes that other servers make in it are not sent, nor is its TRUNCATE.';
	end loop;
	if not s.replicated and exists (select from pgcast.tree(s.relation) m
			join pg_subscription_rel u on u.srrelid = m) then
		raise warning 'pgcast: a subscription writes to %, and replicated rows are not sent', s.relation
			using hint = 'Call pgcast.watch with replicated => true.';
	end if;
	if exists (select from pg_index x where x.indrelid = s.relation and x.indisprimary
			and not x.indimmediate) then
		raise warning 'pgcast: the primary key of % is deferrable', s.relation
			using detail = 'A row that takes the key of one that another transaction deletes may be journaled'
				' before that delete, and clients then lose it.';
	end if;
	if s.uid_column is not null and not exists (
			select from pg_index x join pg_attribute a
				on a.attrelid = x.indrelid and a.attnum = x.indkey[0]
			where x.indrelid = s.relation and a.attname = s.uid_column
				and x.indisvalid and x.indpred is null) then
		raise warning 'pgcast: no index of % starts with %, so every init reads the whole table',
				s.relation, quote_ident(s.uid_column)
			using hint = format('create index on %s (%s);', s.relation,
				(select string_agg(quote_ident(k.name), ', ' order by k.place)
				from unnest(s.uid_column || pgcast.keys(s.relation, s.uid_column))
					with ordinality k(name, place)));
	end if;
end
$$;
comment on function pgcast.warn(pgcast.source) is 'Warns of properties of a watched table that limit it';

create or replace function pgcast.watch(
	relation regclass, uid_column name default '', type text default null,
	columns name[] default null, init_limit int default null, notify boolean default null,
	broadcast boolean default null, order_by name[] default null, filter text default null,
	old text default null, big_as_text boolean default null, utc boolean default null,
	replicated boolean default null)
returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	c pg_class;
	s pgcast.source := pgcast.source_of(watch.relation);
begin
	select * into c from pg_class where oid = watch.relation;
	if watch.broadcast and watch.uid_column <> '' or not watch.broadcast and watch.uid_column is null then
		raise exception 'pgcast: broadcast and uid_column contradict each other'
			using errcode = 'invalid_parameter_value';
	end if;
	-- Settings that are not given stay as they were.
	if s.relation = watch.relation then
		s := pgcast.resolve(s);
	end if;
	s.uid_column := case
		when watch.broadcast or watch.uid_column is null then null
		when watch.uid_column <> '' then watch.uid_column
		when s.number is null or not watch.broadcast and s.uid_column is null then 'uid'
		else s.uid_column end;
	s.relation := watch.relation;
	s.type := coalesce(watch.type, s.type, c.relname);
	s.columns := case when watch.columns = '{*}' then null else coalesce(watch.columns, s.columns) end;
	s.init_limit := coalesce(watch.init_limit, s.init_limit, 100);
	s.notify := coalesce(watch.notify, s.notify, true);
	s.order_by := nullif(coalesce(watch.order_by, s.order_by), '{}');
	s.filter := nullif(coalesce(watch.filter, s.filter), '');
	s.old := coalesce(watch.old, s.old, 'all');
	s.big_as_text := coalesce(watch.big_as_text, s.big_as_text, false);
	s.utc := coalesce(watch.utc, s.utc, false);
	s.replicated := coalesce(watch.replicated, s.replicated, false);
	perform pgcast.check_watch(s);
	perform pgcast.check_type(s.type);
	if exists (select from pgcast.tree(s.relation) m where not has_table_privilege(m, 'trigger')
			and (m = s.relation or not c.relispartition)) then
		raise exception 'pgcast: % may not create triggers on %', current_user, s.relation
			using errcode = 'insufficient_privilege',
				hint = 'Call pgcast.watch as the table''s owner, or as a role with the right TRIGGER on'
					' it; the role must be a member of pgcast_owner, too.';
	end if;
	perform pgcast.attach(pgcast.save_source(s));
	perform pgcast.grant_init(s.relation);
	perform pgcast.warn(s);
end
$$;
comment on function pgcast.watch(regclass, name, text, name[], int, boolean, boolean, name[], text, text, boolean,
	boolean, boolean) is
$$Journals and announces every INSERT, UPDATE, DELETE and TRUNCATE of a table, from now on. Calling it
again changes the settings that are given and leaves the others as they were; do so after adding
a partition, a child or an AFTER ROW trigger, or renaming a column of a filter.
  relation    an ordinary or partitioned table, or the parent of an inheritance tree
  uid_column  column with the uid, of any type, compared as text; default: uid; NULL: as broadcast => true
  type        "type" of its messages: 1 to 255 bytes, no comma, of one table only; default: the table's name
  columns     columns that clients may see, also of old rows; default and '{*}': all
  init_limit  rows in an answer to init, 0 to 100000, the newest by order_by; default: 100
  notify      false for tables written in prepared transactions, where NOTIFY is refused: bridges then poll
  broadcast   true: each change is sent to every client
  order_by    columns whose greatest values make the newest rows of an answer to init; default: the key
  filter      condition on a row of which clients see the rows that meet it; names other than its columns and
              PostgreSQL's own need their schema. A row that leaves is a delete, one that enters an insert.
  old         old rows of updates: all, changed (columns that differ), key, none; default: all
  big_as_text true: int8 and numeric values are JSON strings, which JavaScript does not round
  utc         true: timestamps without time zone end in Z, as those of most ORMs, which are in UTC
An UPDATE is sent if clients see a difference. One that changes the uid or the primary key is a delete and an
insert; the deletes of a statement come before its inserts. Columns keep their role when they are renamed.
Raises when the table can't be watched. Warns when init is slow, forbidden, or passes row-level security.
Needs membership in pgcast_owner and the right TRIGGER on the table. Rows of the journal keep JSON of up to
16 MiB; of a larger row, only the primary key. Rows with a uid of more than 255 bytes reach nobody.$$;

create or replace function pgcast.unwatch(relation regclass) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	s pgcast.source := pgcast.source_of(unwatch.relation);
begin
	if s.number is null then
		raise exception 'pgcast: % is not watched', unwatch.relation
			using errcode = 'undefined_object', hint = 'See pgcast.watched.';
	end if;
	perform pgcast.drop_source(s.number);
	if has_table_privilege(unwatch.relation, 'select with grant option') then
		execute format('revoke select on %s from pgcast_owner', unwatch.relation);
	end if;
end
$$;
comment on function pgcast.unwatch(regclass) is
	'Undoes pgcast.watch: drops the triggers, keeps the journal. Raises when the table isn''t watched.';
