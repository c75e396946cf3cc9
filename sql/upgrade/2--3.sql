-- A step renames and drops objects that later parts do not replace. Writers wait during it: it must
-- not rewrite or index the journal. Tables and the view are renamed, so that grants survive.
do $step$
declare
	c record;
begin
	if (select m.schema_version from pgcast.meta m) <> 2 then
		return;
	end if;
	drop trigger tell_bridges on pgcast.bridge;
	drop function pgcast.tell_bridges(), pgcast.templates(), pgcast.snippets(int),
		pgcast.picked(regclass, name[], text), pgcast.swells(oid), pgcast.forget(int),
		pgcast.remember(regclass, name, text, name[], int, boolean),
		pgcast.check_watch(regclass, name, name[], int, boolean),
		pgcast.watch(regclass, name, text, name[], int, boolean),
		pgcast.slot_in_use(int), pgcast.empty_slot(int, xid8);
	alter table pgcast.ring rename to rotation;
	alter table pgcast.rotation rename one to singleton;
	alter table pgcast.meta rename one to singleton;
	alter table pgcast.event rename slot to journal_table;
	alter table pgcast.source rename bell to notify;
	alter view pgcast.watched rename bell to notify;
	for c in
		select o.conrelid::regclass as relation, o.conname as before,
			regexp_replace(regexp_replace(regexp_replace(regexp_replace(o.conname,
				'^ring_', 'rotation_'), '_one_', '_singleton_'), '_slot_', '_journal_table_'),
				'_bell_', '_notify_') as after
		from pg_constraint o
		where o.connamespace = 'pgcast'::regnamespace and o.conrelid <> 0 and o.coninhcount = 0
	loop
		if c.before <> c.after then
			execute format('alter table %s rename constraint %I to %I', c.relation, c.before, c.after);
		end if;
	end loop;
	update pgcast.meta m set schema_version = 3;
end
$step$;
