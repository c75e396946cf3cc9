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

create or replace function pgcast.in_tree(number int, member oid) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive above(oid) as (
		select in_tree.member
		union
		select i.inhparent from pg_inherits i join above a on i.inhrelid = a.oid
	)
	select exists (select from pgcast.source s join above a on s.relation = a.oid
		where s.number = in_tree.number)
$$;
comment on function pgcast.in_tree(int, oid) is
	'Whether a table is a watched one, or its partition or child: one that was detached keeps triggers';

create or replace function pgcast.row_level(relation regclass) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select exists (select from pg_inherits i
			where row_level.relation in (i.inhrelid, i.inhparent))
		or exists (select from pg_class c
			where c.oid = row_level.relation and c.relkind = 'p')
		or exists (select from pg_trigger t
			where t.tgrelid = row_level.relation and not t.tgisinternal
				and t.tgname !~ '^(00_| )pgcast_' and t.tgtype & 1 = 1 and t.tgtype & 66 = 0)
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

create or replace function pgcast.columns_of(relation regclass, out attnum int2, out name name,
	out type oid, out virtual text)
returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select a.attnum, a.attname, a.atttypid,
		case when a.attgenerated = 'v' then (select pg_get_expr(d.adbin, d.adrelid) from pg_attrdef d
			where d.adrelid = a.attrelid and d.adnum = a.attnum) end
	from pg_attribute a
	where a.attrelid = columns_of.relation and a.attnum > 0 and not a.attisdropped
	order by a.attnum
$$;
comment on function pgcast.columns_of(regclass) is
	'The columns of a table; virtual: the expression of a virtual generated column, which trigger'
	' functions get as NULL';

-- From the system caches: the snapshot of a repeatable read transaction may be older than the names
-- by which its statements find columns.
create or replace function pgcast.column_name(relation oid, attnum int) returns name
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select nullif(a.object_names[3], format('........pg.dropped.%s........', column_name.attnum))::name
	from pg_identify_object_as_address('pg_class'::regclass, column_name.relation, column_name.attnum) a
	where column_name.attnum > 0
$$;
comment on function pgcast.column_name(oid, int) is 'The present name of a column; NULL: dropped';

