-- A writer that has entered a trigger function fails when the function's tables change before it
-- reaches them. So an upgrade first waits until no transaction that wrote to a watched table is
-- open, and keeps new ones out. It gives up all locks and tries again before any writer has waited
-- long enough to look for a deadlock. It tries for lock_timeout or, if that is 0, for a minute.
-- Attempts differ in length: one that blocks a writer who blocks it is lost, and many short ones
-- pass between short transactions where a few long ones do not.
do $version$
declare
	newest constant int := 4;
	present int;
	attempt_limit constant interval := current_setting('deadlock_timeout')::interval / 2;
	attempt interval;
	last_attempt constant timestamptz := clock_timestamp()
		+ coalesce(nullif(current_setting('lock_timeout')::interval, '0'), '60 s');
	attempt_end timestamptz;
	t record;
	relation text;
begin
	insert into pgcast.meta (schema_version, epoch)
	select newest, c.system_identifier::text from pg_control_system() c
	on conflict do nothing;
	present := (select m.schema_version from pgcast.meta m);
	if present > newest then
		raise exception 'pgcast: schema version % is installed, this file has the older version %',
			present, newest
			using hint = 'Use the pgcast.sql that belongs to the newest pgcast you run.';
	elsif present < 2 then
		raise exception 'pgcast: schema version % is older than the first release', present
			using hint = 'Remove it with uninstall.sql, install again, and call pgcast.watch again.';
	elsif present = newest then
		return;
	end if;
	perform set_config('role', current_setting('pgcast.installer'), true);
	loop
		begin
			attempt := greatest(attempt_limit / 2 ^ floor(random() * 6), '1 ms');
			attempt_end := clock_timestamp() + attempt;
			perform set_config('lock_timeout', (extract(epoch from attempt) * 1000)::int::text, true);
			-- No table becomes watched from here on.
			relation := 'pgcast.source';
			lock table pgcast.source in share row exclusive mode;
			for t in
				select c.oid::regclass as member, 'share row exclusive' as mode
				from pgcast.source s join pg_class c on c.oid = s.relation
				union all
				select c.oid, 'access exclusive' from pg_class c
				where c.relnamespace = 'pgcast'::regnamespace and c.relkind in ('r', 'p')
					and not c.relispartition
				order by mode desc, member
			loop
				relation := t.member;
				perform set_config('lock_timeout', greatest(1,
					extract(epoch from attempt_end - clock_timestamp()) * 1000)::int::text, true);
				execute format('lock table %s in %s mode', relation, t.mode);
			end loop;
			exit;
		exception
			when lock_not_available or deadlock_detected then
				if clock_timestamp() > last_attempt then
					raise exception 'pgcast: % is in use by long transactions', relation
						using errcode = 'lock_not_available',
							hint = 'Run this file again when they have ended: an upgrade needs a moment'
								' in which no transaction that wrote to a watched table is open.';
				end if;
			when insufficient_privilege then
				raise exception 'pgcast: % may not lock %, whose writers would fail during the upgrade',
						current_user, relation
					using errcode = 'insufficient_privilege',
						hint = 'Run this file as a superuser or as the owner of the watched tables.';
		end;
		perform pg_sleep(extract(epoch from attempt));
	end loop;
	perform set_config('lock_timeout', (extract(epoch from attempt_limit) * 1000)::int::text, true);
	perform set_config('role', 'pgcast_owner', true);
end
$version$;
