"""The torture's clients, and what each of them notes down to be compared with the journal.

A client checks at once what needs no journal: nothing twice within a connection, and the changes of
a row in their order. What it has got in all is compared at the end.
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
    """Tells a message: its id, and behind it the checksum that verdict.py computes in SQL."""
    return id << 60 | int(hashlib.md5(text.encode()).hexdigest()[:15], 16)


class Position:
    """What a cursor says has been seen: epoch.anchor.at.m[.distance…]; only a test may look inside."""

    def __init__(self, cursor):
        _, _, _, m, *distances = (int(part) for part in cursor.split("."))
        self.m, self.open = m, {m - distance for distance in distances}

    def seen(self, xid):
        return xid <= self.m and xid not in self.open


class Snapshot:
    """pg_current_snapshot() as text."""

    def __init__(self, text):
        _, xmax, open = text.split(":")
        self.xmax, self.open = int(xmax), {int(xid) for xid in open.split(",") if xid}

    def seen(self, xid):
        return xid < self.xmax and xid not in self.open


class Notes:
    """What a client has got."""

    def __init__(self, uid, types=None):
        self.uid, self.types = uid, types
        self.got = set()  # keys of messages; after lost commits two may have the same id
        self.valid = set()  # of those since the last reset
        self.last = 0  # greatest id
        self.rows = {}  # (type, row) -> its last change
        self.connection = set()  # what this connection has brought
        self.history = []  # of connections: time, cursor, greatest id before
        self.bases = []  # cursors that the client began anew at
        self.again = []  # (cursor resumed from, what came that had been seen before)
        self.duplicated, self.misordered, self.latencies = [], [], []

    def connected(self, cursor):
        self.connection = set()
        self.again.append((cursor, []))
        self.history.append((time.strftime("%H:%M:%S", time.gmtime()), cursor, self.last))

    def around(self, ids):
        """The connections that brought what is about these ids, for who searches a fault."""
        past = [n for n, (_, _, before) in enumerate(self.history) if before <= max(ids)]
        since = [n for n in past if self.history[n][2] >= min(ids)]
        return self.history[min([*since, past[-1]]) - 1:past[-1] + 2]

    def forget_order(self):
        """History went another way: what happened may happen again, differently."""
        self.connection, self.rows, self.valid = set(), {}, set()
        self.again.append((None, []))

    def take(self, text, message):
        id = message["id"]
        key = key_of(id, text)
        if key in self.connection:
            self.duplicated.append(id)
        self.connection.add(key)
        self.valid.add(key)
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
    """What a client would show: the answer to init, and every change since."""

    def __init__(self):
        self.rows = None  # id -> version; None: no answer yet
        self.unasked = False
        self.inits = 0
        self.wrong = []  # events that do not fit

    def forget(self):
        self.rows, self.unasked = None, True

    def wants(self, random):
        """To ask now, after a message."""
        return self.unasked or (self.rows is not None and len(self.rows) < 3000 and random.random() < 0.01)

    def begin(self, rows):
        """Another answer has to say what is known by now."""
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
    """On pgcast.v1: drops out at random points, and resumes from its latest cursor."""

    def __init__(self, ports, random, uid, *, types=None, careless=None, calm=False, latest=False,
                 replays=False):
        self.ports, self.random, self.uid, self.types = ports, random, uid, types
        self.notes = Notes(uid, types)
        self.cursors = []
        self.resumes, self.resets, self.refusals = 0, [], {}
        self.careless = careless  # sabotage: what it does wrong, once
        self.held = {}
        self.silent, self.unexplained = 0, False  # cursors that did not hold, and no reset said so
        self.stopping = False
        self.calm = calm
        self.older = 0.0 if latest else 0.1  # how often it resumes from an older cursor; that has to do, too
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
                cursor = self.random.choice(self.cursors if self.random.random() < self.older else self.cursors[-1:])
            try:
                await self._connection(cursor)
            except (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException) as error:
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
                    if self.replica and self.replica.wants(self.random):
                        await self._ask_init(socket)
                    while not self.calm and self.stalled > time.monotonic():
                        await asyncio.sleep(0.05)
            finally:
                fate.cancel()
                self.socket = None

    async def _ask_init(self, socket):
        if self.replica:
            self.replica.unasked = False
            await socket.send('{"cmd":"init","type":"item"}')

    stalled = 0.0

    async def _fate(self, socket):
        """What happens to a connection sooner or later."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / 5))
            if self.calm:
                continue
            what = self.random.choice(["close", "abort", "stall"])
            if what == "close":
                await socket.close()
            elif what == "abort":
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
        elif not (self.careless and self._be_careless(text, message)):
            if self.notes.take(text, message) and self.replica:
                self.replica.apply(message)

    def _control(self, message):
        if message["op"] == "hello":
            self.greeted = message
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
            self.notes.forget_order()
            if self.replica:
                self.replica.forget()
            if not self.greeted["resumed"] and self.notes.bases[-1] != self.greeted["cursor"]:
                self.notes.bases.append(self.greeted["cursor"])
        if "cursor" in message:
            self.cursors = self.cursors[-4:] + [message["cursor"]]

    def _be_careless(self, text, message):
        """Makes one mistake of the kind that the comparison is there to find."""
        if self.careless == "lose" and message["op"] == "insert":
            self.careless = None
            return True
        if self.careless == "repeat" and message["op"] == "insert":
            self.careless = None
            self.notes.take(text, message)
        if self.careless == "alter" and message["op"] == "insert":
            self.careless = None
            self.notes.take(text.replace("x", "y", 1), message)
            return True
        if self.careless == "swap" and "version" in message["data"]:
            row = message["type"], message["data"]["id"]
            if row in self.held:
                self.careless = None
                for late in text, *self.held.values():
                    self.notes.take(late, json.loads(late))
                return True
            if message["op"] == "update":  # kept back until the row changes again
                self.held[row] = text
                return True
        return False


