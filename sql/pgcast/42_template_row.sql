create or replace function pgcast.template_row() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
declare
	ident pg_catalog._text;
	data pg_catalog.json;
	fits boolean;
	key int;
begin
	begin
		if @holds@ then
			our.ident := @row_ident@;
			our.data := @row_json@;
			our.fits := pg_catalog.pg_column_size(our.data) OPERATOR(pg_catalog.<=) @max_json_bytes@
				and (our.ident[1] is null
					or pg_catalog.octet_length(our.ident[1]) OPERATOR(pg_catalog.<=) @max_uid_bytes@);
		end if;
	exception when others then
		our.fits := false;
	end;
	if our.fits is not true then
		select d.ident, d.data into our.ident, our.data from pgcast.describe_@number@(@row@,
			case when not @holds@ then pgcast.current_pieces(@number@, tg_relid) end) d;
	end if;
	if our.ident is null then
		return null;
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	values (our.ident[1], @broadcast@, @type@, '@op@', our.data, (select g.current from pgcast.rotation g));
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row() is
	'Body of the functions that journal an inserted or deleted row';

-- Rolling back to a savepoint undoes the setting together with the lock and the NOTIFY.
create or replace function pgcast.template_notify_once() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$if (pg_catalog.current_setting('pgcast.notified', true)
			OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.text) is not true then
		foreach key in array (select g.bridges from pgcast.rotation g) loop
			@notify_bridge@
		end loop;
		perform pg_catalog.set_config('pgcast.notified',
			pg_catalog.pg_current_xact_id()::pg_catalog.text, true);
	end if;$template$ $function$;
comment on function pgcast.template_notify_once() is
	'Sends NOTIFY at the first changed row of a transaction';
