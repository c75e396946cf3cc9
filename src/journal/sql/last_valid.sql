-- Which of these positions are still part of the history: number, and the reason why not, or null.
-- parameters: positions
select p.n, pgcast.lost(p.text)
  from unnest(:'positions'::text[]) with ordinality p(text, n)
 order by p.n;
