-- A row that its uid and key identify as the same before and after is updated, if clients can see a
-- difference; else the old one is deleted and the new one inserted. All deletes come first: another
-- row may take the key. A row that clients may not see has no identity.
create or replace function pgcast.template_pairs() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
			select case when k.before then p.o_ident[1] else p.n_ident[1] end, @broadcast@, @type@, k.op,
				case when k.before then p.o_data else p.n_data end,
				case when k.kept then @old@ end, our.journal_table
			from (@pairs@ offset 0) p
			cross join (values (1, 'delete', true, false), (2, 'update', false, true),
				(2, 'insert', false, false)) k(step, op, before, kept)
			where @step@ and case
				when p.o_ident OPERATOR(pg_catalog.=) p.n_ident then k.kept and (not p.whole
					or p.o_data::pg_catalog.text OPERATOR(pg_catalog.<>) p.n_data::pg_catalog.text)
				when k.before then p.o_ident is not null
				else not k.kept and p.n_ident is not null end
			order by k.step, p.place$template$ $function$;
comment on function pgcast.template_pairs() is 'The statement that journals pairs of old and new rows';

create or replace function pgcast.template_sources(out name text, out step text, out pairs text)
returns setof record
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ values
	('one', 'true', $template$select o.ident as o_ident, o.data as o_data, o.key as o_key,
				n.ident as n_ident, n.data as n_data, true as whole, 1 as place
			from (select @row_image@ from old_rows n@join_columns@ offset 0) o
			cross join (select @row_image@ from new_rows n@join_columns@ offset 0) n$template$),
	('many', 'true', $template$select b.ident as o_ident, b.data as o_data, b.key as o_key,
				b.n_ident, b.n_data, true as whole, b.place
			from (
				select b.*, pg_catalog.lead(b.ident) over pair as n_ident,
					pg_catalog.lead(b.data) over pair as n_data
				from (
					select 1 as version, pg_catalog.row_number() over () as place, @row_image@
					from old_rows n@join_columns@
					union all
					select 2, pg_catalog.row_number() over (), @row_image@
					from new_rows n@join_columns@) b
				window pair as (order by b.place, b.version)) b
			where b.version OPERATOR(pg_catalog.=) 1$template$),
	('slow', 'case when pass OPERATOR(pg_catalog.=) 1 then k.kept or k.before else k.step'
		' OPERATOR(pg_catalog.=) 2 and not k.kept end', $template$select our.o.ident as o_ident,
				our.o.data as o_data, our.o.key as o_key, our.n.ident as n_ident, our.n.data as n_data,
				our.o.whole and our.n.whole as whole, 1 as place$template$)
$function$;
comment on function pgcast.template_sources() is
	'Where pairs of old and new rows come from: name, which of their events are written, query';

-- Old and new rows are kept in the same order, so their numbers pair them, without a key. A session
-- keeps the plan of its first call, which may have been for one row: so one row has a statement of its
-- own, and many rows are paired by sorting, not by a join whose plan could be a nested loop.
create or replace function pgcast.template_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	many boolean;
	jit pg_catalog.text;
	current pg_catalog._text;
	key int;
	old_cursor cursor for select * from old_rows;
	new_cursor cursor for select * from new_rows;
	old_row pg_catalog.record;
	new_row pg_catalog.record;
	o pg_catalog.record;
	n pg_catalog.record;
	place int;
	moved pg_catalog._bool := '{}';
begin
	begin
		select g.current, g.bridges, exists (select from new_rows n@join_columns@ where @is_slow@)
			or exists (select from old_rows n@join_columns@ where @is_slow@),
			exists (select from new_rows offset 1)
		into our.journal_table, our.bridges, our.slow_path, our.many
		from pgcast.rotation g where @is_current@;
	exception when others then
		null;
	end;
	if our.slow_path is not false then
		select g.current, g.bridges into our.journal_table, our.bridges from pgcast.rotation g;
		if not found then
			return null;
		end if;
		if not @is_current@ then
			our.current := pgcast.current_pieces(@number@, tg_relid);
		end if;
		for pass in 1 .. 2 loop
			our.place := 0;
			open old_cursor;
			open new_cursor;
			loop
				fetch old_cursor into our.old_row;
				exit when not found;
				fetch new_cursor into our.new_row;
				our.place := our.place OPERATOR(pg_catalog.+) 1;
				continue when pass OPERATOR(pg_catalog.=) 2 and our.moved[our.place] is not true;
				select * into our.o from pgcast.describe_@number@(our.old_row, our.current);
				select * into our.n from pgcast.describe_@number@(our.new_row, our.current);
				our.moved[our.place] := our.n.ident is not null
					and (our.o.ident OPERATOR(pg_catalog.=) our.n.ident) is not true;
				@update_slow@;
			end loop;
			close old_cursor;
			close new_cursor;
		end loop;
	elsif our.many then
		-- A plan keeps its JIT flags, and would be compiled for each later statement.
		our.jit := pg_catalog.current_setting('jit');
		perform pg_catalog.set_config('jit', 'off', true);
		@update_many@;
		perform pg_catalog.set_config('jit', our.jit, true);
	else
		@update_one@;
	end if;
	if found or our.many is not false then
		foreach key in array our.bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_update() is
	'Body of the function that journals a statement''s updated rows';
