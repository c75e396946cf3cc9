create or replace function pgcast.schema_version() returns int
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$ select m.schema_version from pgcast.meta m $$;
comment on function pgcast.schema_version() is 'The version of these objects, for bridges to compare';

create or replace function pgcast.from_utf8(bytes bytea) returns text
language plpgsql immutable strict set search_path = pg_catalog, pg_temp
as $$
begin
	return convert_from(bytes, 'UTF8');
exception when untranslatable_character or character_not_in_repertoire then
	return null;
end
$$;
comment on function pgcast.from_utf8(bytea) is
	'A text from its UTF-8 form; NULL, which equals nothing, when this database''s encoding can''t hold it';

-- A transaction above m that is not delivered may have drawn ids below the anchor only if it was in
-- progress when the position was taken. There were at most so many of those as the server has
-- connections and prepared transactions, and they are the first ones above m. Ranges are cut at the
-- transactions in progress now, whose events would be read in vain.
create or replace function pgcast.low_id(m xid8, open xid8[], anchor bigint) returns bigint
language sql stable set search_path = pg_catalog, pg_temp
as $$
	with recursive running as materialized (
		select array(select x from pg_snapshot_xip(pg_current_snapshot()) x
			where x > low_id.m order by x limit 16) as xids
	), first(xid, id, hi, n) as (
		select e.xid, e.id, r.hi, 1
		from running cross join unnest(low_id.m || running.xids,
			running.xids || pg_snapshot_xmax(pg_current_snapshot())) r(lo, hi)
		cross join lateral (select e.xid, e.id from pgcast.event e
			where e.xid > r.lo and e.xid < r.hi order by e.xid, e.id limit 1) e
		union all
		select e.xid, e.id, f.hi, f.n + 1
		from first f
		cross join lateral (select e.xid, e.id from pgcast.event e
			where e.xid > f.xid and e.xid < f.hi order by e.xid, e.id limit 1) e
		where f.n < current_setting('max_connections')::int
			+ current_setting('max_prepared_transactions')::int
	)
	select least(low_id.anchor, (select min(f.id) - 1 from first f), (
		select min(e.id) - 1 from unnest(low_id.open) o
		cross join lateral (select e.id from pgcast.event e
			where e.xid = o order by e.xid, e.id limit 1) e
		where o <> all (array(select pg_snapshot_xip(pg_current_snapshot())))))
$$;
comment on function pgcast.low_id(xid8, xid8[], bigint) is
	'The id behind which all events are that a position (m, open), given by the event anchor, does not'
	' have';

create or replace function pgcast.broadcast_ranges(lows bigint[], max_broadcasts int)
returns table (low bigint, bound bigint)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
	share int := broadcast_ranges.max_broadcasts;
	max_ranges int := 16;
	l bigint[];
	b bigint[];
	next bigint;
begin
	for attempt in 1..2 loop
		l := '{}';
		b := '{}';
		next := (select min(p) from unnest(lows) p);
		while next is not null and cardinality(l) < max_ranges loop
			l := l || next;
			b := b || (select e.id from pgcast.event e
				where e.uid is null and e.broadcast and e.id > next
				order by e.uid, e.id offset share - 1 limit 1);
			next := (select min(p) from unnest(lows) p where p >= b[cardinality(b)]);
		end loop;
		exit when cardinality(l) < 2;
		max_ranges := cardinality(l);
		share := greatest(broadcast_ranges.max_broadcasts / max_ranges, 1);
	end loop;
	return query select r.low, r.bound from unnest(l, b) r(low, bound);
end
$$;
comment on function pgcast.broadcast_ranges(bigint[], int) is
	'Ranges of ids (low, bound] with so many broadcasts in all, which begin at the lowest of these ids, and'
	' at others that are behind the end of the range before. A bound is NULL if there are no more.';

create or replace function pgcast.microseconds(at timestamptz) returns bigint
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select round(extract(epoch from microseconds.at) * 1000000)::bigint $$;
comment on function pgcast.microseconds(timestamptz) is 'Microseconds since 1970';

