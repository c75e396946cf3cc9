create or replace function pgcast.write_event(
	uid text, broadcast boolean, type text, op text, data json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	key int;
begin
	-- Before the event's id is drawn, as in a trigger: see pgcast.low_id.
	perform pg_current_xact_id();
	insert into pgcast.event (uid, broadcast, type, op, data, journal_table)
	select write_event.uid, write_event.broadcast, write_event.type, write_event.op,
		replace(replace(write_event.data::text, E'\n', ' '), E'\r', ' ')::json, g.current
	from pgcast.rotation g;
	foreach key in array (select g.bridges from pgcast.rotation g) loop
		if not pg_try_advisory_xact_lock_shared(pgcast.constant('lock_asleep'), key) then
			perform pg_notify('pgcast', write_event.type);
			exit;
		end if;
	end loop;
end
$$;
comment on function pgcast.write_event(text, boolean, text, text, json) is
	'Journals an event that no trigger makes, and sends NOTIFY when a bridge sleeps';

create or replace function pgcast.publish(uid text, type text, data json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
	perform pgcast.check_type(publish.type);
	if octet_length(publish.uid) > pgcast.constant('max_uid_bytes')
			or pg_column_size(publish.data) > pgcast.constant('max_json_bytes') then
		raise exception 'pgcast: too large to publish'
			using errcode = 'program_limit_exceeded',
				hint = format('A uid has up to %s bytes, data up to %s.',
					pgcast.constant('max_uid_bytes'), pgcast.constant('max_json_bytes'));
	end if;
	perform pgcast.write_event(publish.uid, publish.uid is null, publish.type, 'publish', publish.data);
end
$$;
comment on function pgcast.publish(text, text, json) is
$$Sends an event without a table, when the transaction commits; not in prepared transactions.
  uid   its receiver, up to 255 bytes; NULL: every client
  type  as for pgcast.watch; may be a watched table's
  data  up to 16 MiB; NULL arrives as null
Only its owner and roles with pgcast.grant_publish may call it.$$;

-- Literals are of no type: the forms with text are chosen for them.
create or replace function pgcast.publish(uid text, type text, data jsonb) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select pgcast.publish($1, $2, $3::text::json) $$;
create or replace function pgcast.publish(uid text, type text, data text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select pgcast.publish($1, $2, $3::json) $$;
create or replace function pgcast.publish(uid bigint, type text, data json) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select pgcast.publish($1::text, $2, $3) $$;
create or replace function pgcast.publish(uid bigint, type text, data jsonb) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select pgcast.publish($1::text, $2, $3::text::json) $$;
create or replace function pgcast.publish(uid bigint, type text, data text) returns void
language sql set search_path = pg_catalog, pg_temp
as $$ select pgcast.publish($1::text, $2, $3::json) $$;
comment on function pgcast.publish(text, text, jsonb) is 'pgcast.publish(text, text, json) for jsonb';
comment on function pgcast.publish(text, text, text) is
	'pgcast.publish(text, text, json) for a text that is JSON';
comment on function pgcast.publish(bigint, text, json) is
	'pgcast.publish(text, text, json) for a number as uid';
comment on function pgcast.publish(bigint, text, jsonb) is
	'pgcast.publish(text, text, json) for a number as uid, and jsonb';
comment on function pgcast.publish(bigint, text, text) is
	'pgcast.publish(text, text, json) for a number as uid, and a text that is JSON';

create or replace function pgcast.grant_publish(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	fn regprocedure;
begin
	execute format('grant usage on schema pgcast to %I', role);
	for fn in
		select p.oid from pg_proc p
		where p.pronamespace = 'pgcast'::regnamespace and p.proname = 'publish'
	loop
		execute format('grant execute on function %s to %I', fn, role);
	end loop;
end
$$;
comment on function pgcast.grant_publish(name) is
	'Grants a role the right to call pgcast.publish for every uid and type';

create or replace function pgcast.reset_type(type text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	perform pgcast.check_type(reset_type.type);
	perform pgcast.write_event(null, true, reset_type.type, 'reset', null);
end
$$;
comment on function pgcast.reset_type(text) is
$$Sends {"type":"pgcast","op":"reset","reason":"schema","for":TYPE} to every client with control messages
when the transaction commits: its rows of this type are out of date, and it has to send init again. For
changes that no trigger sees, such as a partition with rows that is attached or detached.$$;

create or replace function pgcast.grant_dump(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	execute format('grant usage on schema pgcast to %I', role);
	execute format('grant select on all tables in schema pgcast to %I', role);
	execute format('grant select on all sequences in schema pgcast to %I', role);
end
$$;
comment on function pgcast.grant_dump(name) is
	'Grants a role the rights that pg_dump of this database needs: to read the tables of the schema pgcast,'
	' with all events';
