create or replace function pgcast.publish(uid text, type text, data json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	key int;
begin
	perform pgcast.check_type(publish.type);
	if octet_length(publish.uid) > pgcast.constant('max_uid_bytes')
			or pg_column_size(publish.data) > pgcast.constant('max_json_bytes') then
		raise exception 'pgcast: too large to publish'
			using errcode = 'program_limit_exceeded',
				hint = format('A uid has up to %s bytes, data up to %s.',
					pgcast.constant('max_uid_bytes'), pgcast.constant('max_json_bytes'));
	end if;
	-- Before the event''s id is drawn, as in a trigger: see pgcast.low_id.
	perform pg_current_xact_id();
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	select publish.uid, publish.uid is null, publish.type, 'publish',
		replace(replace(publish.data::text, E'\n', ' '), E'\r', ' ')::json, g.current
	from pgcast.rotation g;
	foreach key in array (select g.bridges from pgcast.rotation g) loop
		if not pg_try_advisory_xact_lock_shared(pgcast.constant('lock_asleep'), key) then
			perform pg_notify('pgcast', publish.type);
			exit;
		end if;
	end loop;
end
$$;
comment on function pgcast.publish(text, text, json) is
$$Sends an event without a table, when the transaction commits; not in prepared transactions.
  uid   its receiver, up to 255 bytes; NULL: every client
  type  as for pgcast.watch; may be a watched table's
  data  up to 16 MiB; NULL arrives as null
Only its owner may call it, until execute on it is granted.$$;
