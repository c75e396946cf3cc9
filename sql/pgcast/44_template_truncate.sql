-- One TRUNCATE fires for a parent and for each of its partitions, one right after the other: for all but
-- the first, one probe is enough.
create or replace function pgcast.template_truncate() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	key int;
begin
	if exists (
			select from (select e.type, e.op from pgcast.event e
				where e.xid = pg_current_xact_id() order by e.id desc limit 1) e
			where e.type = @type@ and e.op = 'truncate')
			or not pgcast.in_tree(@number@, tg_relid) then
		return null;
	end if;
	insert into pgcast.event (broadcast, type, op, journal_table)
	select true, @type@, 'truncate', g.current from pgcast.rotation g;
	foreach key in array coalesce((select g.bridges from pgcast.rotation g), '{}') loop
		@notify_bridge@
	end loop;
	return null;
end
$template$ $function$;
comment on function pgcast.template_truncate() is
	'Body of the function that journals a TRUNCATE';
