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
