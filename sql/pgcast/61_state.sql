-- The life of a watched table after pgcast.watch: it may be made anew, gain and lose partitions, lose
-- triggers, rights or its index. pgcast.watched says so, bridges look once a minute, and pgcast.rewatch
-- repairs it. A dropped or replaced table is remembered by its name, with its settings.

create or replace view pgcast.located as
select s.number, o.oid as namesake, s.relation is not null and (c.oid is null or o.oid is not null) as lost
from pgcast.source s
left join pg_catalog.pg_class c on c.oid = s.relation
left join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join lateral (
	select o.oid from pg_catalog.pg_class o join pg_catalog.pg_namespace h on h.oid = o.relnamespace
	where (c.relname, n.nspname) is distinct from (s.table_name, s.table_schema)
		and o.relname = s.table_name and h.nspname = s.table_schema
		and o.relkind in ('r', 'p') and o.relpersistence <> 't'
		and not exists (select from pgcast.source w where w.relation = o.oid) offset 0) o on true;
comment on view pgcast.located is 'Where the watched tables are';
comment on column pgcast.located.number is 'See pgcast.source';
comment on column pgcast.located.namesake is
	'Another table that has the name of the watched one, which was dropped or renamed';
comment on column pgcast.located.lost is 'The table is dropped, or another one has its name';

create or replace view pgcast.member as
with recursive member(number, top, oid) as (
	select s.number, s.relation::oid, s.relation::oid from pgcast.source s where s.relation is not null
	union
	select m.number, m.top, i.inhrelid from member m join pg_catalog.pg_inherits i on i.inhparent = m.oid
)
select m.number, m.top, m.oid from member m;
comment on view pgcast.member is 'The watched tables with their partitions and children';
comment on column pgcast.member.number is 'See pgcast.source';
comment on column pgcast.member.top is 'The watched table';
comment on column pgcast.member.oid is 'The watched table, or a partition or child of it';

-- No function of this schema is called: readers need the right to select alone.
create or replace view pgcast.watched as
select s.relation, s.type, s.uid_column, s.columns, s.init_limit, s.notify, s.order_by, s.filter, s.old,
	s.big_as_text, s.utc, s.replicated,
	coalesce(nullif(case
		when s.relation is null or l.lost then format('detached: %I.%I %s', s.table_schema, s.table_name,
			case when l.namesake is null
				then format('was dropped (create it and call pgcast.rewatch(), or call pgcast.unwatch(%L))', s.type)
				else 'is another table now (call pgcast.rewatch())' end)
		else concat_ws('; ',
			case when t.missing is not null then format('triggers are missing on %s (call pgcast.rewatch(%L))',
				t.missing::regclass, s.relation::text) end,
			case when t.disabled is not null then format('triggers are disabled on %s (call pgcast.rewatch(%L))',
				t.disabled::regclass, s.relation::text) end,
			case when t.late then format('needs row triggers, for its children or AFTER ROW triggers'
				' (call pgcast.rewatch(%L))', s.relation::text) end,
			case when t.subscribed and not s.replicated then format('replicated rows are not sent'
				' (call pgcast.watch(%L, replicated => true))', s.relation::text) end,
			case when s.uid_column is not null and ((s.relation::oid, s.uid_attnum) in (
					select x.indrelid, x.indkey[0] from pg_catalog.pg_index x
					where x.indisvalid and x.indpred is null)) is not true then
				case when not exists (select from pg_catalog.pg_attribute a where a.attrelid = s.relation
						and a.attnum = s.uid_attnum and not a.attisdropped)
					then format('the column %I is missing, so changes reach nobody (call pgcast.watch(%L,'
						' uid_column => ...))', s.uid_column, s.relation::text)
					else format('no index starts with the uid column, so each init reads the whole table'
						' (create index on %s (%I))', s.relation, s.uid_column) end end,
			case when not has_table_privilege(r.oid, s.relation, 'select') or c.relnamespace not in (
					select h.oid from pg_catalog.pg_namespace h where has_schema_privilege('pgcast_owner', h.oid, 'usage'))
				then format('pgcast_owner may not read it, so init fails (grant usage on schema %s to'
					' pgcast_owner; grant select on %s to pgcast_owner)', c.relnamespace::regnamespace,
					s.relation) end,
			case when c.relrowsecurity and not r.rolbypassrls
					and (c.relforcerowsecurity or not pg_has_role(r.oid, c.relowner, 'usage'))
					and (select not bool_or(p.polpermissive and p.shows_all)
							or bool_or(not p.polpermissive and not p.shows_all)
						from (select p.polpermissive,
								coalesce(pg_get_expr(p.polqual, p.polrelid) = 'true', false) as shows_all
							from pg_catalog.pg_policy p
							where p.polrelid = s.relation and p.polcmd in ('r', '*') and exists (
								select from unnest(p.polroles) u(oid)
								where u.oid = 0 or pg_has_role(r.oid, u.oid, 'usage'))) p
						) is not false
				then format('row-level security may hide rows from init (create policy pgcast on %s for select'
					' to pgcast_owner using (true))', s.relation) end)
		end, ''), 'ok') as state
