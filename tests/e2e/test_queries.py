"""Query connections: init runs beside the events and fails alone, and is exact all the same."""

import asyncio
import contextlib
import os
import signal
import time

import pytest

from harness import eventually
from others import others_live
from stream import replay, table

# A row of this table takes so many seconds to read.
SLOW = """create table slow(id serial primary key, uid text, detail int);
    create index on slow(uid);
    alter table slow enable row level security;
    create policy slowly on slow for select to pgcast_owner
        using (pg_sleep({}) is not null);
    set client_min_messages = error;
    select pgcast.watch('slow');
    insert into slow(uid, detail) values ('u1', 1)"""
BACKENDS = """select pid from pg_stat_activity where application_name = 'pgcast'
    and datname = current_database() and query like {}"""


@pytest.fixture
def slow(database):
    def make(seconds):
        for command in SLOW.format(seconds).split(";"):
            database.execute(command)
        return database
    return make


def is_answer(message):
    return message["op"] in ("init", "error") and message.get("type") != "log"


def asking(database):
    """The process ids of query connections that find an answer at present."""
    with database.connect() as connection:
        return [pid for pid, in connection.execute(
            BACKENDS.format("'%find_answer%'") + " and state = 'active'")]


async def test_slow_init_leaves_others_live(start, slow):
    database = slow(2)
    bridge = start(database)
    async with bridge.client() as client, others_live(bridge, database, limit=0.5):
        for _ in range(2):
            await client.init("slow")
            assert (await client.until(is_answer))[-1]["data"][0]["detail"] == 1


async def test_init_during_maintenance_keeps_the_connection(start, database):
    """The snapshot of an answer is exported by a transaction that can only read."""
    bridge = start(database, prune_interval="1s")
    stop = asyncio.get_running_loop().time() + 6

    async def ask():
        async with bridge.client() as client:
            while asyncio.get_running_loop().time() < stop:
                await client.init()
                await client.until(lambda message: message["op"] == "init")

    await asyncio.gather(*(ask() for _ in range(8)))
    assert (await asyncio.to_thread(bridge.metrics))["pgcast_database_connects_total"] == 1


async def test_slow_init_is_exact_during_writes(start, slow):
    """The events of the waiting client that its answer does not contain follow behind it."""
    database = slow(0.01)
    database.execute("insert into slow(uid, detail) select 'u1', 1 from generate_series(1, 50)")
    bridge = start(database)
    async with bridge.client() as client:
        for n in range(5):
            await client.init("slow")
            with database.connect() as connection:
                for _ in range(60):
                    connection.execute("insert into slow(uid, detail) values ('u1', %s)", (n,))
                    connection.execute("delete from slow where id = (select min(id) from slow)")
                    await asyncio.sleep(0.005)
            before = await client.before_marker(database)
            (at,) = [i for i, message in enumerate(before) if message["op"] == "init"]
            assert before[at]["type"] == "slow"
            rows = {row["id"]: row["detail"] for row in before[at]["data"]}
            assert len(rows) == 51 and len(before) > at + 20
            with database.connect() as connection:
                now = dict(connection.execute("select id, detail from slow").fetchall())
            assert replay(before[at:]) == now


async def test_init_beyond_query_timeout_is_an_error(start, slow):
    database = slow(30)
    bridge = start(database, query_timeout="300ms")
    async with bridge.client(v1=True) as client, others_live(bridge, database, limit=0.5):
        began = time.monotonic()
        await client.init("slow")
        error = (await client.until(is_answer))[-1]
        assert error["code"] == "timeout" and 0.3 <= time.monotonic() - began < 5
        await client.init()
        await client.until(lambda message: message["op"] == "init")
        database.execute("insert into log(uid) values ('u1')")
        await client.until(lambda message: message["op"] == "insert")


async def test_lost_query_connection_is_an_error_of_the_asking_client(start, slow):
    database = slow(30)
    bridge = start(database, query_timeout="1min")
    async with bridge.client(v1=True) as client, others_live(bridge, database, limit=0.5):
        await client.init("slow")
        pids = await eventually(lambda: asking(database), "the query to run")
        database.execute(f"select pg_terminate_backend({pids[0]})")
        assert (await client.until(is_answer))[-1]["code"] == "unavailable"
        await client.init()
        await client.until(lambda message: message["op"] == "init")


