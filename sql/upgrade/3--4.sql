-- See 2--3.sql.
do $step$
begin
	if (select m.schema_version from pgcast.meta m) <> 3 then
		return;
	end if;
	update pgcast.meta m set schema_version = 4;
end
$step$;
