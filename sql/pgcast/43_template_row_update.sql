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
	begin
		if @holds@ then
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
		if not @holds@ then
			our.current := pgcast.current_pieces(@number@, tg_relid);
		end if;
		select d.ident, d.data, d.key, d.whole into our.o_ident, our.o_data, our.o_key, our.whole
		from pgcast.describe_@number@(old, our.current) d;
		select d.ident, d.data, d.whole and our.whole into our.n_ident, our.n_data, our.whole
		from pgcast.describe_@number@(new, our.current) d;
	end if;
	if our.o_ident OPERATOR(pg_catalog.=) our.n_ident then
		if our.whole and our.o_data::pg_catalog.text OPERATOR(pg_catalog.=) our.n_data::pg_catalog.text then
			return null;
		end if;
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		values (our.n_ident[1], @broadcast@, @type@, 'update', our.n_data, @row_old@,
			(select g.current from pgcast.rotation g));
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		select case when k.before then our.o_ident[1] else our.n_ident[1] end, @broadcast@, @type@, k.op,
			case when k.before then our.o_data else our.n_data end, g.current
		from pgcast.rotation g cross join (values (true, 'delete'), (false, 'insert')) k(before, op)
		where case when k.before then our.o_ident else our.n_ident end is not null
		order by k.op;
		if not found then
			return null;
		end if;
	end if;
	@notify_once@
	return null;
end
$template$ $function$;
comment on function pgcast.template_row_update() is
	'Body of the function that journals an updated row';
