-- Removes pgcast: the journal, the triggers on watched tables, the rights granted to pgcast_owner, and
-- that role unless another database uses it. The watched tables stay as they are.
--
--     psql -v ON_ERROR_STOP=1 -f uninstall.sql

begin;

set local client_min_messages = warning;

drop schema if exists pgcast cascade;

do $$
begin
	if to_regrole('pgcast_owner') is null then
		return;
	end if;
	drop owned by pgcast_owner;
	drop role pgcast_owner;
exception
	when dependent_objects_still_exist then
		drop owned by pgcast_owner;
		raise warning 'pgcast: the role pgcast_owner stays, other databases use it';
	when insufficient_privilege then
		raise warning 'pgcast: % may not drop the role pgcast_owner', current_user
			using hint = 'drop owned by pgcast_owner; drop role pgcast_owner;';
end
$$;

commit;
