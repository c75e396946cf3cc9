-- Bridges call functions that an older version does not have.
do $bridges$
declare
	bridge oid;
begin
	for bridge in
		select a.grantee from pg_proc p, aclexplode(p.proacl) a
		where p.oid = 'pgcast.prune(interval)'::regprocedure and a.grantee <> p.proowner
	loop
		perform pgcast.grant_bridge(pg_get_userbyid(bridge));
	end loop;
end
$bridges$;

-- Roles that may use the schema may ask for its version, and bridges call the others.
do $rights$
declare
	fn regprocedure;
begin
	for fn in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace
			and p.proname not in ('schema_version', 'from_utf8', 'low_id', 'find_answer')
			and has_function_privilege('public', p.oid, 'execute')
	loop
		execute format('revoke all on function %s from public', fn);
	end loop;
end
$rights$;
revoke all on all tables in schema pgcast from public;
revoke all on all sequences in schema pgcast from public;

-- The functions and triggers of the watched tables, by the templates above. After a restore without the
-- rows of pgcast.source, there are functions that belong to none.
do $again$
declare
	s record;
begin
	perform pgcast.drop_functions();
	perform pgcast.follow_tables();
	perform set_config('role', current_setting('pgcast.installer'), true);
	for s in select w.number, w.relation from pgcast.source w where w.relation is not null order by w.number
	loop
		perform pgcast.generate(s.number);
		begin
			perform pgcast.attach(s.number);
			perform pgcast.grant_init(s.relation);
		exception when insufficient_privilege then
			raise warning 'pgcast: % may not create triggers on %', current_user, s.relation
				using hint = 'Let its owner, as a member of pgcast_owner, call pgcast.watch again.';
		end;
	end loop;
end
$again$;
