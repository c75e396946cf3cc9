"""Strains: legal use by one client or writer that must not affect the others. Each is of a limited
size, which `size` multiplies (1: bulk transactions of 100,000 rows).

They occur alone at first, on a bridge without other faults, where others' latency is measured and
the link to the database must not reconnect; later among all other faults.
"""

import asyncio
import contextlib
import json
import sys
import time
import urllib.parse
from collections import Counter
from pathlib import Path

import websockets

from clients import Plain
from harness import Bridge, wait_for

BULK = 100000  # rows of a transaction
ANSWER = 15  # seconds within which init must be answered or refused
PROBE = Path(__file__).parent / "probe.py"

# load: rows for nobody. heap: init has to read all of it, since uid has no index.
TABLES = """
create table load(
    id bigint generated always as identity primary key, uid text, version int, pad text);
create table heap(like load including all);
insert into heap(uid, version, pad)
    select 'h' || i % 100, 1, repeat('x', 50) from generate_series(1, {rows}) i;
select pgcast.watch('load'), pgcast.watch('heap');
"""

ODD = ["\U0001f600", "€", "{NULL,\"a\\", "'; select 1 --", "\\", "NULL", "%s", "\t\n\x7f", "\ufeff",
       "a" * 200, "ü" * 100]


class Strains:
    def __init__(self, database, clients, ports, random, size, connect):
        self.database, self.clients, self.ports = database, clients, ports
        self.random, self.size, self.connect = random, size, connect
        self.far = []  # clients that resumed from old cursors
        self.answers = Counter()

    def prepare(self):
        self.database.execute(TABLES.format(rows=self._scaled(3 * BULK)))

    @property
    def all(self):
        return [self.lock_table, self.waiting_alter, self.bulk_insert, self.bulk_change,
                self.bulk_own, self.slow_inits, self.odd_uids, self.far_resumes]

    def _scaled(self, n):
        return max(1, round(n * self.size))

    def _uid(self):
        return self.random.choice(self.clients).uid

    @contextlib.asynccontextmanager
    async def _transaction(self):
        async with await self.connect() as db, db.transaction(
                force_rollback=self.random.random() < 0.2):
            yield db

    async def _held(self):
        """While a lock is held, clients ask for the table."""
        await asyncio.gather(
            asyncio.sleep(self.random.uniform(1, 3)),
            *(self._ask(self._uid(), kind) for kind in ("item", "heap") for _ in range(4)))

    async def lock_table(self):
        async with self._transaction() as db:
            await db.execute("lock table item, heap")
            await self._held()

    async def waiting_alter(self):
        """Everyone waits for the ALTER, which waits for a reader."""
        async with await self.connect() as db, contextlib.AsyncExitStack() as stack:
            async with self._transaction() as reader:
                await reader.execute("select from item limit 1")
                altering = asyncio.ensure_future(
                    db.execute("alter table item alter column pad set storage extended"))
                stack.push_async_callback(asyncio.gather, altering, return_exceptions=True)
                await self._held()
            await altering

    async def bulk_insert(self):
        async with self._transaction() as db:
            await db.execute("insert into load(uid, version, pad) select 'nobody', 1, 'x'"
                             f" from generate_series(1, {self._scaled(BULK)})")

    async def bulk_change(self):
        """In a session whose plans were made for one row."""
        async with await self.connect() as db:
            await db.execute("insert into load(uid, version, pad) values ('nobody', 1, 'x')")
            await db.execute("update load set version = 2 where id = (select max(id) from load)")
            await db.execute("insert into load(uid, version, pad) select 'nobody', 1, 'x'"
                             f" from generate_series(1, {self._scaled(BULK / 2)})")
            await db.execute("update load set version = version + 1")
            await db.execute("delete from load")

    async def bulk_own(self):
        """The uid has clients, which have to receive all rows."""
        async with await self.connect() as db:
            await db.execute("insert into part(uid, version, pad) select %s, 1, 'x'"
                             " from generate_series(1, %s)", (self._uid(), self._scaled(BULK / 5)))

    async def slow_inits(self):
        await asyncio.gather(*(self._ask(f"h{n}", "heap") for n in range(self._scaled(50))))

    async def odd_uids(self):
        since = self.random.choice([*self.random.choice(self.clients).cursors, None])
        await asyncio.gather(*(self._ask(uid, kind, since)
                               for uid in ODD for kind in ("item", uid)))

    async def far_resumes(self):
        """With many broadcasts, which all resumed clients miss."""
        async with await self.connect() as db:
            await db.execute("insert into news(version, pad) select 1, 'x'"
                             f" from generate_series(1, {self._scaled(2000)})")
        chosen = [client for client in self.clients if not client.types]
        chosen = self.random.sample(chosen, min(6, len(chosen)))
        far = [(Plain(self.ports, self.random, client.uid, self.connect), self.random.choice(
                    [*client.notes.bases[-1:], *(cursor for _, cursor, _ in client.notes.history
                                                 if cursor)]))
               for client in chosen]
        self.far += [one for one, _ in far]
        await asyncio.gather(*(one.resume(cursor) for one, cursor in far))

    async def _ask(self, uid, kind, since=None):
        """Asks for rows; an answer, an error and the end of the connection are all right."""
        query = {"uid": uid} | ({"since": since} if since else {})
        port = self.random.choice(self.ports)
        try:
            async with asyncio.timeout(ANSWER), websockets.connect(
                    f"ws://127.0.0.1:{port}/?{urllib.parse.urlencode(query)}",
                    subprotocols=["pgcast.v1"], compression=None, ping_interval=None,
                    max_size=None, close_timeout=1) as socket:
                await socket.send(json.dumps({"cmd": "init", "type": kind, "ref": 1}))
                async for text in socket:
                    message = json.loads(text)
                    if message["op"] == "init" or message["op"] == "error":
                        self.answers[message["op"]] += 1
                        return
        except TimeoutError:
            self.answers["none"] += 1
        except (OSError, EOFError, websockets.WebSocketException):
            self.answers["ended"] += 1