create or replace function pgcast.attnums(relation regclass, names name[]) returns int2[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select case when attnums.names is not null then array(
		select a.attnum from unnest(attnums.names) with ordinality n(name, place)
		join pg_attribute a on a.attrelid = attnums.relation and a.attname = n.name
			and a.attnum > 0 and not a.attisdropped
		order by n.place) end
$$;
comment on function pgcast.attnums(regclass, name[]) is 'The numbers of the columns that exist';

create or replace function pgcast.column_names(relation regclass, attnums int2[]) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select case when column_names.attnums is not null then array(
		select c.name from unnest(column_names.attnums) with ordinality n(attnum, place)
		cross join pgcast.column_name(column_names.relation, n.attnum) c(name)
		where c.name is not null order by n.place) end
$$;
comment on function pgcast.column_names(regclass, int2[]) is 'The present names of those that exist';

create or replace function pgcast.resolve(s pgcast.source) returns pgcast.source
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
	if s.relation_oid = s.relation::oid then
		s.uid_column := coalesce(pgcast.column_name(s.relation, s.uid_attnum), s.uid_column);
		s.columns := pgcast.column_names(s.relation, s.column_attnums);
		s.order_by := pgcast.column_names(s.relation, s.order_attnums);
	else
		s.relation_oid := s.relation;
		s.uid_attnum := (pgcast.attnums(s.relation, array[s.uid_column]))[1];
		s.column_attnums := pgcast.attnums(s.relation, s.columns);
		s.order_attnums := pgcast.attnums(s.relation, s.order_by);
	end if;
	return s;
end
$$;
comment on function pgcast.resolve(pgcast.source) is
	'A watched table''s settings with the present names of its columns, which follow their numbers;'
	' after a restore, or when relation_oid is NULL, the numbers follow the names';

create or replace function pgcast.visible_key(s pgcast.source) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with key as (
		select a.attname, k.place, s.columns is null or a.attname = any(s.columns) as visible
		from pg_index x
		cross join unnest(x.indkey::int2[]) with ordinality k(attnum, place)
		join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum
		where x.indrelid = s.relation and x.indisprimary and k.place <= x.indnkeyatts)
	select array_agg(k.attname order by k.place) from key k
	where k.visible and not exists (select from key h
		where not h.visible and h.attname is distinct from s.uid_column)
$$;
comment on function pgcast.visible_key(pgcast.source) is
	'The columns that distinguish the rows of a uid for clients: those of the primary key; NULL when there is'
	' none, or when clients may not see it';

create or replace function pgcast.outputs(types oid[], text_types oid[], out output text,
	out as_text boolean)
returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive part(type, as_text) as (
		select t.type, t.as_text from (
			select u, false from unnest(outputs.types) u
			union all
			select u, true from unnest(outputs.text_types) u) t(type, as_text)
		union
		select i.type, p.as_text or i.as_text
		from part p join pg_type t on t.oid = p.type
		cross join lateral (
			select t.typbasetype, false where t.typtype = 'd'
			union all
			select t.typelem, false where t.typcategory = 'A'
			union all
			select a.atttypid, false from pg_attribute a
			where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
			union all
			select r.rngsubtype, true from pg_range r where r.rngtypid = t.oid
		) i(type, as_text)
	)
	select distinct case when l.lanname = 'internal' and not exists (
			select from pg_cast c join pg_proc f on f.oid = c.castfunc
			where c.castsource = t.oid and c.casttarget in ('text'::regtype, 'json'::regtype)
				and t.oid >= 16384 and f.prolang <> o.prolang)
		then o.prosrc else '' end, p.as_text
	from part p join pg_type t on t.oid = p.type
	join pg_proc o on o.oid = t.typoutput join pg_language l on l.oid = o.prolang
	where t.typtype in ('b', 'e', 'm') and t.typcategory <> 'A'
$$;
comment on function pgcast.outputs(oid[], oid[]) is
	'The functions that make the JSON of types and the text of text_types, by their internal names;'
	' empty: not one of PostgreSQL''s own. as_text: as text, as ranges have it in JSON, too';

create or replace function pgcast.pins(everything boolean, types oid[], text_types oid[]) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select coalesce(string_agg(format(' set %s = %s', g.name, g.value), '' order by g.place), '')
	from (values
		(1, 'search_path', 'pg_catalog, pg_temp', '^reg', false),
		(2, 'quote_all_identifiers', 'off', '^reg', false),
		(3, 'timezone', '''UTC''', '^timestamptz_out$', false),
		(4, 'datestyle', '''ISO, MDY''', '^(date|timestamp|timestamptz)_out$', true),
		(5, 'intervalstyle', 'postgres', '^interval_out$', false),
		(6, 'bytea_output', 'hex', '^byteaout$', false),
		(7, 'extra_float_digits', '1', '^(float[48]out|(point|lseg|path|box|poly|line|circle)_out)$',
			false),
		(8, 'lc_monetary', '''C''', '^cash_out$', false)) g(place, name, value, outputs, only_text)
	where pins.everything or exists (
		select from pgcast.outputs(pins.types, pins.text_types) o
		where o.output in ('', 'multirange_out')
			or o.output ~ g.outputs and (o.as_text or not g.only_text))
$$;
comment on function pgcast.pins(boolean, oid[], oid[]) is
	'The settings that change the text of values of the types, as SET clauses of a function';

create or replace function pgcast.json_expression(value text, type oid, big_as_text boolean, utc boolean)
returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	t pg_type;
	part text;
begin
	select * into t from pg_type p where p.oid = json_expression.type;
	if t.typtype = 'd' then
		return pgcast.json_expression(value, t.typbasetype, big_as_text, utc);
	elsif big_as_text and t.oid in ('int8'::regtype, 'numeric'::regtype) then
		return value || '::pg_catalog.text';
	elsif big_as_text and t.typcategory = 'A' and t.typelem in ('int8'::regtype, 'numeric'::regtype) then
		return value || '::pg_catalog._text';
	elsif utc and t.oid = 'timestamp'::regtype then
		return format('case when pg_catalog.isfinite(%1$s) then pg_catalog.concat(''"'', pg_catalog.btrim('
			'pg_catalog.to_json(%1$s)::pg_catalog.text, ''"''), ''Z"'')::pg_catalog.json'
			' else pg_catalog.to_json(%1$s) end', value);
	elsif t.typcategory = 'A' then
		part := pgcast.json_expression('"pgcast item".v', t.typelem, big_as_text, utc);
		return case when part is not null then format('case when %1$s is distinct from null then'
			' coalesce((select pg_catalog.json_agg(%2$s) from (select pg_catalog.unnest(%1$s) as v offset 0)'
			' "pgcast item"), ''[]''::pg_catalog.json) end', value, part) end;
	elsif t.typtype = 'c' then
		select string_agg(format('%s as %I', coalesce(e.sql, e.field), e.name), ', ' order by e.attnum)
		into part
		from (
			select a.attnum, a.attname as name, f.field,
				pgcast.json_expression(f.field, a.atttypid, big_as_text, utc) as sql
			from pg_attribute a cross join lateral (select format('(%s).%I', value, a.attname)) f(field)
			where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) e
		having bool_or(e.sql is not null);
		return case when part is not null then format('case when %s is distinct from null then'
			' (select pg_catalog.to_json("pgcast item".*) from (select %s) "pgcast item") end',
			value, part) end;
	end if;
	return null;
end
$$;
comment on function pgcast.json_expression(text, oid, boolean, boolean) is
	'SQL that replaces a value of the type in JSON, by the settings big_as_text and utc; NULL: none.'
	' Arrays of composite types lose their inner dimensions.';

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
