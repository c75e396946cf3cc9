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
