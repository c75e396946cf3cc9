-- Removes pgcast: the journal, the triggers on watched tables, the rights granted to pgcast_owner, and
-- that role unless another database uses it. The watched tables stay as they are.
--
--     psql -v ON_ERROR_STOP=1 -f uninstall.sql
--
-- More than 100 watched tables are removed in several transactions, since each lock takes space in a
-- table of the server. It may be run again after an error.

set client_min_messages = warning;

do $$
declare
	fn regprocedure;
	table_name regclass;
	done int := 0;
begin
	if to_regnamespace('pgcast') is null then
		return;
	end if;
	for fn in
		select p.oid from pg_proc p where p.pronamespace = to_regnamespace('pgcast')
			and p.proname ~ '_[0-9]{1,9}$' order by substring(p.proname from '[0-9]+$')::int
	loop
		execute format('drop function %s cascade', fn);
		done := done + 1;
		if done % 1000 = 0 then
			commit;
		end if;
	end loop;
	for table_name in
		select c.oid from pg_class c
		where c.relacl::text like '%pgcast_owner=%' and c.relnamespace <> to_regnamespace('pgcast')
			and has_table_privilege(c.oid, 'select with grant option')
	loop
		execute format('revoke all on %s from pgcast_owner', table_name);
		done := done + 1;
		if done % 1000 = 0 then
			commit;
		end if;
	end loop;
end
$$;

begin;

drop schema if exists pgcast cascade;

do $$
begin
	if to_regrole('pgcast_owner') is null then
		return;
	end if;
	drop owned by pgcast_owner;
	begin
		drop role pgcast_owner;
	exception
		when dependent_objects_still_exist then
			raise warning 'pgcast: the role pgcast_owner stays, other databases use it';
		when insufficient_privilege then
			raise warning 'pgcast: % may not drop the role pgcast_owner', current_user
				using hint = 'Let a role with CREATEROLE run: drop role pgcast_owner;';
	end;
exception when insufficient_privilege then
	raise warning 'pgcast: % may not drop the rights and the role of pgcast_owner', current_user
		using hint = 'Let a member of it run: drop owned by pgcast_owner; drop role pgcast_owner;';
end
$$;

commit;
