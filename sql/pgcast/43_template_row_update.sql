create or replace function pgcast.template_row_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
declare
	to_uid text;
	data json;
	old_uid text;
	old_data json;
	fits boolean;
	key int;
begin
	begin
		to_uid := @new_uid@;
		data := @new_json@;
		old_uid := @old_uid@;
		old_data := @old_json@;
		fits := pg_column_size(data) <= @max_json_bytes@ and pg_column_size(old_data) <= @max_json_bytes@
			and (to_uid is null or octet_length(to_uid) <= @max_uid_bytes@)
			and (old_uid is null or octet_length(old_uid) <= @max_uid_bytes@);
	exception when others then
		fits := false;
	end;
	if not fits then
		select d.to_uid, d.data into to_uid, data from pgcast.describe_@number@(new) d;
		select d.to_uid, d.data into old_uid, old_data from pgcast.describe_@number@(old) d;
	end if;
	if to_uid is not distinct from old_uid then
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		values (to_uid, @broadcast@, @type@, 'update', data, old_data,
			(select g.current from pgcast.rotation g));
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		values (old_uid, @broadcast@, @type@, 'delete', old_data, (select g.current from pgcast.rotation g)),
			(to_uid, @broadcast@, @type@, 'insert', data, (select g.current from pgcast.rotation g));
	end if;
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row_update() is
	'Body of the function that journals an updated row';
