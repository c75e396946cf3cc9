do $install$
declare
	remedy constant text := 'Run it as a superuser or as a role with CREATEROLE, or let one create'
		' the role first: create role pgcast_owner nologin; grant pgcast_owner to '
		|| quote_ident(current_user) || ';';
	object text;
begin
	if current_setting('server_version_num')::int < 130000 then
		raise exception 'pgcast needs PostgreSQL 13 or later'
			using errcode = 'feature_not_supported';
	end if;
	if to_regrole('pgcast_owner') is null then
		begin
			create role pgcast_owner nologin;
			comment on role pgcast_owner is 'Owns the schema pgcast. Can''t log in.';
		exception when insufficient_privilege then
			raise exception 'pgcast: % may not create the role pgcast_owner', current_user
				using errcode = 'insufficient_privilege', hint = remedy;
		end;
	end if;
	if (select r.rolsuper from pg_roles r where r.rolname = 'pgcast_owner') then
		raise exception 'pgcast: the role pgcast_owner must not be a superuser'
			using hint = 'alter role pgcast_owner nosuperuser;';
	end if;
	if not pg_has_role('pgcast_owner', 'usage') then
		begin
			execute format('grant pgcast_owner to %I', current_user);
		exception when insufficient_privilege then
			raise exception 'pgcast: % is no member of pgcast_owner', current_user
				using errcode = 'insufficient_privilege', hint = remedy;
		end;
	end if;
	if to_regnamespace('pgcast') is null then
		create schema pgcast authorization pgcast_owner;
	elsif (select n.nspowner from pg_namespace n where n.nspname = 'pgcast')
			<> to_regrole('pgcast_owner') then
		-- pg_restore --no-owner gives all objects to the role that restores.
		begin
			alter schema pgcast owner to pgcast_owner;
			for object in
				select format('table %s', c.oid::regclass) from pg_class c
				where c.relnamespace = 'pgcast'::regnamespace and c.relkind in ('r', 'p', 'v')
				union all
				select format('sequence %s', c.oid::regclass) from pg_class c
				where c.relnamespace = 'pgcast'::regnamespace and c.relkind = 'S'
					and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
						and d.objid = c.oid and d.deptype = 'i')
				union all
				select format('function %s', p.oid::regprocedure) from pg_proc p
				where p.pronamespace = 'pgcast'::regnamespace
			loop
				execute format('alter %s owner to pgcast_owner', object);
			end loop;
		exception when insufficient_privilege then
			raise exception 'pgcast: the schema pgcast has another owner: %',
					(select n.nspowner::regrole from pg_namespace n where n.nspname = 'pgcast')
				using errcode = 'insufficient_privilege',
					hint = 'Run this file as a superuser, or as that role with the rights to create in the'
						' database and to act as pgcast_owner; or: drop schema pgcast cascade;';
		end;
	end if;
	-- From here on all objects are created as the owner; the locks of an upgrade and the triggers
	-- on watched tables need the installing role again.
	perform set_config('pgcast.installer', current_setting('role'), true);
	perform set_config('role', 'pgcast_owner', true);
end
$install$;

comment on schema pgcast is 'pgcast: pushes changes of watched tables to WebSocket clients';

create table if not exists pgcast.meta (
	singleton boolean primary key default true check (singleton),
	schema_version int not null,
	epoch text not null
);