from pgcast.source s
join pgcast.located l using (number)
cross join (select r.oid, r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = 'pgcast_owner') r
left join pg_catalog.pg_class c on c.oid = s.relation
left join (
	select m.number, min(m.oid) filter (where m.present <> case when m.by_row > 0 then 6 else 4 end) as missing,
		min(m.oid) filter (where m.enabled < m.present) as disabled,
		bool_or(m.oid = m.top and m.by_row = 0 and (m.replicated
			or m.oid in (select i.inhparent from pg_catalog.pg_inherits i)
			or m.oid in (select i.inhrelid from pg_catalog.pg_inherits i)
			or m.oid in (select t.tgrelid from pg_catalog.pg_trigger t where t.tgtype & 67 = 1
				and not t.tgisinternal and t.tgname !~ '^(00_| )pgcast_'))) as late,
		bool_or(m.oid in (select u.srrelid from pg_catalog.pg_subscription_rel u)) as subscribed
	from (
		select m.number, m.top, m.oid, m.replicated, count(t.tgname) as present, sum(t.tgtype & 1) as by_row,
			count(*) filter (where t.tgenabled = m.enabled) as enabled
		from (
			select m.number, m.top, m.oid, s.replicated, (case when s.replicated then 'A' else 'O' end)::"char" as enabled,
				(' pgcast_' || m.number || '_')::name as first, (' pgcast_' || m.number || '_z')::name as last
			from pgcast.member m join pgcast.source s on s.number = m.number
			where m.oid not in (select f.ftrelid from pg_catalog.pg_foreign_table f) offset 0) m
		left join pg_catalog.pg_trigger t on t.tgrelid = m.oid and t.tgname between m.first and m.last
		group by m.number, m.top, m.oid, m.replicated) m
	group by m.number) t on t.number = s.number;
comment on view pgcast.watched is 'The watched tables, their settings and their faults';

do $comments$
declare
	named record;
begin
	for named in
		select a.attname, case a.attname when 'state' then '"ok", or the reasons why changes do not reach'
				' clients or init is slow or fails, each with its remedy'
			else col_description('pgcast.source'::regclass, s.attnum) end as comment
		from pg_attribute a left join pg_attribute s on s.attname = a.attname
			and s.attrelid = 'pgcast.source'::regclass
		where a.attrelid = 'pgcast.watched'::regclass
	loop
		execute format('comment on column pgcast.watched.%I is %L', named.attname, named.comment);
	end loop;
end
$comments$;

create or replace function pgcast.source_of(relation regclass) returns pgcast.source
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select s from pgcast.source s join pgcast.located l using (number)
	where s.relation = source_of.relation and not l.lost or l.namesake = source_of.relation
	order by l.lost, s.relation is null, s.number limit 1
$$;
comment on function pgcast.source_of(regclass) is
	'The settings of a watched table, or of a table that was watched under its name';

