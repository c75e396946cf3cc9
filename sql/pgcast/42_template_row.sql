create or replace function pgcast.template_row() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
declare
	ident pg_catalog._text;
	data pg_catalog.json;
	whole boolean := true;
	fits boolean;
	key int;
	@move_variables@
begin
	@member_check@
	begin
		if @is_current@ then
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
		select d.ident, d.data, d.whole into our.ident, our.data, our.whole
		from pgcast.describe_@number@(@row@,
			case when not @is_current@ then pgcast.current_pieces(@number@, tg_relid) end) d;
	end if;
	@move@
	if our.ident is null then
		return null;
	end if;
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	select our.ident[1], @broadcast@, @type@, '@op@', our.data, g.current from pgcast.rotation g;
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
		foreach key in array coalesce((select g.bridges from pgcast.rotation g), '{}') loop
			@notify_bridge@
		end loop;
		perform pg_catalog.set_config('pgcast.notified',
			pg_catalog.pg_current_xact_id()::pg_catalog.text, true);
	end if;$template$ $function$;
comment on function pgcast.template_notify_once() is
	'Sends NOTIFY at the first changed row of a transaction';

-- An UPDATE that moves a row to another partition fires the triggers of a DELETE and an INSERT, one
-- after the other. The first one leaves the old row in a setting, which statement triggers made for the
-- UPDATE; so its name has the depth of triggers.
create or replace function pgcast.template_moves(out name text, out piece text) returns setof record
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ values
	('delete', $template$our.moving := pg_catalog.current_setting(@moving@, true);
	if our.moving OPERATOR(pg_catalog.<>) '' then
		if our.moving OPERATOR(pg_catalog.<>) 'on' then
			perform pgcast.unmoved(our.moving, @broadcast@, @type@);
		end if;
		perform pg_catalog.set_config(@moving@, pg_catalog.json_build_object('ident', our.ident,
			'data', our.data, 'whole', our.whole, 'key', @old_key@)::pg_catalog.text, true);
		return null;
	end if;$template$),
	('insert', $template$our.moving := pg_catalog.current_setting(@moving@, true);
	if our.moving OPERATOR(pg_catalog.<>) '' and our.moving OPERATOR(pg_catalog.<>) 'on' then
		perform pg_catalog.set_config(@moving@, 'on', true);
		select m.ident, m.data, m.key, m.whole and our.whole, our.ident, our.data
		into our.o_ident, our.o_data, our.o_key, our.whole, our.n_ident, our.n_data
		from pgcast.moved(our.moving) m;
		@write_pair@
	end if;$template$)
$function$;
comment on function pgcast.template_moves() is
	'Pieces of the row triggers of a partitioned table for rows that an UPDATE moves, by operation';
