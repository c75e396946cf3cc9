create or replace function pgcast.generated(out name text, out by_row boolean, out op text,
	out changed_row text, out scope text, out about text, out template text, out timing text)
returns setof record
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	values
		('insert', false, 'insert', 'new', 'referencing new table as new_rows for each statement',
			'Journals an INSERT', pgcast.template_statement(), 'after'),
		('update', false, 'update', null,
			'referencing old table as old_rows new table as new_rows for each statement',
			'Journals an UPDATE; one that moves a row to another uid as DELETE and INSERT',
			pgcast.template_update(), 'after'),
		('delete', false, 'delete', 'old', 'referencing old table as old_rows for each statement',
			'Journals a DELETE', pgcast.template_statement(), 'after'),
		('row_insert', true, 'insert', 'new', 'for each row', 'Journals an inserted row',
			pgcast.template_row(), 'after'),
		('row_update', true, 'update', null, 'for each row',
			'Journals an updated row; one that moves to another uid as DELETE and INSERT',
			pgcast.template_row_update(), 'after'),
		('begin_update', true, 'update', null, 'for each statement', 'Begins an UPDATE',
			pgcast.template_begin_update(), 'before'),
		('end_update', true, 'update', null, 'for each statement', 'Ends an UPDATE',
			pgcast.template_end_update(), 'after'),
		('row_delete', true, 'delete', 'old', 'for each row', 'Journals a deleted row',
			pgcast.template_row(), 'after'),
		('truncate', null, 'truncate', null, 'for each statement', 'Journals a TRUNCATE, as a broadcast',
			pgcast.template_truncate(), 'after'),
		('describe', null, null, null, null, 'Makes identity and JSON of any row', pgcast.template_describe(), null)
$$;
comment on function pgcast.generated() is
	'The functions that are generated for a watched table: name, whether row triggers use it (NULL: both'
	' kinds), operation, row that is journaled, form of the trigger (NULL: no trigger function), comment,'
	' body, when the trigger fires';

create or replace function pgcast.changed(old json, new json) returns json
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	select ('{' || coalesce(string_agg(to_json(o.key)::text || ':' || o.value::text, ',' order by o.place), '')
		|| '}')::json
	from json_each(changed.old) with ordinality o(key, value, place)
	left join json_each(changed.new) n on n.key = o.key
	where o.value::text is distinct from n.value::text
$$;
comment on function pgcast.changed(json, json) is 'The members of an old row that differ in the new one';