create or replace function pgcast.detach(number int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	perform pgcast.drop_functions(detach.number);
	perform pgcast.write_event(null, true, s.type, 'truncate', null)
	from pgcast.source s where s.number = detach.number;
	update pgcast.source s set relation = null, members = null where s.number = detach.number;
end
$$;
comment on function pgcast.detach(int) is
	'For a table that was dropped or replaced: keeps its settings, and sends clients a truncate';

create or replace function pgcast.follow_members() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	s record;
begin
	for s in
		select w.number, w.type, w.members as before, m.members as after
		from pgcast.source w
		join (select m.number, array_agg(m.oid order by m.oid) as members from pgcast.member m
			group by m.number) m using (number)
		where w.members is distinct from m.members
	loop
		update pgcast.source w set members = s.after where w.number = s.number;
		-- After a restore the numbers are of another cluster.
		if s.before && s.after and (not s.before <@ s.after or exists (
				select from unnest(s.after) m where m <> all(s.before) and pg_relation_size(m) > 0)) then
			perform pgcast.reset_type(s.type);
		end if;
	end loop;
end
$$;
comment on function pgcast.follow_members() is
	'Sends a reset for tables that have lost partitions or children, or gained some with rows';

create or replace function pgcast.follow_crash() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	unlogged constant int[] := array(select distinct m.number from pgcast.member m
		join pg_class c on c.oid = m.oid where c.relpersistence = 'u');
	type text;
begin
	if to_regclass('pgcast.crash_marker') is not null then
		if exists (select from pgcast.crash_marker) then
			return;
		end if;
		insert into pgcast.crash_marker values (true);
		for type in select s.type from pgcast.source s where s.number = any(unlogged) order by 1 loop
			perform pgcast.write_event(null, true, type, 'truncate', null);
			perform pgcast.reset_type(type);
		end loop;
	elsif unlogged <> '{}' then
		-- Only then: pg_dump can't read it on a standby.
		create unlogged table pgcast.crash_marker (present boolean not null);
		comment on table pgcast.crash_marker is 'Has a row, unless a crash emptied unlogged tables';
		comment on column pgcast.crash_marker.present is 'Always true';
		insert into pgcast.crash_marker values (true);
	end if;
end
$$;
comment on function pgcast.follow_crash() is
	'After a crash, sends a truncate and a reset for watched unlogged tables, which it emptied';

create or replace function pgcast.follow_tables(renames boolean default true) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	lock table pgcast.source in share row exclusive mode;
	perform pgcast.detach(l.number) from pgcast.located l where l.lost;
	if follow_tables.renames then
		update pgcast.source s set table_schema = n.nspname, table_name = c.relname
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.oid = s.relation and (c.relname, n.nspname) is distinct from (s.table_name, s.table_schema);
	end if;
	perform pgcast.follow_members();
	perform pgcast.follow_crash();
end
$$;
comment on function pgcast.follow_tables(boolean) is
	'Notices tables that were dropped or replaced, changes of partitions, and crashes. `renames`: records new'
	' names, too; in the middle of a transaction that replaces a table, its name may be about to be taken.';

create or replace function pgcast.check_watched() returns table (type text, state text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
begin
	begin
		perform pgcast.follow_tables();
	exception when lock_not_available or deadlock_detected or serialization_failure then
		null;
	end;
	return query select w.type, w.state from pgcast.watched w where w.state <> 'ok'
	order by w.type collate "C";
end
$$;
comment on function pgcast.check_watched() is
	'Calls pgcast.follow_tables, unless that would wait for longer than 100 ms; returns the watched'
	' tables that are not ok. Bridges call it once a minute. Not on a standby.';

create or replace function pgcast.repair(number int) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	s pgcast.source := (select s from pgcast.source s where s.number = repair.number);
begin
	if s.relation is null then
		s.relation := (select l.namesake from pgcast.located l where l.number = repair.number);
		perform pgcast.check_watch(s);
		perform pgcast.save_source(s);
	else
		perform pgcast.generate(s.number);
	end if;
	perform pgcast.attach(s.number);
	perform pgcast.grant_init(s.relation);
end
$$;
comment on function pgcast.repair(int) is
	'Watches a table anew, with the stored settings';

create or replace function pgcast.rewatch(relation regclass default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	single constant int := (pgcast.source_of(rewatch.relation)).number;
	s record;
begin
	if rewatch.relation is not null and single is null then
		raise exception 'pgcast: % is not watched', rewatch.relation
			using errcode = 'undefined_object', hint = 'See pgcast.watched.';
	end if;
	perform pgcast.follow_tables();
	for s in
		select w.number, w.type from pgcast.source w join pgcast.located l using (number)
		where (single is null or w.number = single) and (w.relation is not null or l.namesake is not null)
		order by w.number
	loop
		begin
			perform pgcast.repair(s.number);
		exception when others then
			if single is not null then
				raise;
			end if;
			raise warning 'pgcast: the table of type % can''t be watched: %', quote_literal(s.type), sqlerrm
				using hint = 'Call pgcast.watch for it, as its owner and a member of pgcast_owner.';
		end;
	end loop;
end
$$;
comment on function pgcast.rewatch(regclass) is
$$Repairs the triggers and rights of a watched table, or of each; to be called at the end of migrations. A table that
was dropped and made anew, or replaced by another one of its name, is watched with the settings it had, and
its clients get truncate and reset. New partitions and children get triggers; clients get reset when one with
rows was attached, or one was detached or dropped. Triggers that are disabled are enabled, and functions are
written anew for the present columns. Needs the rights that pgcast.watch needs.$$;

-- Literals are of type text here, not regclass, so that a name that is not found gets a hint. These find
-- tables by the caller's search_path, and pin none.
create or replace function pgcast.find_table(name text) returns pg_catalog.regclass
language plpgsql stable
as $$
declare
	found pg_catalog.regclass := pg_catalog.to_regclass(find_table.name);
begin
	if found is null and find_table.name is not null then
		perform pgcast.no_table(find_table.name);
	end if;
	return found;
end
$$;
comment on function pgcast.find_table(text) is
	'The table of a name, which search_path may find; raises with the quoted name when only that exists';

create or replace function pgcast.no_table(name text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
	raise undefined_table using message = format('relation "%s" does not exist', no_table.name),
		hint = coalesce((
			select 'Quote the name: ' || string_agg(quote_literal(c.oid::regclass), ' or ') || '.'
			from pg_class c where c.relkind in ('r', 'p')
				and lower(replace(no_table.name, '"', '')) in (lower(c.relname),
					lower(c.relnamespace::regnamespace || '.' || c.relname))),
			'Give the name of a table, with its schema unless search_path finds it.');
end
$$;
comment on function pgcast.no_table(text) is 'Raises the error for a table that is not found';

create or replace function pgcast.watch(
	relation text, uid_column name default '', type text default null,
	columns name[] default null, init_limit int default null, notify boolean default null,
	broadcast boolean default null, order_by name[] default null, filter text default null,
	old text default null, big_as_text boolean default null, utc boolean default null,
	replicated boolean default null)
returns void
language sql
as $$ select pgcast.watch(pgcast.find_table($1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) $$;
comment on function pgcast.watch(text, name, text, name[], int, boolean, boolean, name[], text, text, boolean,
	boolean, boolean) is 'pgcast.watch(regclass, ...) for the name of a table';

create or replace function pgcast.rewatch(relation text) returns void
language sql
as $$ select pgcast.rewatch(pgcast.find_table($1)) $$;
comment on function pgcast.rewatch(text) is 'pgcast.rewatch(regclass) for the name of a table';

create or replace function pgcast.unwatch(relation text) returns void
language plpgsql
as $$
declare
	gone int := pgcast.detached(unwatch.relation);
begin
	if gone is null then
		perform pgcast.unwatch(pgcast.find_table(unwatch.relation));
	else
		perform pgcast.drop_source(gone);
	end if;
end
$$;
comment on function pgcast.unwatch(text) is
	'pgcast.unwatch(regclass) for the name of a table, or for the type or name of one that was dropped';

create or replace function pgcast.detached(name text) returns int
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select s.number from pgcast.source s join pgcast.located l using (number)
	where (s.relation is null or l.lost) and l.namesake is null and detached.name in (s.type,
		quote_ident(s.table_name), format('%I.%I', s.table_schema, s.table_name))
	order by detached.name <> s.type limit 1
$$;
comment on function pgcast.detached(text) is 'The number of a watched table that was dropped, by type or name';
