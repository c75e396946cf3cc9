-- UPDATE pairs old and new rows with every plan.
begin;
select plan(6);

create table pair (id int primary key, uid text, was int, is_now int);
create index on pair (uid, id);
create table other (id int, n int);
insert into pair select i, 'u' || i % 7, null, i from generate_series(1, 20000) i order by random();
insert into other select i, -i from generate_series(1, 20000) i order by random();
analyze pair, other;
select pgcast.watch('pair');

create function wrong() returns bigint language sql as $$
	select count(*) from pgcast.event e
	where e.op = 'update' and (e.data->>'id' <> e.old->>'id' or e.data->>'was' <> e.old->>'is_now')
$$;

update pair set was = is_now, is_now = -is_now;
select is(wrong(), 0::bigint, 'update of the whole table');
update pair p set was = p.is_now, is_now = o.n from other o where o.id = p.id and o.n % 2 = 0;
select is(wrong(), 0::bigint, 'update with a hash join');
set local enable_hashjoin = off;
update pair p set was = p.is_now, is_now = o.n + 1 from other o where o.id = p.id;
select is(wrong(), 0::bigint, 'update and trigger without hash joins');
with chosen as materialized (select id from other order by n limit 7000)
update pair set was = is_now, is_now = is_now + 5 where id in (select id from chosen);
select is(wrong(), 0::bigint, 'update with a CTE');
set local work_mem = '64kB';
reset enable_hashjoin;
update pair set was = is_now, is_now = is_now * 2 where uid <> 'u3';
select is(wrong(), 0::bigint, 'update of more rows than work_mem holds');
select is((select count(*) from pgcast.event where op = 'update'),
	(20000 + 10000 + 20000 + 7000 + (select count(*) from pair where uid <> 'u3'))::bigint, 'no event is missing');

select * from finish();
rollback;
