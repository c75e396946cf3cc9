-- Answers to init: the number of the query and the message, null if the type is unknown.
-- parameters: types, uids
-- prepared
select i.n, pgcast.init(i.type, i.uid)
  from unnest(:'types'::text[], :'uids'::text[]) with ordinality i(type, uid, n);
