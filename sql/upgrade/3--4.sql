-- See 2--3.sql.
do $step$
declare
	installer constant name := coalesce(nullif(current_setting('pgcast.installer'), 'none'), session_user);
	fn regprocedure;
begin
	if (select m.schema_version from pgcast.meta m) <> 3 then
		return;
	end if;
	drop function if exists pgcast.watch(regclass, name, text, name[], int, boolean),
		pgcast.check_watch(regclass, name, name[], int, boolean),
		pgcast.save_source(regclass, name, text, name[], int, boolean),
		pgcast.select_list(regclass, name[], text), pgcast.newest(int, text), pgcast.generated();
	alter table pgcast.source
		alter init_limit set default 100, alter notify set default true,
		add order_by name[], add filter text, add old text not null default 'all',
		add big_as_text boolean not null default false, add utc boolean not null default false,
		add replicated boolean not null default false,
		add relation_oid oid, add uid_attnum int2, add column_attnums int2[], add order_attnums int2[],
		alter relation drop not null,
		add table_schema name, add table_name name, add members oid[];
	-- The names of triggers change: they are dropped where they can be created again.
	for fn in
		select p.oid from pg_proc p
		left join pgcast.source s on s.number::text = substring(p.proname from
			'^(?:insert|update|delete|row_insert|row_update|row_delete|truncate)_([0-9]+)$')
		where p.pronamespace = 'pgcast'::regnamespace and case when p.proname ~ '^describe_[0-9]+$' then true
			when exists (select from pg_class c where c.oid = s.relation)
				then not exists (select from pgcast.tree(s.relation) m
					where not has_table_privilege(installer, m, 'trigger')) end
	loop
		execute format('drop function %s cascade', fn);
	end loop;
	update pgcast.meta m set schema_version = 4;
end
$step$;
