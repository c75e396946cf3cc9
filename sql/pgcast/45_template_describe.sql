-- The row is too large, or a column has another name. Each attempt stands alone and writes nothing, so
-- its subtransaction takes no transaction id.
create or replace function pgcast.template_describe() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
#variable_conflict use_column
<<our>>
begin
	begin
		if current is null then
			ident := @r_ident@;
		else
			execute current[1] into ident using r;
		end if;
		if octet_length(ident[1]) > @max_uid_bytes@ then
			ident[1] := null;
		end if;
	exception when others then
		ident := array[null::text];
		if current_setting('pgcast.warned', true) is distinct from '@number@' then
			perform set_config('pgcast.warned', '@number@', true);
			raise warning 'pgcast: a change of type % reaches nobody: %', quote_ident(@type@), sqlerrm
				using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
		end if;
	end;
	begin
		if current is null then
			key := @r_key@;
		else
			execute current[2] into key using r;
		end if;
	exception when others then
		key := '{}';
	end;
	begin
		if current is null then
			data := @r_json@;
		else
			execute current[3] into data using r;
		end if;
		whole := pg_column_size(data) <= @max_json_bytes@;
	exception when others then
		whole := false;
	end;
	if whole is not true then
		whole := false;
		data := key;
	end if;
end
$template$ $function$;
comment on function pgcast.template_describe() is
	'Body of the function that makes identity and JSON of any row of a table';
