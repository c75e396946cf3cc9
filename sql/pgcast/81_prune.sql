create or replace function pgcast.table_in_use(journal_table int) returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$ select exists (select from pgcast.event e where e.journal_table = table_in_use.journal_table) $$;
comment on function pgcast.table_in_use(int) is 'Whether a table of the journal has rows';

create or replace function pgcast.prune(keep interval) returns bigint
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
	now constant timestamptz := clock_timestamp();
	settled xid8;
	active int;
	since timestamptz;
begin
	if prune.keep is null or prune.keep < interval '0' then
		raise exception 'pgcast: keep must be an interval that is not negative'
			using errcode = 'invalid_parameter_value';
	end if;
	-- One bridge at a time.
	if not pg_try_advisory_xact_lock(pgcast.constant('lock_pruning'), 0) then
		return 0;
	end if;
	-- The clock was ahead, and would keep everything until that time comes again.
	if exists (select from pgcast.horizon h where h.at > now + interval '1 min')
			or exists (select from pgcast.rotation g where g.since > now + interval '1 min') then
		raise warning 'pgcast: the database''s clock was set back: retention begins anew';
		delete from pgcast.horizon h where h.at > now;
		update pgcast.rotation g set since = now where g.since > now;
	end if;
	insert into pgcast.horizon (at, xid)
	select now, pg_snapshot_xmin(pg_current_snapshot())
	where not exists (select from pgcast.horizon h where h.at > now - prune.keep / 100);
	-- PostgreSQL 13 and 14 have no max(xid8).
	select h.xid into settled from pgcast.horizon h
	where h.at <= now - prune.keep order by h.xid desc limit 1;
	delete from pgcast.horizon h where h.xid < settled;

	select g.current, g.since into active, since from pgcast.rotation g;
	if now - since >= prune.keep / 2 and pgcast.table_in_use(active)
			and not pgcast.table_in_use((active + 1) % 3) then
		active := (active + 1) % 3;
		update pgcast.rotation g set current = active, since = now;
	end if;
	-- The oldest table is the one that will be current next.
	return pgcast.empty_table(
		(active + case when pgcast.table_in_use((active + 1) % 3) then 1 else 2 end) % 3, settled);
end
$$;
comment on function pgcast.prune(interval) is
$$Drops journal entries that have been visible for longer than keep, one of three tables at a time, so
that some stay for up to twice as long; cursors from before them are refused with reset. Bridges call
it once a prune_interval; calling it by hand is harmless. Returns the number of entries that it dropped.
Waits up to 100 ms for any lock, and then does less; writers do not wait.$$;

create or replace function pgcast.last_event(journal_table int, out xid xid8, out id bigint)
language sql stable set search_path = pg_catalog, pg_temp
as $$
	select e.xid, e.id from pgcast.event e
	where e.journal_table = last_event.journal_table order by e.xid desc, e.id desc limit 1
$$;
comment on function pgcast.last_event(int) is
	'The event of the greatest transaction in a table of the journal; NULLs when that is empty';

create or replace function pgcast.empty_table(journal_table int, settled xid8) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
	name constant regclass := format('pgcast.event_%s', journal_table);
	last record;
	rows bigint;
begin
	-- Without a lock, for which others would have to wait.
	select f.xid, f.id into last from pgcast.last_event(journal_table) f;
	if last.xid >= settled is not false then
		return 0;
	end if;
	-- Counting many would take seconds.
	rows := (select c.reltuples from pg_class c where c.oid = name);
	if pg_relation_size(name) < 16 * 1024 * 1024 or rows < 0 then
		select count(*) into rows from pgcast.event e where e.journal_table = empty_table.journal_table;
	end if;
	-- The lock waits for transactions that write there with a snapshot from before the rotation.
	execute format('lock table %s in access exclusive mode', name);
	select f.xid, f.id into last from pgcast.last_event(journal_table) f;
	if last.xid >= settled is not false then
		return 0;
	end if;
	execute format('truncate %s', name);
	update pgcast.rotation g set pruned_xid = last.xid, pruned_id = last.id
	where last.xid > g.pruned_xid;
	return rows;
exception when lock_not_available then
	return 0;
end
$$;
comment on function pgcast.empty_table(int, xid8) is
	'Empties a table of the journal in which every transaction is below settled; else, or when a'
	' session is writing to it, does nothing. Returns the number of events, as estimated by PostgreSQL'
	' if the table is larger than 16 MB.';
