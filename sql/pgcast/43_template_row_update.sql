create or replace function pgcast.template_row_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
declare
	current pg_catalog._text;
	o_ident pg_catalog._text;
	o_data pg_catalog.json;
	o_key pg_catalog.json;
	n_ident pg_catalog._text;
	n_data pg_catalog.json;
	whole boolean := true;
	fits boolean;
	key int;
begin
	@member_check@
	begin
		if @is_current@ then
			our.n_ident := @new_ident@;
			our.n_data := @new_json@;
			our.o_ident := @old_ident@;
			our.o_data := @old_json@;
			@keep_old_key@
			our.fits := pg_catalog.pg_column_size(our.n_data) OPERATOR(pg_catalog.<=) @max_json_bytes@
				and pg_catalog.pg_column_size(our.o_data) OPERATOR(pg_catalog.<=) @max_json_bytes@
				and (our.n_ident[1] is null
					or pg_catalog.octet_length(our.n_ident[1]) OPERATOR(pg_catalog.<=) @max_uid_bytes@)
				and (our.o_ident[1] is null
					or pg_catalog.octet_length(our.o_ident[1]) OPERATOR(pg_catalog.<=) @max_uid_bytes@);
		end if;
	exception when others then
		our.fits := false;
	end;
	if our.fits is not true then
		if not @is_current@ then
			our.current := pgcast.current_pieces(@number@, tg_relid);
		end if;
		select d.ident, d.data, d.key, d.whole into our.o_ident, our.o_data, our.o_key, our.whole
		from pgcast.describe_@number@(old, our.current) d;
		select d.ident, d.data, d.whole and our.whole into our.n_ident, our.n_data, our.whole
		from pgcast.describe_@number@(new, our.current) d;
	end if;
	@write_pair@
end
$template$ $function$;
comment on function pgcast.template_row_update() is
	'Body of the function that journals an updated row';

-- See pgcast.template_pairs. The rows of an UPDATE come one by one, so the inserts of rows whose keys
-- change are marked, for the statement's trigger to put them behind the deletes.
create or replace function pgcast.template_write_pair() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$if our.o_ident OPERATOR(pg_catalog.=) our.n_ident then
		if our.whole and our.o_data::pg_catalog.text OPERATOR(pg_catalog.=) our.n_data::pg_catalog.text then
			return null;
		end if;
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select our.n_ident[1], @broadcast@, @type@, 'update', our.n_data, @row_old@, g.current
		from pgcast.rotation g;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select case when k.before then our.o_ident[1] else our.n_ident[1] end, @broadcast@, @type@, k.op,
			case when k.before then our.o_data else our.n_data end,
			case when not k.before and our.o_ident is not null
					and pg_catalog.current_setting(@moving@, true) OPERATOR(pg_catalog.<>) ''
				then pg_catalog.to_json(pg_catalog.pg_trigger_depth()) end,
			g.current
		from pgcast.rotation g cross join (values (true, 'delete'), (false, 'insert')) k(before, op)
		where case when k.before then our.o_ident else our.n_ident end is not null
		order by k.op;
		if not found then
			return null;
		end if;
		if pg_catalog.current_setting(@first_moved@, true) OPERATOR(pg_catalog.<>) '' is not true then
			perform pg_catalog.set_config(@first_moved@,
				pg_catalog.currval('pgcast.event_id')::pg_catalog.text, true);
		end if;
	end if;
	@notify_once@
	return null;$template$ $function$;
comment on function pgcast.template_write_pair() is
	'Piece of a row trigger that journals an old and a new row';

create or replace function pgcast.template_begin_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
begin
	perform pg_catalog.set_config(@moving@, 'on', true);
	return null;
end
$template$ $function$;
comment on function pgcast.template_begin_update() is
	'Body of the function that marks the begin of an UPDATE for the row triggers';

create or replace function pgcast.template_end_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
<<our>>
declare
	moving pg_catalog.text := pg_catalog.current_setting(@moving@, true);
	first pg_catalog.text := pg_catalog.current_setting(@first_moved@, true);
begin
	if our.moving OPERATOR(pg_catalog.<>) '' and our.moving OPERATOR(pg_catalog.<>) 'on' then
		perform pgcast.unmoved(our.moving, @broadcast@, @type@);
	end if;
	if our.first OPERATOR(pg_catalog.<>) '' then
		perform pgcast.insert_last(our.first::pg_catalog.int8, @type@, pg_catalog.pg_trigger_depth());
		perform pg_catalog.set_config(@first_moved@, '', true);
	end if;
	perform pg_catalog.set_config(@moving@, '', true);
	return null;
end
$template$ $function$;
comment on function pgcast.template_end_update() is
	'Body of the function that puts the inserts of an UPDATE behind its deletes';

create or replace function pgcast.moved(old_row text, out ident text[], out data json, out key json,
	out whole boolean)
language sql immutable set search_path = pg_catalog, pg_temp
as $$
	select case when json_typeof(r.r->'ident') = 'array'
			then array(select json_array_elements_text(r.r->'ident')) end,
		r.r->'data', r.r->'key', (r.r->>'whole')::boolean
	from (select moved.old_row::json) r(r)
$$;
comment on function pgcast.moved(text) is
	'An old row that the trigger of a DELETE left for that of an INSERT';

create or replace function pgcast.unmoved(old_row text, broadcast boolean, type text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	select m.ident[1], unmoved.broadcast, unmoved.type, 'delete', m.data, g.current
	from pgcast.moved(unmoved.old_row) m cross join pgcast.rotation g
	where m.ident is not null
$$;
comment on function pgcast.unmoved(text, boolean, text) is
	'Journals the DELETE of a row that no INSERT followed';

create or replace function pgcast.insert_last(first bigint, type text, depth int) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
	update pgcast.event e set id = m.new_id, old = null
	from (
		select o.id, nextval('pgcast.event_id') as new_id
		from (
			select i.id from pgcast.event i
			where i.xid = pg_current_xact_id() and i.id >= insert_last.first
				and i.type = insert_last.type and i.op = 'insert' and i.old::text = insert_last.depth::text
			order by i.id offset 0) o) m
	where e.xid = pg_current_xact_id() and e.id = m.id
$$;
comment on function pgcast.insert_last(bigint, text, int) is
	'Gives new ids to the inserts that an UPDATE marked, so that they come after its deletes';
