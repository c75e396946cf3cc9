"""Helpers of the fault tests: a cluster that a test may damage, a continuous writer, and a
comparison of a client with the journal."""

import asyncio
import contextlib
import os
import re
import signal
import time

import psycopg

from harness import Cluster, Database

NOTICED = 15  # seconds within which the bridge has to notice a silent database


@contextlib.contextmanager
def own_database(*settings):
    """A cluster that the test may crash."""
    with Cluster(*settings) as cluster:
        database = Database(cluster)
        database.install()
        yield database


@contextlib.asynccontextmanager
async def inserting(database, uid="u1", pause=0.005):
    """Inserts a row every few milliseconds, and reconnects when the server fails."""
    stop = asyncio.Event()

    async def write():
        while not stop.is_set():
            with contextlib.suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(
                        database.conninfo(), autocommit=True) as connection:
                    while not stop.is_set():
                        await connection.execute("insert into log(uid) values (%s)", (uid,))
                        await asyncio.sleep(pause)
            await asyncio.sleep(0.05)

    task = asyncio.ensure_future(write())
    try:
        yield
    finally:
        stop.set()
        await task


def journal(database, uid="u1"):
    with database.connect() as connection:
        return [id for id, in connection.execute(
            "select id from pgcast.event where uid = %s and type = 'log' order by id",
            (uid,)).fetchall()]


def rows(messages):
    """The ids of the events of log."""
    return [message["id"] for message in messages if message.get("type") == "log"]


async def got_all(client, database):
    """Checks that the client received the whole journal once. The torture checks the order."""
    await client.before_marker(database)
    assert sorted(rows(client.seen)) == journal(database, client.uid)


async def metric(bridge, name):
    return (await asyncio.to_thread(bridge.metrics))[f"pgcast_{name}"]


async def until_metric(bridge, name, wanted, timeout=20):
    """Waits until wanted() is true for the value of the metric."""
    seen = []

    async def look():
        while not seen or not wanted(seen[-1]):
            seen.append(await metric(bridge, name))
            await asyncio.sleep(0.02)

    try:
        await asyncio.wait_for(look(), timeout)
    except TimeoutError:
        raise AssertionError(f"{name} was {seen[-1:]} for {timeout} s") from None
    return seen[-1]


def backends(database, condition="application_name = 'pgcast'"):
    with database.connect() as connection:
        return [pid for pid, in connection.execute(
            f"select pid from pg_stat_activity where {condition}").fetchall()]


@contextlib.contextmanager
def frozen(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class VolatileServer:
    """A server that commits without waiting for the disk. Its WAL writer can be stopped, so that a
    crash loses all later commits. For `own_database(*VolatileServer.settings)`."""

    settings = ("synchronous_commit=off", "wal_writer_delay=10s", "autovacuum=off")

    def __init__(self, database):
        self.database = database

    async def __aenter__(self):
        """Keeps commits in memory from here on."""
        self.database.execute("checkpoint")
        self.held = frozen(backends(self.database, "backend_type = 'walwriter'"))
        self.held.__enter__()

    async def __aexit__(self, *_):
        """The crash."""
        crashing = asyncio.ensure_future(asyncio.to_thread(self.database.cluster.crash))
        await asyncio.sleep(0.2)  # the WAL writer has to receive its signal before it continues
        self.held.__exit__(None, None, None)
        await crashing
        await asyncio.to_thread(self.database.cluster.up)


async def latencies(client, database, n=400):
    """Milliseconds from before a commit until its message is received, sorted."""
    took = []
    async with await psycopg.AsyncConnection.connect(database.conninfo(),
                                                     autocommit=True) as connection:
        for number in range(n):
            began = time.monotonic()
            await connection.execute("select pgcast.publish('u1', 'probe', to_json(%s::int))",
                                     (number,))
            await client.until(lambda message: message["type"] == "probe")
            took.append(1000 * (time.monotonic() - began))
    return sorted(took)


def p99(took):
    return took[len(took) * 99 // 100]


def resident(bridge):
    """Bytes."""
    with open(f"/proc/{bridge.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024