class Alone:
    """The strains one after the other on a bridge that suffers no other fault."""

    def __init__(self, database, strains):
        self.database, self.strains = database, strains
        self.spans = []  # name, begin and end
        self.stalled = []  # names after which others received nothing
        self.log, self.crashes = [], 0
        self.late = []  # time of a commit, milliseconds until its message was received

    async def run(self):
        bridge = Bridge(self.database)
        try:
            await asyncio.to_thread(wait_for, bridge.ready, "the bridge to be ready")
            port = int(bridge.address.rsplit(":", 1)[1])
            self.strains.ports.append(port)
            await self._measured(bridge, port)
            self.answers = dict(self.strains.answers)
            self.strains.ports.remove(port)
            self.metrics = await asyncio.to_thread(bridge.metrics)
        finally:
            self.log = bridge.log
            self.crashes = int(await asyncio.to_thread(bridge.stop) != 0)

    async def _measured(self, bridge, port):
        process = await asyncio.create_subprocess_exec(
            sys.executable, PROBE, self.database.conninfo(), str(port),
            stdout=asyncio.subprocess.PIPE)
        reading = asyncio.ensure_future(self._read(process.stdout))
        try:
            await self._span("none", self._rest)
            for strain in self.strains.all:
                await self._span(strain.__name__, strain)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading

    async def _read(self, stdout):
        async for line in stdout:
            self.late.append([float(word) for word in line.split()])

    async def _rest(self):
        await asyncio.sleep(4)

    async def _span(self, name, strain):
        """Ends when a message that was committed afterwards has been received."""
        began = time.time()
        await asyncio.gather(strain(), asyncio.sleep(1))
        ended = time.time()
        self.spans.append((name, began, ended))
        deadline = time.monotonic() + 30
        while not self.late or self.late[-1][0] < ended:
            if time.monotonic() > deadline:
                self.stalled.append(name)
                break
            await asyncio.sleep(0.05)

    def report(self):
        p99 = {}
        for name, began, ended in self.spans:
            took = sorted(ms for at, ms in self.late if began <= at <= ended)
            p99[name] = round(took[len(took) * 99 // 100], 1) if took else None
        return {"others_p99_ms": p99, "stalled": self.stalled,
                "unanswered": self.answers.get("none", 0), "answers": self.answers,
                "reconnects": round(self.metrics["pgcast_database_connects_total"]) - 1,
                "loop_busy_max_ms": round(1000 * self.metrics["pgcast_loop_busy_max_seconds"], 1)}
