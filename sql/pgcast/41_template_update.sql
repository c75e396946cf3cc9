-- Old and new rows are kept in the same order, so their numbers pair them, without a key. A session
-- keeps the plan of its first call, which may have been for one row: so one row has a statement of its
-- own, and many rows are paired by sorting, not by a join whose plan could be a nested loop.
create or replace function pgcast.template_update() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	many boolean;
	key int;
	old_cursor cursor for select * from old_rows;
	new_cursor cursor for select * from new_rows;
	old_row record;
	new_row record;
begin
	begin
		select g.current, g.bridges, exists (select from new_rows n@join_columns@ where @is_slow@)
			or exists (select from old_rows n@join_columns@ where @is_slow@),
			exists (select from new_rows offset 1)
		into journal_table, bridges, slow_path, many
		from pgcast.rotation g;
	exception when others then
		select g.current, g.bridges, true into journal_table, bridges, slow_path from pgcast.rotation g;
	end;
	if slow_path then
		open old_cursor;
		open new_cursor;
		loop
			fetch old_cursor into old_row;
			exit when not found;
			fetch new_cursor into new_row;
			insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
			select case when k.op = 'delete' then o.to_uid else n.to_uid end, @broadcast@, @type@, k.op,
				case when k.op = 'delete' then o.data else n.data end,
				case when k.op = 'update' then o.data end,
				our.journal_table
			from pgcast.describe_@number@(old_row) o
			cross join pgcast.describe_@number@(new_row) n
			join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
				on k.moved = (o.to_uid is distinct from n.to_uid)
			order by k.step;
		end loop;
		close old_cursor;
		close new_cursor;
	elsif many then
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select case when k.op = 'delete' then o.uid else o.new_uid end, @broadcast@, @type@, k.op,
			case when k.op = 'delete' then o.data else o.new_data end,
			case when k.op = 'update' then o.data end,
			our.journal_table
		from (
			select b.place, b.version, b.uid, b.data,
				lead(b.uid) over pair as new_uid, lead(b.data) over pair as new_data
			from (
				select 1 as version, row_number() over () as place, @n_uid@ as uid, @n_json@ as data
				from old_rows n@join_columns@
				union all
				select 2, row_number() over (), @n_uid@, @n_json@ from new_rows n@join_columns@) b
			window pair as (order by b.place, b.version)) o
		join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
			on k.moved = (o.uid is distinct from o.new_uid)
		where o.version = 1
		order by o.place, k.step;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, old, journal_table)
		select case when k.op = 'delete' then o.uid else n.uid end, @broadcast@, @type@, k.op,
			case when k.op = 'delete' then o.data else n.data end,
			case when k.op = 'update' then o.data end,
			our.journal_table
		from (select @n_uid@ as uid, @n_json@ as data from old_rows n@join_columns@) o
		cross join (select @n_uid@ as uid, @n_json@ as data from new_rows n@join_columns@) n
		join (values (1, 'update', false), (2, 'delete', true), (3, 'insert', true)) k(step, op, moved)
			on k.moved = (o.uid is distinct from n.uid)
		order by k.step;
	end if;
	if slow_path or found then
		foreach key in array bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_update() is
	'Body of the function that journals a statement''s updated rows';
