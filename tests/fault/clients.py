"""The clients of the torture, and their notes, which are compared with the journal at the end.

Without the journal, a client checks at once that nothing comes twice within a connection and that
the changes of a row come in order.
"""

import asyncio
import contextlib
import hashlib
import json
import time
import urllib.parse

import psycopg
import websockets


def key_of(id, text):
    """Identifies a message by its id and the checksum that verdict.py computes in SQL."""
    return id << 60 | int(hashlib.md5(text.encode()).hexdigest()[:15], 16)


class Position:
    """The contents of a cursor, epoch.anchor.at.m[.distance…], or FROM~AFTER~TO for a client that
    is catching up, with TO without epoch; opaque to all but this test."""

    def __init__(self, cursor):
        text, *window = cursor.split("~")
        m, *distances = (int(part) for part in text.split(".")[3:])
        self.m, self.open = m, {m - distance for distance in distances}
        self.after, self.to = 0, None
        if window:
            self.after, self.to = int(window[0]), Position(f"0.{window[1]}")

    def seen(self, xid, id=None):
        if xid <= self.m and xid not in self.open:
            return True
        return id is not None and id <= self.after and self.to.seen(xid)


class Snapshot:
    """pg_current_snapshot() as text."""

    def __init__(self, text):
        _, xmax, open = text.split(":")
        self.xmax, self.open = int(xmax), {int(xid) for xid in open.split(",") if xid}

    def seen(self, xid):
        return xid < self.xmax and xid not in self.open


class Notes:
    """The messages that a client received."""

    def __init__(self, uid, types=None):
        self.uid, self.types = uid, types
        self.got = set()  # keys of messages; after lost commits two may have the same id
        self.valid = set()  # of those since the last reset
        self.last = 0  # greatest id
        self.rows = {}  # (type, row) -> its last change
        self.connection = set()  # keys received on this connection
        self.history = []  # of connections: time, cursor, greatest id before
        self.bases = []  # cursors at which the client began anew
        self.again = []  # (cursor of the resume, ids that had been received before)
        self.since = {}  # cursor -> keys received after it
        self.unconfirmed = set()  # received after the cursor of this resume, and not yet again
        self.full_cursors = 0  # on this connection, which are not of a client that is catching up
        self.duplicated, self.misordered, self.latencies = [], [], []

    def connected(self, cursor):
        self.connection = set()
        self.again.append((cursor, []))
        self.unconfirmed = set(self.since.get(cursor, ()))
        self.full_cursors = 0
        self.history.append((time.strftime("%H:%M:%S", time.gmtime()), cursor, self.last))

    def around(self, ids):
        """The connections on which events near these ids came."""
        earlier = [n for n, (_, _, before) in enumerate(self.history) if before <= max(ids)]
        since = [n for n in earlier if self.history[n][2] >= min(ids)]
        return self.history[min([*since, earlier[-1]]) - 1:earlier[-1] + 2]

    def keep(self, cursors):
        """The cursors from which the client may resume."""
        self.since = {cursor: self.since.get(cursor, set()) for cursor in cursors}

    def lost_some(self, cursor):
        """Whether events are lost without a reset: the connection ended between them and their
        cursor, and they were not among those that came again."""
        self.full_cursors += "~" not in cursor
        needed = 2 if "~" in (self.again[-1][0] or "") else 1
        return self.full_cursors >= needed and bool(self.unconfirmed)

    def restart(self):
        """Commits were lost: their ids may be used again for other events."""
        self.connection, self.rows, self.valid = set(), {}, set()
        self.since, self.unconfirmed = {}, set()
        self.again.append((None, []))

    def take(self, text, message):
        id = message["id"]
        key = key_of(id, text)
        if key in self.connection:
            self.duplicated.append(id)
        self.connection.add(key)
        self.valid.add(key)
        self.unconfirmed.discard(key)
        for keys in self.since.values():
            keys.add(key)
        if key in self.got:
            self.again[-1][1].append(id)
            return False
        self.got.add(key)
        self.last = max(self.last, id)
        self._order(message)
        return True

    def _order(self, message):
        data = message["data"]
        if not isinstance(data, dict) or "version" not in data:
            return
        row = message["type"], data["id"]
        step = 2 * data["version"] + (message["op"] == "delete")
        if self.rows.get(row, 0) >= step:
            self.misordered.append(message["id"])
        self.rows[row] = step
        if "sent" in data:
            self.latencies.append(time.time() - data["sent"])


