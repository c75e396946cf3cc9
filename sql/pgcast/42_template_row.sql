create or replace function pgcast.template_row() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	to_uid text;
	data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := @row_uid@;
		data := @row_json@;
		fits := pg_column_size(data) <= @max_json_bytes@
			and (to_uid is null or octet_length(to_uid) <= @max_uid_bytes@);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_@number@(@row@) d;
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	values (to_uid, @broadcast@, @type@, '@op@', data, (select g.current from pgcast.rotation g));
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row() is
	'Body of the functions that journal an inserted or deleted row';

-- Rolling back to a savepoint undoes the setting together with the lock and the NOTIFY.
create or replace function pgcast.template_notify_once() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$if current_setting('pgcast.notified', true)
			is distinct from pg_current_xact_id()::text then
		foreach key in array (select g.bridges from pgcast.rotation g) loop
			@notify_bridge@
		end loop;
		perform set_config('pgcast.notified', pg_current_xact_id()::text, true);
	end if;$template$ $function$;
comment on function pgcast.template_notify_once() is
	'Sends NOTIFY at the first changed row of a transaction';
