"""What the fault stories have in common: a server of their own that may be hurt, somebody who writes
all the time, and a look at whether a client got all of it."""

import asyncio
import contextlib
import os
import re
import signal
import time

import psycopg

from harness import Cluster, Database

NOTICED = 15  # seconds within which a silent database has to be noticed


@contextlib.contextmanager
def own_database(*settings):
    """A cluster that the test may crash."""
    with Cluster(*settings) as cluster:
        database = Database(cluster)
        database.install()
        yield database


@contextlib.asynccontextmanager
async def inserting(database, uid="u1", pause=0.005):
    """Somebody inserts a row every few milliseconds, whatever happens to the server."""
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
            "select id from pgcast.event where uid = %s and type = 'log' order by id", (uid,)).fetchall()]


def rows(messages):
    """The ids of the events of log."""
    return [message["id"] for message in messages if message.get("type") == "log"]


async def got_all(client, database):
    """Checks that all of the journal came, once. Order across transactions is the torture's matter."""
    await client.before_marker(database)
    assert sorted(rows(client.seen)) == journal(database, client.uid)


async def metric(bridge, name):
    return (await asyncio.to_thread(bridge.metrics))[f"pgcast_{name}"]


async def until_metric(bridge, name, wanted, timeout=20):
    """Waits until the metric is what is wanted."""
    seen = []

    async def look():
        while not seen or not wanted(seen[-1]):
            seen.append(await metric(bridge, name))
            await asyncio.sleep(0.02)

    try:
        await asyncio.wait_for(look(), timeout)
    except asyncio.TimeoutError:
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


class Forgetful:
    """A server that commits without waiting for the disk, and whose WAL writer can be held so that a
    crash loses what was committed since. For `own_database(*Forgetful.settings)`."""

    settings = ("synchronous_commit=off", "wal_writer_delay=10s", "autovacuum=off")

    def __init__(self, database):
        self.database = database

    async def __aenter__(self):
        """From here on commits stay in memory."""
        self.database.execute("checkpoint")
        self.held = frozen(backends(self.database, "backend_type = 'walwriter'"))
        self.held.__enter__()

    async def __aexit__(self, *_):
        """The crash."""
        crashing = asyncio.ensure_future(asyncio.to_thread(self.database.cluster.crash))
        await asyncio.sleep(0.2)  # the WAL writer is to find out that it has to end before it goes on
        self.held.__exit__(None, None, None)
        await crashing
        await asyncio.to_thread(self.database.cluster.up)


async def latencies(client, database, n=400):
    """Milliseconds from before a commit until its message is here, in order of length."""
    took = []
    async with await psycopg.AsyncConnection.connect(database.conninfo(), autocommit=True) as connection:
        for number in range(n):
            began = time.monotonic()
            await connection.execute("select pgcast.publish('u1', 'probe', to_json(%s::int))", (number,))
            await client.until(lambda message: message["type"] == "probe")
            took.append(1000 * (time.monotonic() - began))
    return sorted(took)


def p99(took):
    return took[len(took) * 99 // 100]


def resident(bridge):
    """Bytes."""
    with open(f"/proc/{bridge.process.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024
