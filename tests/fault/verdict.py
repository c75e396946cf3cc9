"""Compares the events that clients received with the journal."""

from clients import Position

# The message of the protocol, built independently here, so that a change is detected.
JOURNAL = """
select id, xid::text::bigint, uid, broadcast, type, ('x' || left(md5(convert_to(
    '{"type":' || to_json(type)::text || ',"op":"' || op || '","id":' || id
    || ',"at":"' || to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    || '","data":' || coalesce(data::text, 'null')
    || case when old is null then '' else ',"old":' || old::text end || '}', 'UTF8')), 15)
    )::bit(60)::bigint
from pgcast.event where type <> 'marker' and (broadcast or uid = any (%s))
"""

# Values that all rows have: how many forms they were given by the writers' settings.
FORMS = """
select count(distinct concat_ws(' ', data->>'at', data->>'span', data->>'share', data->>'raw'))
from pgcast.event where type = 'part'
"""


class Verdict:
    def __init__(self, db, uids):
        self.forms = db.execute(FORMS).fetchone()[0]
        self.broadcasts, self.of_uid, self.xids = [], {}, {}
        for id, xid, uid, broadcast, type, checksum in db.execute(JOURNAL, (uids,)).fetchall():
            self.xids[id] = xid
            rows = self.broadcasts if broadcast else self.of_uid.setdefault(uid, [])
            rows.append((id << 60 | checksum, xid, type))
        self.events = len(self.xids)
        self.ids_by_uid = {key >> 60 for rows in self.of_uid.values() for key, _, _ in rows}
        self.items = {}  # uid -> id -> version
        for uid, id, version in db.execute("select uid, id, version from item").fetchall():
            self.items.setdefault(uid, {})[id] = version

    def _rows(self, notes):
        """Keys and transactions of all events for a client and its types."""
        return [(key, xid) for key, xid, type in self.of_uid.get(notes.uid, []) + self.broadcasts
                if not notes.types or type in notes.types]

    def _against(self, notes, due):
        there = {key for key, _ in self._rows(notes)}
        return {
            "untold": [key >> 60 for key in notes.valid - there],
            "lost": [key >> 60 for key in due if key not in notes.got],
            "duplicated": notes.duplicated,
            "misordered": notes.misordered,
            "unknown": [key >> 60 for key in notes.got - there],
        }

    def compare(self, notes):
        """The number of events that were due, and the wrong ids by kind of fault."""
        base = Position(notes.bases[-1]) if notes.bases else Position("0.0.0.0")
        due = [key for key, xid in self._rows(notes) if not base.seen(xid)]
        found = self._against(notes, due)
        found["repeated"] = [
            id for cursor, ids in notes.again if cursor and ids for at in [Position(cursor)]
            for id in ids if id in self.xids and at.seen(self.xids[id], id)]
        return len(due), {kind: sorted(ids) for kind, ids in found.items()}

    def compare_replica(self, uid, replica):
        """Differences between the answer to init, the later changes, and the table."""
        rows, there = replica.rows, self.items.get(uid, {})
        ids = [id for id in rows.keys() | there.keys()
               if rows.get(id) != there.get(id)] if rows else []
        return {"torn": sorted(set(replica.wrong)), "stale": sorted(ids)}

    def compare_between(self, notes, began, ended):
        """The same for a client without cursors; nothing is due without `ended`."""
        due = [key for key, xid in self._rows(notes)
               if ended and ended.seen(xid) and not began.seen(xid)]
        return len(due), self._against(notes, due)
