-- The connected uids that have events since a position; null: there are broadcasts. A pull that is too
-- large is left to catching up.
-- parameters: position, uids
with since as materialized (
  select f.*, pgcast.low_id(f.m, f.open, f.anchor) as low
    from (select a[2]::int8 as anchor, a[4]::xid8 as m,
                 array(select greatest(a[4]::int8 - d::int8, 0)::text::xid8
                         from unnest(a[5:]) d) as open
            from (select string_to_array(:'position', '.') as a offset 0) q) f)
select null::int8, u.uid
  from since p
 cross join (select pgcast.from_utf8(r) as uid from unnest(:'uids'::bytea[]) r offset 0) u
 where exists (select from pgcast.event e
                where e.uid = u.uid and e.id > p.low and (e.xid > p.m or e.xid = any (p.open)) offset 0)
union all
select null, null from since p
 where exists (select from pgcast.event e
                where e.uid is null and e.broadcast and e.id > p.low
                  and (e.xid > p.m or e.xid = any (p.open)) offset 0);
