-- Its speed matters to every writer. To start a query costs 10 us and more, so there are two. Their
-- shared variables are labelled, since the table may have columns of any name. The block with the
-- exception writes nothing: its subtransaction would take a transaction id for each statement.
create or replace function pgcast.template_statement() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	key int;
	r record;
begin
	begin
		select g.current, g.bridges, exists (select from @rows@ n@join_columns@ where @is_slow@)
		into journal_table, bridges, slow_path
		from pgcast.rotation g;
	exception when others then
		select g.current, g.bridges, true into journal_table, bridges, slow_path from pgcast.rotation g;
	end;
	if slow_path then
		for r in select * from @rows@ loop
			insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
			select d.to_uid, @broadcast@, @type@, '@op@', d.data, our.journal_table
			from pgcast.describe_@number@(r) d;
		end loop;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		select @n_uid@, @broadcast@, @type@, '@op@', @n_json@, our.journal_table
		from @rows@ n@join_columns@;
	end if;
	if found then
		foreach key in array bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_statement() is
	'Body of the functions that journal a statement''s inserted or deleted rows';
