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
	begin
		execute format('select %L::%s', uid, typename);
	exception when others then
		return 'false';
	end;
	execute format('select %1$L::%2$s %3$s %1$L::%2$s', uid, typename, equals);
	return format('n.%I %s %L::%s and %s', uid_column, equals, uid, typename, as_text);
exception when undefined_function or ambiguous_function then
	return as_text;
end
$$;
comment on function pgcast.uid_condition(regclass, name, text) is
	'SQL that finds a uid''s rows n: by index if there is one, and false when no value of the'
	' column''s type has that text';

create or replace function pgcast.newest(number int, uid text, out data text, out more boolean)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set quote_all_identifiers = off set timezone = 'UTC'
set datestyle = 'ISO, MDY' set intervalstyle = postgres set bytea_output = hex
set extra_float_digits = 1 set lc_monetary = 'C' set array_nulls = on
as $$
declare
	stored pgcast.source := (select s from pgcast.source s where s.number = newest.number);
	s pgcast.source := pgcast.resolve(stored);
	pieces jsonb := pgcast.pieces(s, 'n');
	ages name[] := coalesce(s.order_by || pgcast.visible_key(s), pgcast.keys(s.relation, s.uid_column));
	query text := format(E'select n.* from %s n where %s%s order by %s desc limit %s', s.relation,
		pgcast.uid_condition(s.relation, s.uid_column, newest.uid),
		E' and (' || s.filter || E'\n)', coalesce((
			select string_agg(format('n.%I', a.name), ' desc, ' order by a.place)
			from unnest(ages) with ordinality a(name, place)), 'n.tableoid desc, n.ctid'),
		s.init_limit + 1);
	all_fit bool;
	rows text[];
	total bigint := 0;
	number_of_rows int := 0;
	r record;
begin
	begin
		execute format('select string_agg(x.data, '','' order by x.place desc) filter (where x.sent),'
			' bool_and(x.fits or x.place > %4$s), count(*) > count(*) filter (where x.sent)'
			' from (select y.*, y.place <= %4$s and (y.place = 1 or y.total <= %3$s) as sent'
			' from (select d.*, length(d.data) <= %3$s as fits,'
			' sum(length(d.data)) over (order by d.place) as total'
			' from (select (%5$s)::text as data, row_number() over () as place'
			' from (%1$s) n%2$s) d) y) x', query, pieces->>'join',
			pgcast.constant('max_json_bytes'), s.init_limit, pieces->>'json')
		into data, all_fit, more;
		if all_fit is not false then
			return;
		end if;
	exception
		when lock_not_available then
			raise;
		when data_exception or program_limit_exceeded or out_of_memory then
			null;
	end;
	-- A row is too large: read them one by one.
	more := false;
	for r in execute query loop
		execute format('select d.data::text from pgcast.describe_%s($1, $2) d', s.number) into data
		using r, case when stored is distinct from s then pgcast.current_pieces(s.number, s.relation) end;
		total := total + length(data);
		number_of_rows := number_of_rows + 1;
		more := number_of_rows > s.init_limit
			or total > pgcast.constant('max_json_bytes') and rows is not null;
		exit when more;
		rows := data || rows;
	end loop;
	data := array_to_string(rows, ',');
end
$$;
comment on function pgcast.newest(int, text) is
	'A uid''s newest rows in a watched table as JSON, oldest first, separated by commas; more: there are'
	' others';

create or replace function pgcast.hides_rows(relation regclass) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
	select row_security_active(hides_rows.relation) and not exists (
		select from pg_policy p where p.polrelid = hides_rows.relation and p.polpermissive
			and p.polcmd in ('r', '*')
			and exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(r, 'usage')))
$$;
comment on function pgcast.hides_rows(regclass) is
	'Whether row-level security shows pgcast_owner no row of a table, since no policy is for it';

create or replace function pgcast.init(type text, uid text) returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
	s pgcast.source := (select s from pgcast.source s where s.type = init.type);
	answer record;
begin
	if s.number is null then
		return null;
	end if;
	if s.relation is null or (select l.lost from pgcast.located l where l.number = s.number) then
		raise undefined_table using message = 'the table was dropped or replaced';
	end if;
	if pgcast.hides_rows(s.relation) then
		raise insufficient_privilege using message = 'no policy is for pgcast_owner';
	end if;
	select * into answer from pgcast.newest(s.number, init.uid);
	return format('{"type":%s,"op":"init","key":%s,"more":%s,"data":[%s]}', to_json(init.type),
		to_json(coalesce(pgcast.visible_key(pgcast.resolve(s)), '{}')), to_json(answer.more), answer.data);
exception
	when query_canceled or lock_not_available then
		return 'timeout';
	when others then
		raise warning 'pgcast: init of % failed: %', quote_literal(init.type), sqlerrm
			using hint = 'Let pgcast_owner read the table and its rows, or run pgcast.watch again.';
		return 'init_failed ' || case
			when (select c.relrowsecurity from pg_class c where c.oid = s.relation)
				then 'row-level security: ' else '' end
			-- The text of such an error may contain values.
			|| case when sqlstate ~ '^2[23]' then 'invalid data' else translate(sqlerrm, E'\r\n', '  ') end;
end
$$;
comment on function pgcast.init(text, text) is
	'The answer to a client''s init: the uid''s newest rows, up to init_limit, oldest first, as a whole'
	' message with the names of the key''s columns, and whether there are more rows. NULL when the type'
	' isn''t watched; ''timeout'' when it takes longer than statement_timeout, or the table is locked;'
	' ''init_failed'' and the reason, with a warning, when the table can''t be read.';

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