async def test_query_connection_lost_before_the_end_of_the_exporting_turn(start, database):
    """It has imported the snapshot, and the stream's connection has not committed yet."""
    bridge = start(database, query_connections=1)
    with database.connect() as connection:
        def backend(query):
            rows = connection.execute(
                BACKENDS.format("%s") + " and state ~ '^idle' order by backend_start desc",
                (query,)).fetchall()
            return rows[0][0] if rows else None

        async with bridge.client() as client:
            await client.init()
            await client.until(lambda message: message["op"] == "init")
            asked = backend("commit")
            os.kill(asked, signal.SIGSTOP)
            await client.init()
            await eventually(lambda: backend("%pg_export_snapshot%"), "the export")
            stream = backend("%pg_export_snapshot%")
            os.kill(stream, signal.SIGSTOP)
            os.kill(asked, signal.SIGCONT)
            await eventually(lambda: backend("set transaction snapshot%") == asked, "the import")
            connection.execute("select pg_terminate_backend(%s)", (asked,))
            bridge.wait_line("query connection: reconnecting")
            os.kill(stream, signal.SIGCONT)
            await client.until(lambda message: message["op"] == "init")
    assert bridge.lines("not imported in time") == []


async def test_lost_stream_connection_leaves_an_init_exact(start, slow):
    """The bridge's other connection is lost while an answer is found."""
    database = slow(1)
    bridge = start(database)
    async with bridge.client() as client:
        await client.init("slow")
        await eventually(lambda: asking(database), "the query to run")
        database.execute(BACKENDS.format("'%'").replace("pid", "pg_terminate_backend(pid)")
                         + " and query not like '%find_answer%'")
        database.execute("insert into slow(uid, detail) values ('u1', 2)")
        got = await client.before_marker(database)
        assert [message["op"] for message in got] == ["init", "insert"]
        assert [row["detail"] for row in got[0]["data"]] == [1]


async def test_init_waits_for_an_idle_connection(start, slow):
    """Two slow ones have both connections; a third one of another client comes after them."""
    database = slow(0.5)
    database.execute("insert into slow(uid, detail) values ('u2', 1), ('u3', 1)")
    bridge = start(database)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}")) for n in (1, 2, 3)]
        for client in clients:
            await client.init("slow")
            await eventually(lambda: bridge.metrics()["pgcast_init_requests"] >= 1, "the request")
        for client in clients:
            assert (await client.until(is_answer))[-1]["data"][0]["uid"] == client.uid
    assert bridge.metrics()["pgcast_init_requests"] == 0


@pytest.mark.parametrize(("settings", "limit"), [({"query_connections": 0}, ""), ({}, "1")])
async def test_init_without_a_query_connection_runs_in_the_turn(start, database, settings, limit):
    """None is allowed, or the role may not open another one."""
    database.role("bridge")
    if limit:
        database.execute("alter role bridge connection limit 1")
    try:
        bridge = start(database, **settings)
        async with bridge.client() as client:
            database.execute("insert into log(uid) values ('u1')")
            await client.init()
            assert (await client.until(lambda m: m["op"] == "init"))[-1]["data"]
    finally:
        database.execute("alter role bridge connection limit -1")
    assert bool(bridge.lines("query connection: ")) == bool(limit)
    assert table(database)


async def test_client_that_leaves_while_its_init_runs(start, slow):
    database = slow(1)
    bridge = start(database)
    async with bridge.client() as client:
        await client.init("slow")
        await eventually(lambda: asking(database), "the query to run")
    await eventually(lambda: not asking(database), "the query to end")
    async with bridge.client() as client:
        await client.init()
        await client.until(lambda message: message["op"] == "init")
    assert bridge.metrics()["pgcast_init_requests"] == 0


async def test_stop_while_an_init_runs(start, slow):
    database = slow(1)
    bridge = start(database)
    async with bridge.client(v1=True) as client:
        await client.init("slow")
        await eventually(lambda: asking(database), "the query to run")
        await client.send({"cmd": "stop", "type": "slow"})
        database.execute("insert into slow(uid, detail) values ('u1', 2)")
        assert {message["type"] for message in await client.before_marker(database)} <= {"slow"}
        database.execute("insert into slow(uid, detail) values ('u1', 3)",
                         "insert into log(uid) values ('u1')")
        assert [m["type"] for m in await client.before_marker(database)] == ["log"]
