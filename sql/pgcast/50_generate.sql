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

create or replace function pgcast.save_source(source pgcast.source) returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	lock table pgcast.source in share row exclusive mode;
	perform pgcast.drop_source(s.number) from pgcast.source s
	where not exists (select from pg_class c where c.oid = s.relation);
	if exists (select from pgcast.source s
			where s.type = source.type and s.relation <> source.relation) then
		raise exception 'pgcast: the type % belongs to %', quote_literal(source.type),
				(select s.relation from pgcast.source s where s.type = source.type)
			using errcode = 'duplicate_object', hint = 'Give another type.';
	end if;
	source.number := coalesce(
		(select s.number from pgcast.source s where s.relation = source.relation),
		nextval('pgcast.source_number_seq'));
	delete from pgcast.source s where s.number = source.number;
	insert into pgcast.source overriding system value values (source.*);
	perform pgcast.generate(source.number);
	return source.number;
end
$$;
comment on function pgcast.save_source(pgcast.source) is
	'Stores the arguments of pgcast.watch and writes the functions; returns the table''s number';
