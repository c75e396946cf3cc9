-- The row is too large, or a column is missing. Each attempt stands alone and writes nothing, so its
-- subtransaction takes no transaction id.
create or replace function pgcast.template_describe() returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $function$ select $template$
begin
	begin
		to_uid := @r_uid@;
		if octet_length(to_uid) > @max_uid_bytes@ then
			to_uid := null;
		end if;
	exception when others then
		if current_setting('pgcast.warned', true) is distinct from '@number@' then
			perform set_config('pgcast.warned', '@number@', true);
			raise warning 'pgcast: a change of type % reaches nobody: %', quote_ident(@type@), sqlerrm
				using hint = 'Run pgcast.watch again for the table, or pgcast.unwatch.';
		end if;
	end;
	begin
		data := @r_json@;
	exception when others then
		begin
			data := (select json_object_agg(j.key, j.value) from json_each(to_json(r)) j
				where @columns@ is null or j.key = any(@columns@));
		exception when others then
			data := null;
		end;
	end;
	if data is null or pg_column_size(data) > @max_json_bytes@ then
		begin
			data := @r_key@;
		exception when others then
			data := '{}';
		end;
	end if;
end
$template$ $function$;
comment on function pgcast.template_describe() is
	'Body of the function that makes uid and JSON of any row of a table';
