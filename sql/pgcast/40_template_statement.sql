-- Its speed matters to every writer. To start a query costs 10 us and more, so there are two. Their
-- shared variables are labelled, since the table may have columns of any name. The block with the
-- exception writes nothing: its subtransaction would take a transaction id for each statement.
--
-- A SET clause costs a single-row INSERT a tenth of its time, so search_path is pinned only where user
-- texts and types need it: all names are qualified, those of types and operators, too. IS DISTINCT
-- FROM, IN, BETWEEN, NULLIF and CASE x WHEN contain operators that cannot be.
create or replace function pgcast.template_statement() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
declare
	journal_table smallint;
	bridges int[];
	slow_path boolean;
	current pg_catalog._text;
	key int;
	r pg_catalog.record;
begin
	begin
		select g.current, g.bridges, exists (select from @rows@ n@join_columns@ where @is_slow@)
		into our.journal_table, our.bridges, our.slow_path
		from pgcast.rotation g where @is_current@;
	exception when others then
		null;
	end;
	if our.slow_path is not false then
		select g.current, g.bridges into our.journal_table, our.bridges from pgcast.rotation g;
		-- Restored without data: until pgcast.sql has run again, nothing is journaled.
		if not found then
			return null;
		end if;
		if not @is_current@ then
			our.current := pgcast.current_pieces(@number@, tg_relid);
		end if;
		for r in select * from @rows@ loop
			insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
			select d.ident[1], @broadcast@, @type@, '@op@', d.data, our.journal_table
			from pgcast.describe_@number@(our.r, our.current) d where d.ident is not null;
		end loop;
	else
		insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
		select @n_uid@, @broadcast@, @type@, '@op@', @n_json@, our.journal_table
		from @rows@ n@join_columns@ where @n_visible@;
	end if;
	if found then
		foreach key in array our.bridges loop
			@notify_bridge@
		end loop;
	end if;
	return null;
end
$template$ $function$;
comment on function pgcast.template_statement() is
	'Body of the functions that journal a statement''s inserted or deleted rows';