class Replica:
    """The rows that a client would show: the answer to init and every later change."""

    def __init__(self):
        self.rows = None  # id -> version; None: no answer yet
        self.needs_init = False
        self.inits = 0
        self.wrong = []  # events that do not fit

    def reset(self):
        self.rows, self.needs_init = None, True

    def wants_init(self, random):
        return self.needs_init or (
            self.rows is not None and len(self.rows) < 3000 and random.random() < 0.01)

    def begin(self, rows):
        """A repeated answer has to equal the known rows."""
        answer = {row["id"]: row["version"] for row in rows}
        if self.rows is not None:
            self.wrong += [id for id in answer.keys() | self.rows.keys()
                           if answer.get(id) != self.rows.get(id)]
        self.rows = answer
        self.inits += 1

    def apply(self, message):
        if self.rows is None or message["type"] != "item":
            return
        row, op = message["data"], message["op"]
        had = {"insert": None, "update": row["version"] - 1, "delete": row["version"]}[op]
        if self.rows.get(row["id"]) != had:
            self.wrong.append(message["id"])
        if op == "delete":
            self.rows.pop(row["id"], None)
        else:
            self.rows[row["id"]] = row["version"]


class Client:
    """A client on pgcast.v1 that disconnects at random and resumes from its latest cursor."""

    def __init__(self, ports, random, uid, *, types=None, mistake=None, faultless=False,
                 latest=False, replays=False):
        self.ports, self.random, self.uid, self.types = ports, random, uid, types
        self.notes = Notes(uid, types)
        self.cursors = []
        self.resumes, self.resets, self.refusals = 0, [], {}
        self.mistake = mistake  # sabotage: one mistake, made once
        self.held = {}
        self.silent, self.unexplained = 0, False  # invalid cursors without a reset
        self.stopping = False
        self.faultless = faultless
        self.older = 0.0 if latest else 0.1  # share of resumes from older cursors
        self.began = asyncio.Event()
        self.ended = False
        self.replica = Replica() if replays else None
        self.socket = None

    def _url(self, cursor):
        query = {"uid": self.uid} | ({"since": cursor} if cursor else {})
        if self.types:
            query["types"] = ",".join((*self.types, "marker"))
        return f"ws://127.0.0.1:{self.random.choice(self.ports)}/?{urllib.parse.urlencode(query)}"

    async def run(self):
        while not self.stopping:
            cursor = None
            if self.cursors:
                older = self.random.random() < self.older
                cursor = self.random.choice(self.cursors if older else self.cursors[-1:])
            try:
                await self._connection(cursor)
            except (OSError, EOFError, TimeoutError, websockets.WebSocketException) as error:
                code = getattr(error, "code", None) or type(error).__name__
                self.refusals[code] = self.refusals.get(code, 0) + 1
            await asyncio.sleep(self.random.uniform(0, 0.5))

    async def _connection(self, cursor):
        async with websockets.connect(
                self._url(cursor), subprotocols=["pgcast.v1"], compression=None, ping_interval=None,
                max_size=None, max_queue=16, open_timeout=5, close_timeout=1) as socket:
            self.socket = socket
            self.notes.connected(cursor)
            fate = asyncio.ensure_future(self._fate(socket))
            try:
                await self._ask_init(socket)
                async for text in socket:
                    self._message(text)
                    if self.replica and self.replica.wants_init(self.random):
                        await self._ask_init(socket)
                    while not self.faultless and self.stalled > time.monotonic():
                        await asyncio.sleep(0.05)
            finally:
                fate.cancel()
                self.socket = None

    async def _ask_init(self, socket):
        if self.replica:
            self.replica.needs_init = False
            await socket.send('{"cmd":"init","type":"item"}')

    stalled = 0.0

    async def _fate(self, socket):
        """Ends or stalls the connection after a random time."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 5))
            if self.faultless:
                continue
            fate = self.random.choice(["close", "abort", "stall"])
            if fate == "close":
                await socket.close()
            elif fate == "abort":
                socket.transport.abort()
            else:
                self.stalled = time.monotonic() + self.random.uniform(0.5, 8)

    def _message(self, text):
        message = json.loads(text)
        if message["type"] == "pgcast":
            self._control(message)
        elif message["type"] == "marker":
            self.ended |= message["data"] == "end"
        elif message["op"] == "init":
            self.replica.begin(message["data"])
        elif self.mistake and self._make_mistake(text, message):
            pass
        elif self.notes.take(text, message) and self.replica:
            self.replica.apply(message)

    def _control(self, message):
        if message["op"] == "hello":
            self.hello = message
            self.silent += self.unexplained
            self.unexplained = bool(self.cursors) and not message["resumed"]
            if message["resumed"]:
                self.resumes += 1
            elif not self.cursors:
                self.notes.bases.append(message["cursor"])
                self.began.set()
        if message["op"] == "reset":
            self.unexplained = False
            self.resets.append(message["reason"])
            self.notes.restart()
            if self.replica:
                self.replica.reset()
            if not self.hello["resumed"] and self.notes.bases[-1] != self.hello["cursor"]:
                self.notes.bases.append(self.hello["cursor"])
        if "cursor" in message:
            self.cursors = self.cursors[-4:] + [message["cursor"]]
            self.notes.keep(self.cursors)
            if message["op"] == "cursor" and self.notes.lost_some(message["cursor"]):
                self.notes.restart()
                if self.replica:
                    self.replica.reset()

    def _make_mistake(self, text, message):
        """Makes one mistake, which the comparison has to find; true: the message is not noted."""
        if self.mistake == "lose" and message["op"] == "insert":
            self.mistake = None
            return True
        if self.mistake == "repeat" and message["op"] == "insert":
            self.mistake = None
            self.notes.take(text, message)
        if self.mistake == "alter" and message["op"] == "insert":
            self.mistake = None
            self.notes.take(text.replace("x", "y", 1), message)
            return True
        if self.mistake == "swap" and "version" in message["data"]:
            row = message["type"], message["data"]["id"]
            if row in self.held:
                self.mistake = None
                for late in text, *self.held.values():
                    self.notes.take(late, json.loads(late))
                return True
            if message["op"] == "update":  # kept back until the row changes again
                self.held[row] = text
                return True
        return False


class Plain:
    """A client without control messages and cursors: while it is connected, it has to receive all
    commits after its handshake. Snapshots give a lower bound of these."""

    def __init__(self, ports, random, uid, connect):
        self.ports, self.random, self.uid, self.connect = ports, random, uid, connect
        self.complete = []  # (notes, first snapshot, last snapshot)
        self.broken = []  # notes of connections that ended early
        self.resets = []
        self.stopping = False

    async def run(self):
        while not self.stopping:
            await self.resume(None)
            await asyncio.sleep(self.random.uniform(0, 0.5))

    async def resume(self, cursor):
        """One connection. After a cursor it has to receive everything since, and then ends."""
        notes = Notes(self.uid)
        try:
            self.complete.append((notes, *await self._connection(notes, cursor)))
        except (OSError, EOFError, TimeoutError, websockets.WebSocketException, psycopg.Error):
            self.broken.append(notes)

    async def _snapshot(self, marker=None):
        """Taken before the marker is published, so all events in it come before the marker."""
        async with await self.connect() as db:
            row = await (await db.execute("select pg_current_snapshot()::text")).fetchone()
            if marker:
                await db.execute("select pgcast.publish(%s, 'marker', to_json(%s::text))",
                                 (self.uid, marker))
            return Snapshot(row[0])

    async def _connection(self, notes, cursor):
        query = {"uid": self.uid} | ({"since": cursor} if cursor else {})
        url = f"ws://127.0.0.1:{self.random.choice(self.ports)}/?{urllib.parse.urlencode(query)}"
        async with websockets.connect(url, subprotocols=["pgcast.v1"] if cursor else None,
                                      compression=None, ping_interval=None, max_size=None,
                                      open_timeout=5, close_timeout=1) as socket:
            notes.connected(None)
            self.answered = asyncio.Event()
            reading = asyncio.ensure_future(self._read(socket, notes))
            try:
                if cursor:
                    began = Position(cursor)
                else:
                    # Only the answer shows that the bridge has connected to the database.
                    await socket.send('{"cmd":"init","type":"item"}')
                    await asyncio.wait_for(self.answered.wait(), 60)
                    began = await self._snapshot()
                    await asyncio.wait([reading], timeout=self.random.uniform(1, 10))
                self.marker = str(self.random.random())
                ended = await self._snapshot(self.marker)
                await asyncio.wait_for(reading, 60)
            finally:
                reading.cancel()
        return began, ended

    marker = None

    async def _read(self, socket, notes):
        """Reads until the marker."""
        async for text in socket:
            message = json.loads(text)
            if message["op"] == "reset":
                self.resets.append(message["reason"])
                raise EOFError
            if message["op"] == "init":
                self.answered.set()
            elif message["type"] == "pgcast":
                continue
            elif message["type"] != "marker":
                notes.take(text, message)
            elif message["data"] == self.marker:
                return
        raise EOFError


class Naive:
    """A naive reader, which asks the journal for ids greater than the last one."""

    def __init__(self, connect, uids):
        self.connect, self.uids, self.ids, self.stopping = connect, uids, set(), False

    async def run(self):
        last = 0
        while not self.stopping:
            with contextlib.suppress(Exception):
                async with await self.connect() as db:
                    while not self.stopping:
                        rows = await (await db.execute(
                            """select id from pgcast.event where uid = any (%s) and not broadcast
                and id > %s order by id""", (self.uids, last))).fetchall()
                        self.ids.update(id for id, in rows)
                        last = max([last, *(id for id, in rows)])
                        await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
