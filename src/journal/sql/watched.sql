-- The watched tables that are not ok: type and state.
-- With `standby` set, for a standby, which notices no dropped tables.
\if :{?standby}
select w.type, w.state from pgcast.watched w where w.state <> 'ok' order by w.type collate "C";
\else
select w.type, w.state from pgcast.check_watched() w;
\endif
