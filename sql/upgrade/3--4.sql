-- See 2--3.sql.
do $step$
declare
	describe regprocedure;
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
		add relation_oid oid, add uid_attnum int2, add column_attnums int2[], add order_attnums int2[];
	for describe in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace and p.proname ~ '^describe_[0-9]+$'
	loop
		execute format('drop function %s', describe);
	end loop;
	update pgcast.meta m set schema_version = 4;
end
$step$;
