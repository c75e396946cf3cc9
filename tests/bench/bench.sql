-- The tables of the benches: the same rows, published in different ways.

create table tick_none (uid text, n int, t bigint, pad text);
create table tick_pgcast (like tick_none);
create table tick_notify (like tick_none);

-- init is not measured: no index, so that a statement's costs are the triggers'.
set client_min_messages = error;
select pgcast.watch('tick_pgcast', type => 'tick');

-- Sent to everyone.
create table news_pgcast (like tick_none);
select pgcast.watch('news_pgcast', null, type => 'news');

-- A trigger as written by hand; its message resembles pgcast's and has the same length.
create function notify_tick() returns trigger language plpgsql as $$
begin
	perform pg_notify('tick', '{"type":"tick","op":"insert","id":' || new.n
		|| ',"at":"' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
		|| '","data":' || row_to_json(new) || '}');
	return null;
end
$$;
create trigger notify after insert on tick_notify for each row execute function notify_tick();

-- The tables for writers, one row each: the log of the worked example, with a primary key and the index
-- that init wants.
create table log_none (like log including all);
create table log_pgcast (like log including all);
create table log_notify (like log including all);
select pgcast.watch('log_pgcast');

create function notify_log() returns trigger language plpgsql as $$
begin
	perform pg_notify('tick', '{"type":"tick","op":"insert","id":' || new.id
		|| ',"at":"' || to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
		|| '","data":' || row_to_json(new) || '}');
	return null;
end
$$;
create trigger notify after insert on log_notify for each row execute function notify_log();

-- The tables for statements of many rows.
create table big_none (id int primary key, uid text, n int, pad text);
create table big_pgcast (like big_none including all);
select pgcast.watch('big_pgcast');