create or replace function pgcast.one_line(value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	select format('pg_catalog.replace(pg_catalog.replace(%s::pg_catalog.text, E''\n'', '' ''), E''\r'', '' '')'
		'::pg_catalog.json', value)
$$;
comment on function pgcast.one_line(text) is
	'SQL for JSON without line breaks, which JSON has between its tokens only';

create or replace function pgcast.columns_hold(relation regclass, attnums int2[], names name[],
	types oid[], listed_all boolean, pins text)
returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
	present constant oid[] := array(select c.type from pgcast.columns_of(relation) c);
begin
	return pgcast.column_names(relation, attnums) = names
		and not exists (select from pgcast.columns_of(relation) c
			where types[c.attnum] is distinct from c.type and (listed_all or c.attnum = any(attnums)))
		and (pins is null or types @> present or pgcast.pins(false, present, '{}') = pins);
exception when others then
	return false;
end
$$;
comment on function pgcast.columns_hold(regclass, int2[], name[], oid[], boolean, text) is
	'Whether generated code suits the columns of a table as they are now: names and types of those that'
	' it names, types of all if it lists all, and if it lists none the settings that all need. It is no'
	' immutable function, but any change of the table makes a plan with this regclass obsolete; so a'
	' plan contains the result, and the check costs a writer nothing.';

create or replace function pgcast.pieces(s pgcast.source, alias text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	stored constant text := (
		select string_agg(format('%1$s.%2$I as %2$I', pieces.alias, c.name), ', ')
		from pgcast.columns_of(s.relation) c where c.virtual is null);
	value constant jsonb := (
		select jsonb_object_agg(c.name, coalesce(
			'(select (' || c.virtual || ') from (select ' || stored || ') t)',
			format('%s.%I', pieces.alias, c.name)))
		from pgcast.columns_of(s.relation) c);
	uid constant text := (value->>pgcast.column_name(s.relation, s.uid_attnum)::text)
		|| '::pg_catalog.text collate pg_catalog."C"';
	ident constant text := format('array[%s]::pg_catalog._text', concat_ws(', ',
		coalesce(uid, 'null'), (
			select string_agg((value->>k.name::text) || '::pg_catalog.text collate pg_catalog."C"', ', '
				order by k.place)
			from unnest(pgcast.visible_key(s)) with ordinality k(name, place)
			where k.name is distinct from s.uid_column)));
	visible constant text := format(E'(select (%s\n) from (select %s) t)', s.filter, (
		select string_agg(format('%s as %I', value->>c.name::text, c.name), ', ')
		from pgcast.columns_of(s.relation) c));
	listed text;
	named boolean;
	key text;
	json text;
begin
	select string_agg(format('%s as %I', coalesce(e.sql, value->>e.name::text), e.name), ', '
			order by e.place, e.attnum),
		s.columns is not null or bool_or(e.sql is not null or e.virtual is not null),
		string_agg(format('%s as %I', coalesce(e.sql, value->>e.name::text), e.name), ', '
			order by array_position(pgcast.visible_key(s), e.name))
			filter (where e.name = any(pgcast.visible_key(s)))
	into listed, named, key
	from (
		select c.*, v.place, pgcast.json_expression(value->>c.name::text, c.type,
			s.big_as_text, s.utc) as sql
		from pgcast.columns_of(s.relation) c
		left join unnest(s.columns) with ordinality v(name, place) on v.name = c.name
		where s.columns is null or v.name is not null) e;
	listed := case when named then coalesce(listed, 'null as "?"') end;
	json := case
		when listed is null then format('pg_catalog.to_json(%s)', case alias when 'n' then 'n.*' else alias end)
		when alias = 'n' then 'pg_catalog.to_json(c.*)'
		else '(select pg_catalog.to_json(c.*) from (select ' || listed || ') c)' end;
	if exists (select from pgcast.outputs(pgcast.visible_types(s), '{}') o
			where o.output in ('', 'json_out')) then
		json := pgcast.one_line(json);
	end if;
	return jsonb_build_object('uid', coalesce(uid, 'null::pg_catalog.text'),
		'ident', case when s.filter is null then ident
			else format('case when %s then %s end', visible, ident) end,
		'visible', case when s.filter is null then 'true' else visible end,
		'key', coalesce('(select pg_catalog.to_json(k.*) from (select ' || key || ') k)',
			'''{}''::pg_catalog.json'),
		'json', json, 'listed', listed,
		'join', coalesce(' cross join lateral (select ' || listed || ') c', ''));
end
$$;
comment on function pgcast.pieces(pgcast.source, text) is
	'Pieces of SQL for a row of a watched table, given by its alias or, for alias n, joined with the list'
	' of the columns that clients may see if they are listed: its uid; its identity as an array of uid'
	' and key, NULL when clients may not see the row; whether they may; the JSON of its key; its JSON';

create or replace function pgcast.visible_types(s pgcast.source) returns oid[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select array(select distinct c.type from pgcast.columns_of(s.relation) c
		where s.columns is null or c.name = any(s.columns))
$$;
comment on function pgcast.visible_types(pgcast.source) is
	'The types of the columns that clients may see';

create or replace function pgcast.source_pins(s pgcast.source) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select pgcast.pins(
		s.filter is not null or exists (select from pgcast.columns_of(s.relation) c
			where c.virtual is not null),
		pgcast.visible_types(s), array(select c.type from pgcast.columns_of(s.relation) c
			where c.attnum = s.uid_attnum))
$$;
comment on function pgcast.source_pins(pgcast.source) is
	'The settings that a watched table''s trigger functions pin: those that change the text of its'
	' columns; all when user texts have names that search_path finds';

create or replace function pgcast.is_current(s pgcast.source) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select format('pgcast.columns_hold(%L::pg_catalog.regclass, %L::pg_catalog._int2,'
			' %L::pg_catalog._name, %L::pg_catalog._oid, %L, %L)',
		s.relation::oid,
		coalesce(array_agg(c.attnum) filter (where c.named), '{}'),
		coalesce(array_agg(c.name) filter (where c.named), '{}'),
		array(select coalesce(t.type, 0) from generate_series(1, max(c.attnum)) i
			left join pgcast.columns_of(s.relation) t on t.attnum = i order by i),
		l.listed and s.columns is null,
		case when not l.listed then pgcast.pins(false, pgcast.visible_types(s), '{}') end)
	from (select pgcast.pieces(s, 'n')->>'listed' is not null as listed) l
	cross join lateral (
		select o.*, s.filter is not null or o.attnum = s.uid_attnum
			or o.name = any(pgcast.visible_key(s)) or l.listed and s.columns is null
			or o.name = any(s.columns) as named
		from pgcast.columns_of(s.relation) o) c
	group by l.listed
$$;
comment on function pgcast.is_current(pgcast.source) is
	'SQL for whether the code generated for a table suits its columns';

create or replace function pgcast.current_pieces(number int, member regclass) returns text[]
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	s constant pgcast.source := (select pgcast.resolve(s) from pgcast.source s
		where s.number = current_pieces.number);
	pieces constant jsonb := pgcast.pieces(s, 'n');
begin
	if pgcast.column_name(s.relation, s.uid_attnum) is null and s.uid_column is not null
			and current_setting('pgcast.warned', true) is distinct from number::text then
		perform set_config('pgcast.warned', number::text, true);
		raise warning 'pgcast: a change of type % reaches nobody: the column % is missing',
				quote_ident(s.type), quote_ident(s.uid_column)
			using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
	end if;
	return array(
		select format('select %s from (select (x.r).* from (select $1::text::%s as r offset 0) x) n%s',
			p.sql, member, pieces->>'join')
		from unnest(array[pieces->>'ident', pieces->>'key', pieces->>'json']) with ordinality p(sql, place)
		order by p.place);
exception when others then
	return '{}';
end
$$;
comment on function pgcast.current_pieces(int, regclass) is
	'Queries for identity, key and JSON of a row of a table by the present names of its columns, which'
	' serve until its functions are generated again; empty: there are none';

create or replace function pgcast.variables(number int) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	s pgcast.source := (select pgcast.resolve(s) from pgcast.source s where s.number = variables.number);
	n jsonb := pgcast.pieces(s, 'n');
	visible text := case when n->>'listed' is null then 'n.*' else 'c.*' end;
	vars jsonb := pgcast.constants() || jsonb_build_object(
		'number', s.number, 'type', quote_literal(s.type), 'broadcast', s.uid_column is null,
		'is_current', coalesce(pgcast.is_current(s), 'true'), 'join_columns', n->>'join', 'visible', visible,
		'moving', format('pg_catalog.concat(''pgcast.update_%s_'', pg_catalog.pg_trigger_depth())', s.number),
		'first_moved', format('pg_catalog.concat(''pgcast.moved_%s_'', pg_catalog.pg_trigger_depth())',
			s.number),
		'move_variables', '', 'move_insert', '', 'move_delete', '',
		'member_check', case when (select c.relkind = 'r' from pg_class c where c.oid = s.relation)
			then format('if tg_relid OPERATOR(pg_catalog.<>) %L::pg_catalog.regclass'
				' and not pgcast.in_tree(%s, tg_relid) then return null; end if;', s.relation::oid, s.number)
			else '' end,
		'old', case s.old when 'all' then 'p.o_data' when 'changed' then 'pgcast.changed(p.o_data, p.n_data)'
			when 'key' then 'p.o_key' else 'null::pg_catalog.json' end);
	alias text;
begin
	foreach alias in array array['n', 'new', 'old', 'r'] loop
		vars := vars || (select jsonb_object_agg(alias || '_' || p.key, p.value)
			from jsonb_each_text(pgcast.pieces(s, alias)) p);
	end loop;
	vars := vars || jsonb_build_object(
		-- A filter that fails for a row must fail here.
		'is_slow', pgcast.fill(case when s.filter is null then '' else 'case when @n_visible@ then ' end
			|| case when exists (
				select from unnest(pgcast.visible_types(s)) t where pgcast.may_expand(t))
			then 'case when pg_catalog.pg_column_size(@visible@) OPERATOR(pg_catalog.>) @expandable_bytes@'
				' then pg_catalog.pg_column_size(@visible@) OPERATOR(pg_catalog.>) @slow_path_bytes@'
				' or pg_catalog.pg_column_size(pg_catalog.to_json(@visible@)) OPERATOR(pg_catalog.>)'
				' @max_json_bytes@ else false end'
			else 'pg_catalog.pg_column_size(@visible@) OPERATOR(pg_catalog.>) @slow_path_bytes@' end
			|| case when s.uid_column is null then ''
				else ' or pg_catalog.octet_length(@n_uid@) OPERATOR(pg_catalog.>) @max_uid_bytes@' end
			|| case when s.filter is null then '' else ' else false end' end,
			vars),
		'keep_old_key', case when s.old = 'key' then format('our.o_key := %s;', vars->>'old_key') else '' end,
		'row_old', replace(vars->>'old', 'p.', 'our.'),
		'row_image', pgcast.fill('@n_ident@ as ident, @n_json@ as data, '
			|| case when s.old = 'key' then '@n_key@' else 'null::pg_catalog.json' end || ' as key', vars),
		'notify_bridge', case when s.notify
			then pgcast.fill('if not pg_catalog.pg_try_advisory_xact_lock_shared(@lock_asleep@, key) then'
				' perform pg_catalog.pg_notify(''pgcast'', @type@); exit; end if;', vars)
			else 'exit;' end);
	vars := vars || jsonb_build_object(
		'notify_once', case when s.notify then pgcast.fill(pgcast.template_notify_once(), vars) else '' end);
	vars := vars || jsonb_build_object('write_pair', pgcast.fill(pgcast.template_write_pair(), vars));
	if (select c.relkind = 'p' from pg_class c where c.oid = s.relation) then
		vars := vars || jsonb_build_object('move_variables', 'moving pg_catalog.text;'
				' o_ident pg_catalog._text; o_data pg_catalog.json; o_key pg_catalog.json;'
				' n_ident pg_catalog._text; n_data pg_catalog.json;')
			|| (select jsonb_object_agg('move_' || m.name, pgcast.fill(m.piece, vars))
				from pgcast.template_moves() m);
	end if;
	return vars
		|| (select jsonb_object_agg('update_' || u.name, pgcast.fill(pgcast.template_pairs(),
				vars || jsonb_build_object('pairs', pgcast.fill(u.pairs, vars), 'step', u.step)))
			from pgcast.template_sources() u);
end
$$;
comment on function pgcast.variables(int) is
	'The values of the templates'' placeholders for a watched table: pieces of SQL, and constants';

create or replace function pgcast.generate(number int) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	s pgcast.source := (select pgcast.resolve(s) from pgcast.source s where s.number = generate.number);
	vars jsonb := pgcast.variables(generate.number);
	by_row boolean := s.replicated or pgcast.row_level(s.relation);
	pins text;
	t record;
	fn text;
begin
	update pgcast.source o
	set (uid_column, columns, order_by, relation_oid, uid_attnum, column_attnums, order_attnums)
		= (select s.uid_column, s.columns, s.order_by, s.relation_oid, s.uid_attnum, s.column_attnums,
			s.order_attnums)
	where o.number = generate.number;
	for t in select * from pgcast.generated() loop
		fn := format('pgcast.%I', t.name || '_' || generate.number);
		if t.by_row <> by_row then
			-- Drops the triggers, too.
			execute format('drop function if exists %s() cascade', fn);
			continue;
		end if;
		-- The JSON of a row does not depend on the writer''s settings. Only functions that do not matter
		-- to every writer's speed pin the others.
		pins := case when t.name in ('truncate', 'describe') then pgcast.pins(true, '{}', '{}')
			else pgcast.source_pins(s) end;
		execute format('create or replace function %s%s language plpgsql security definer%s as %L', fn,
			case when t.scope is null then '(r record, current text[], out ident text[], out key json,'
				' out data json, out whole boolean) returns record'
				else '() returns trigger' end, pins,
			pgcast.fill(t.template, vars || jsonb_build_object('op', t.op, 'row', t.changed_row,
				'rows', t.changed_row || '_rows', 'row_ident', vars->(t.changed_row || '_ident'),
				'row_json', vars->(t.changed_row || '_json'), 'move', vars->('move_' || t.op))));
		fn := fn || case when t.scope is null then '(record, text[])' else '()' end;
		execute format('revoke all on function %s from public', fn);
		execute format('comment on function %s is %L', fn,
			t.about || ' of ' || s.relation || '; generated by pgcast.watch');
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
	s constant pgcast.source := (select s from pgcast.source s where s.number = attach.number);
	cloned constant boolean := (select c.relkind = 'p' from pg_class c where c.oid = s.relation);
	prefix constant text := pgcast.trigger_prefix(attach.number);
	enabled constant text := case when s.replicated then 'A' else 'O' end;
	members constant regclass[] := array(select m from pgcast.tree(s.relation) m
		where not exists (select from pg_foreign_table f where f.ftrelid = m));
	functions constant regproc[] := array(select p.oid from pg_proc p join pgcast.generated() w
		on p.proname = w.name || '_' || attach.number where p.pronamespace = 'pgcast'::regnamespace);
	attaching constant text := current_setting('pgcast.attaching', true);
	t record;
begin
	perform set_config('pgcast.attaching', 'on', true);
	-- A table that is no longer a child keeps its triggers, and another name may sort behind others.
	for t in
		select g.tgrelid::regclass as member, g.tgname from pg_trigger g
		where g.tgfoid = any(functions) and g.tgparentid = 0
			and (g.tgrelid <> all(members) or not starts_with(g.tgname, prefix))
	loop
		begin
			execute format('drop trigger %I on %s', t.tgname, t.member);
		exception when insufficient_privilege then
			raise warning 'pgcast: % may not drop the trigger % on %', current_user, quote_ident(t.tgname),
				t.member using hint = 'Let the table''s owner drop it.';
		end;
	end loop;
	for t in
		select m as member, w.name, w.timing, w.op, w.scope, p.oid::regproc as fn
		from unnest(members) m
		cross join pgcast.generated() w
		join pg_proc p on p.oid = any(functions) and p.proname = w.name || '_' || attach.number
		where w.scope is not null
			and (m = s.relation or not cloned or w.scope = 'for each statement')
			and not exists (select from pg_trigger g where g.tgrelid = m and g.tgfoid = p.oid)
	loop
		execute format('create trigger %I %s %s on %s %s execute function %s()',
			prefix || t.name, t.timing, t.op, t.member, t.scope, t.fn);
	end loop;
	for t in
		select g.tgrelid::regclass as member, g.tgname from pg_trigger g
		where g.tgfoid = any(functions) and g.tgenabled <> enabled
	loop
		execute format('alter table only %s enable %s trigger %I', t.member,
			case when s.replicated then 'always' else '' end, t.tgname);
	end loop;
	perform set_config('pgcast.attaching', coalesce(attaching, ''), true);
end
$$;
comment on function pgcast.attach(int) is
	'Creates and enables the triggers that a watched table and its children lack, and drops those of'
	' tables that are no longer children. Foreign tables are left out. The event trigger of follow_ddl.sql'
	' does nothing meanwhile.';

-- Triggers fire in the order of their names: these before the table's own, whose changes come later.
create or replace function pgcast.trigger_prefix(number int) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select ' pgcast_' || trigger_prefix.number || '_' $$;
comment on function pgcast.trigger_prefix(int) is
	'The beginning of the names of a watched table''s triggers';

create or replace function pgcast.drop_functions(number int default null) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp set client_min_messages = warning
as $$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace and p.proname = any(array(
			select w.name || '_' || drop_functions.number from pgcast.generated() w))
		union all
		select p.oid from pg_proc p
		where drop_functions.number is null and p.pronamespace = 'pgcast'::regnamespace
			and p.proname ~ (select '^(' || string_agg(w.name, '|') || ')_[0-9]{1,9}$' from pgcast.generated() w)
			and not exists (select from pgcast.source s where s.relation is not null
				and s.number::text = substring(p.proname from '[0-9]+$'))
	loop
		execute format('drop function %s cascade', fn);
	end loop;
end
$$;
comment on function pgcast.drop_functions(int) is
	'Drops a watched table''s functions and triggers; NULL: those that belong to no watched table, as after'
	' a restore without data, when their numbers would be drawn again';

create or replace function pgcast.drop_source(number int) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	perform pgcast.drop_functions(drop_source.number);
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
	perform pgcast.detach(l.number) from pgcast.located l where l.lost;
	source.number := (pgcast.source_of(source.relation)).number;
	perform pgcast.drop_source(s.number) from pgcast.source s
	where s.type = source.type and s.relation is null and s.number is distinct from source.number;
	if exists (select from pgcast.source s
			where s.type = source.type and s.number is distinct from source.number) then
		raise exception 'pgcast: the type % belongs to %', quote_literal(source.type),
				(select s.relation from pgcast.source s where s.type = source.type)
			using errcode = 'duplicate_object', hint = 'Give another type.';
	end if;
	source.relation_oid := null;
	if source.number is null then
		source.number := nextval('pgcast.source_number_seq');
		perform pgcast.drop_functions(source.number);
	elsif not exists (select from pgcast.source s where s.relation = source.relation) then
		-- Made anew: clients have had a truncate, but may not know its rows.
		perform pgcast.reset_type(source.type);
	end if;
	delete from pgcast.source s where s.number = source.number;
	select n.nspname, c.relname, array(select m::oid from pgcast.tree(c.oid) m order by 1)
	into source.table_schema, source.table_name, source.members
	from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = source.relation;
	insert into pgcast.source overriding system value values (source.*);
	perform pgcast.generate(source.number);
	return source.number;
end
$$;
comment on function pgcast.save_source(pgcast.source) is
	'Stores the arguments of pgcast.watch and writes the functions; returns the table''s number';
