-- Which of these positions are still part of the history: number, yes or no.
-- parameters: positions
select p.n, exists (
       select from pgcast.meta s cross join pgcast.rotation g
        where s.epoch = f.epoch and f.m < pg_snapshot_xmax(pg_current_snapshot())
          -- of an empty journal, of the last pruned row, or of a row that is there
          and (f.anchor = 0 and f.m = '0'::xid8
               or f.anchor = g.pruned_id and f.m = g.pruned_xid
               or exists (select from pgcast.event e
                           where e.xid = f.m and e.id = f.anchor
                             and round(extract(epoch from e.at) * 1000000)::int8 = f.at)))
  from unnest(:'positions'::text[]) with ordinality p(text, n)
 cross join lateral (
       select a[1] as epoch, a[2]::int8 as anchor, a[3]::int8 as at, a[4]::xid8 as m
         from (select string_to_array(p.text, '.') as a offset 0) q) f
 order by p.n;
