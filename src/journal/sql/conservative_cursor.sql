-- A cursor with no open transaction, for when the exact one is too long: it repeats the events
-- since the oldest open transaction began and loses none.
select case when t.xid > g.pruned_xid
            then concat_ws('.', s.epoch, t.id, round(extract(epoch from t.at) * 1000000)::int8,
                           t.xid)
            else concat_ws('.', s.epoch, g.pruned_id, 0, g.pruned_xid) end
  from pgcast.meta s cross join pgcast.rotation g
  left join lateral (
       select e.xid, e.id, e.at from pgcast.event e
        where e.xid < pg_snapshot_xmin(pg_current_snapshot())
        order by e.xid desc, e.id desc limit 1) t on true;
