-- Advisory locks are (class, key of the bridge); the daemon knows the class lock_asleep, too.
--   lock_alive    'pgc1'  held by a bridge's session until it ends
--   lock_asleep   'pgc2'  held by a bridge that waits for NOTIFY; writers try it shared
--   lock_pruning  'pgc3'  held by pgcast.prune, with key 0
-- Rows larger than slow_path_bytes are encoded one at a time. A row that may expand is measured from
-- expandable_bytes on: below, not even 1e131071 makes its JSON larger than max_json_bytes.
create or replace function pgcast.constants() returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	select jsonb_build_object(
		'lock_alive', 1885823793,
		'lock_asleep', 1885823794,
		'lock_pruning', 1885823795,
		'max_json_bytes', 16 * 1024 * 1024,
		'max_uid_bytes', 255,
		'max_type_bytes', 255,
		'max_init_limit', 100000,
		'max_witnesses', 1024,
		'slow_path_bytes', 1024 * 1024,
		'expandable_bytes', 1024)
$$;
comment on function pgcast.constants() is 'Classes of advisory locks, and limits';

-- The planner replaces a call by its value.
create or replace function pgcast.constant(name text) returns int
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
begin
	if pgcast.constants() ? constant.name then
		return pgcast.constants()->>constant.name;
	end if;
	raise exception 'pgcast: unknown constant %', quote_literal(constant.name);
end
$$;
comment on function pgcast.constant(text) is 'One of pgcast.constants; raises when it is unknown';

create or replace function pgcast.fill(template text, variables jsonb) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp
as $$
declare
	-- Text and names alternate. Values are not searched for placeholders.
	pieces constant text[] := string_to_array(template, '@');
	name text;
begin
	if cardinality(pieces) % 2 = 0 then
		raise exception 'pgcast: a template has a placeholder without an end';
	end if;
	select p.piece into name from unnest(pieces) with ordinality p(piece, place)
	where p.place % 2 = 0 and variables->>p.piece is null;
	if found then
		raise exception 'pgcast: placeholder @%@ has no value', name;
	end if;
	return (select string_agg(
			case when p.place % 2 = 0 then variables->>p.piece else p.piece end, '' order by p.place)
		from unnest(pieces) with ordinality p(piece, place));
end
$$;
comment on function pgcast.fill(text, jsonb) is
	'Replaces each @name@ in a template by the variable of that name; raises when it has no value';
