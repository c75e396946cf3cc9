-- One TRUNCATE fires for a parent and for each of its partitions, one right after the other. A
-- partition that was detached keeps the trigger, but is no longer part of the watched table.
create or replace function pgcast.template_truncate() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	key int;
begin
	if not exists (select from pgcast.source s, pgcast.tree(s.relation) t
			where s.number = @number@ and t = tg_relid) then
		return null;
	end if;
	insert into pgcast.event (broadcast, type, op, journal_table)
	select true, @type@, 'truncate', g.current
	from pgcast.rotation g
	where not exists (
		select from (select e.type, e.op from pgcast.event e
			where e.xid = pg_current_xact_id() order by e.id desc limit 1) e
		where e.type = @type@ and e.op = 'truncate');
	foreach key in array (select g.bridges from pgcast.rotation g) loop
		@notify_bridge@
	end loop;
	return null;
end
$template$ $function$;
comment on function pgcast.template_truncate() is
	'Body of the function that journals a TRUNCATE';