create or replace function pgcast.witness(low xid8, high xid8, open xid8[], ended xid8[])
returns table (n bigint, sum numeric, newest bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
	-- Ranges between the open ones, whose events may be many and are read in vain.
	with recursive first(xid, hi) as (
		select e.xid, r.hi
		from (select array(select o from unnest(witness.open) o
			where o > witness.low and o <= witness.high order by o) as xids) c
		cross join lateral unnest(witness.low || c.xids, c.xids || null::xid8) r(lo, hi)
		cross join lateral (select e.xid from pgcast.event e
			where e.xid > r.lo and e.xid <= witness.high and e.xid < r.hi is not false
			order by e.xid, e.id limit 1) e
		union all
		select e.xid, f.hi
		from first f
		cross join lateral (select e.xid from pgcast.event e
			where e.xid > f.xid and e.xid <= witness.high and e.xid < f.hi is not false
			order by e.xid, e.id limit 1) e
	)
	select count(*), coalesce(sum(pgcast.microseconds(t.at)), 0), max(pgcast.microseconds(t.at))
	from (
		-- A client may ask for any range; the limit ends the recursion.
		(select f.xid from first f limit pgcast.constant('max_witnesses'))
		union all
		select o from unnest(witness.ended) o) x
	cross join lateral (select e.at from pgcast.event e
		where e.xid = x.xid order by e.xid desc, e.id desc limit 1) t
$$;
comment on function pgcast.witness(xid8, xid8, xid8[], xid8[]) is
	'Of the transactions above low and up to high that are not open, and those in ended: how many have events,'
	' the sum of the times of the last ones in microseconds, and the latest time. Of the range, at'
	' most pgcast.constant(''max_witnesses'').';

create or replace function pgcast.lost(cursor text) returns text
language plpgsql stable strict security definer set search_path = pg_catalog, pg_temp
as $$
declare
	fields constant text[] := string_to_array(cursor, '.');
	-- See src/journal/witness.c.
	witness constant text[] := string_to_array(fields[3], '-');
	high constant bigint := coalesce(nullif(witness[5], ''), fields[4]);
	low xid8;
	ended xid8[];
	bits bytea;
	anchor constant bigint := fields[2];
	m constant xid8 := fields[4];
	open xid8[] := array(
		select greatest(fields[4]::bigint - d::bigint, 0)::text::xid8 from unnest(fields[5:]) d);
	newest constant xid8 := pg_snapshot_xmax(pg_current_snapshot());
	pruned record;
begin
	select g.pruned_xid as xid, g.pruned_id as id into pruned from pgcast.rotation g;
	if fields[1] is distinct from (select t.epoch from pgcast.meta t) then
		return 'epoch';
	elsif m < pruned.xid or pruned.xid >= any (open) then
		return 'pruned';
	elsif pg_is_in_recovery() and (m >= newest or pg_xact_status(m) = 'in progress') then
		return 'later';
	elsif m >= newest then
		return 'cursor';
	end if;
	-- The position of an empty journal, of the last pruned row, or of a row that is there.
	if not (anchor = 0 and m = '0'::xid8 or anchor = pruned.id and m = pruned.xid
			or exists (select from pgcast.event e where e.xid = m and e.id = anchor
				and pgcast.microseconds(e.at) = witness[1]::bigint)) then
		return 'cursor';
	elsif cardinality(witness) = 1 then
		return null;
	end if;
	low := greatest(high - witness[3]::bigint, 0)::text;
	ended := array(select greatest(high - d::bigint, 0)::text::xid8
		from unnest(string_to_array(witness[4], '_')) d);
	if witness[5] is not null then
		bits := decode(witness[6], 'hex');
		open := array(select (low::text::bigint + 1 + i)::text::xid8
			from generate_series(0, 8 * length(bits) - 1) i where get_bit(bits, i) = 1);
	end if;
	-- Pruned ones were committed long ago.
	if low < pruned.xid or pruned.xid >= any (ended) then
		return null;
	elsif high::text::xid8 < newest
			and (select w.sum from pgcast.witness(low, high::text::xid8, open, ended) w) = witness[2]::numeric then
		return null;
	end if;
	return case when pg_is_in_recovery() then 'later' else 'cursor' end;
end
$$;
comment on function pgcast.lost(text) is
	'NULL if a position is part of the history; else the reason why clients cannot resume from it: epoch,'
	' pruned or cursor, and later on a standby that may not have replayed it yet';

create or replace function pgcast.bridge_join() returns int
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
	cluster constant text := (select c.system_identifier::text from pg_control_system() c);
	own_key int;
begin
	-- One at a time. Writers do not wait: they do not write to the table.
	lock table pgcast.bridge in share row exclusive mode;
	if cluster <> (select m.epoch from pgcast.meta m) then
		truncate pgcast.event, pgcast.horizon;
		update pgcast.rotation g set pruned_xid = '0', pruned_id = 0;
		update pgcast.meta m set epoch = cluster;
	end if;
	for own_key in select b.key from pgcast.bridge b order by b.key loop
		if pg_try_advisory_lock(pgcast.constant('lock_alive'), own_key) then
			-- Each row costs every writer time: delete later ones that no bridge holds.
			delete from pgcast.bridge b
			where b.key > own_key
				and pg_try_advisory_xact_lock(pgcast.constant('lock_alive'), b.key);
			return own_key;
		end if;
	end loop;
	insert into pgcast.bridge (key) select coalesce(max(b.key), 0) + 1 from pgcast.bridge b
	returning key into own_key;
	perform pg_advisory_lock(pgcast.constant('lock_alive'), own_key);
	return own_key;
end
$$;
comment on function pgcast.bridge_join() is
	'Gives the session the key of a bridge: it holds the advisory lock (lock_alive, key) until it ends,'
	' and sleeps by holding (lock_asleep, key); see pgcast.constants. Empties a journal that comes from'
	' another cluster, whose transaction ids mean nothing here. Not on a standby.';

create or replace function pgcast.write_canary() returns bigint
language sql security definer set search_path = pg_catalog, pg_temp
as $$
	insert into pgcast.event (broadcast, type, op, journal_table)
	select false, 'pgcast', 'canary', g.current from pgcast.rotation g
	returning id
$$;
comment on function pgcast.write_canary() is
	'Writes an event for nobody and returns its id: a bridge measures how long it takes to read it';

create or replace function pgcast.grant_bridge(role name) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
	execute format('grant usage on schema pgcast to %I', role);
	execute format('grant select on pgcast.event, pgcast.meta, pgcast.rotation, pgcast.watched to %I',
		role);
	execute format('grant execute on function pgcast.schema_version(), pgcast.bridge_join(),'
		' pgcast.broadcast_ranges(bigint[], int), pgcast.lost(text), pgcast.witness(xid8, xid8, xid8[], xid8[]),'
		' pgcast.init(text, text), pgcast.prune(interval), pgcast.write_canary(), pgcast.check_watched() to %I',
		role);
end
$$;
comment on function pgcast.grant_bridge(name) is
	'Grants a role the rights of a bridge: to read the journal and to call the functions that bridges'
	' use. The role must also be able to connect. It sees every uid''s events.';