class Plain:
    """Without a subprotocol and so without a cursor: it has to get what is committed from its
    handshake on, as long as it is connected. Snapshots bound what that is at least."""

    def __init__(self, ports, random, uid, connect):
        self.ports, self.random, self.uid, self.connect = ports, random, uid, connect
        self.past = []  # (notes, snapshot from which on, snapshot up to which)
        self.broken = []  # notes of connections that ended somewhere
        self.stopping = False

    async def run(self):
        while not self.stopping:
            notes = Notes(self.uid)
            try:
                self.past.append((notes, *await self._connection(notes)))
            except (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException, psycopg.Error):
                self.broken.append(notes)
            await asyncio.sleep(self.random.uniform(0, 0.5))

    async def _snapshot(self, marker=None):
        """Taken before the marker is published, which therefore comes behind all that is in it."""
        async with await self.connect() as db:
            row = await (await db.execute("select pg_current_snapshot()::text")).fetchone()
            if marker:
                await db.execute("select pgcast.publish(%s, 'marker', to_json(%s::text))", (self.uid, marker))
            return Snapshot(row[0])

    async def _connection(self, notes):
        url = f"ws://127.0.0.1:{self.random.choice(self.ports)}/?{urllib.parse.urlencode({'uid': self.uid})}"
        async with websockets.connect(url, compression=None, ping_interval=None, max_size=None,
                                      open_timeout=5, close_timeout=1) as socket:
            notes.connected(None)
            self.answered = asyncio.Event()
            reading = asyncio.ensure_future(self._read(socket, notes))
            try:
                # Only the answer says that the bridge knows the database.
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
        """Until the marker comes."""
        async for text in socket:
            message = json.loads(text)
            if message["op"] == "init":
                self.answered.set()
            elif message["type"] != "marker":
                notes.take(text, message)
            elif message["data"] == self.marker:
                return
        raise EOFError


class Naive:
    """What many do instead: asks the journal for what has a greater id than the last one seen."""

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
