-- Optional: an event trigger that calls pgcast.rewatch after each DDL command that concerns a watched table,
-- so that migrations need not.
--
--     psql -v ON_ERROR_STOP=1 -f follow_ddl.sql      (after pgcast.sql, as a superuser)
--
-- The trigger acts with the rights of the superuser who runs this file, and calls functions of
-- pgcast_owner: grant membership in pgcast_owner to trusted roles only. A command never fails because of
-- it. Running the file again changes nothing; uninstall.sql removes it.

begin;

set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;

create or replace function pgcast.follow_ddl() returns event_trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
	-- Triggers that pgcast.rewatch creates are commands, too.
	if current_setting('pgcast.attaching', true) = 'on' then
		return;
	end if;
	if tg_event = 'ddl_command_end' and not exists (select from pg_event_trigger_ddl_commands() d
			where d.schema_name is distinct from 'pg_temp' and d.schema_name is distinct from 'pgcast') then
		return;
	end if;
	perform set_config('pgcast.attaching', 'on', true);
	perform pgcast.follow_tables(renames => false);
	perform pgcast.rewatch(coalesce(w.relation, l.namesake::regclass))
	from pgcast.watched w join pgcast.source s using (type) join pgcast.located l using (number)
	where w.state <> 'ok' and coalesce(w.relation, l.namesake) is not null;
	perform set_config('pgcast.attaching', '', true);
exception when others then
	raise warning 'pgcast: the watched tables are not up to date: %', sqlerrm
		using hint = 'Call pgcast.rewatch().';
end
$$;
comment on function pgcast.follow_ddl() is 'Follows a DDL command with pgcast.rewatch';
revoke all on function pgcast.follow_ddl() from public;

drop event trigger if exists pgcast_follow_ddl;
drop event trigger if exists pgcast_follow_drop;
create event trigger pgcast_follow_ddl on ddl_command_end
	when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'CREATE TRIGGER', 'CREATE INDEX',
		'ALTER TRIGGER')
	execute function pgcast.follow_ddl();
create event trigger pgcast_follow_drop on sql_drop
	when tag in ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP TRIGGER', 'DROP INDEX')
	execute function pgcast.follow_ddl();
comment on event trigger pgcast_follow_ddl is 'Repairs watched tables after a DDL command';
comment on event trigger pgcast_follow_drop is 'Sends clients a truncate or a reset when a table is dropped';

commit;
