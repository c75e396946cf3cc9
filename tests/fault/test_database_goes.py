"""The database fails in several ways; clients stay connected and miss nothing."""

import asyncio
import contextlib

import pytest

from harness import Standby
from proxy import Proxy
from stories import (
    NOTICED,
    VolatileServer,
    backends,
    frozen,
    got_all,
    inserting,
    journal,
    own_database,
    rows,
    until_metric,
)
from stream import resets


@contextlib.asynccontextmanager
async def through_proxy(database):
    """A proxy in front of the database, and the conninfo through it."""
    proxy = await Proxy(f"{database.cluster.directory}/.s.PGSQL.5432").start()
    try:
        yield proxy, f"host=127.0.0.1 port={proxy.port} dbname={database.name} user=bridge"
    finally:
        await proxy.stop()


@pytest.mark.parametrize("how", ["down", "crash"])
async def test_database_restart_loses_nothing(start, how):
    with own_database() as database:
        bridge = start(database)
        async with bridge.client() as plain, bridge.client(v1=True) as client:
            async with inserting(database):
                for _ in range(3):
                    await until_metric(bridge, "database_up", lambda up: up == 1)
                    await asyncio.to_thread(getattr(database.cluster, how))
                    await until_metric(bridge, "database_up", lambda up: up == 0)
                    await asyncio.to_thread(database.cluster.up)
            await got_all(plain, database)
            await got_all(client, database)
            assert resets(client) == []
        bridge.stop()


async def test_frozen_backend_is_replaced(bridge, database):
    async with bridge.client() as client:
        with frozen(backends(database)):
            await until_metric(bridge, "database_up", lambda up: up == 0, NOTICED)
            await until_metric(bridge, "database_up", lambda up: up == 1)
            async with inserting(database):
                await asyncio.sleep(0)
            await got_all(client, database)


async def test_black_hole_before_database_is_noticed(start, database):
    async with through_proxy(database) as (proxy, conninfo):
        bridge = await asyncio.to_thread(start, conninfo)
        async with bridge.client() as client:
            async with inserting(database, pause=0.02):
                with proxy.black_hole():
                    await until_metric(bridge, "database_up", lambda up: up == 0, NOTICED)
            await got_all(client, database)
        await asyncio.to_thread(bridge.stop)


def either(database, standby):
    """The conninfo of the database on the primary of the two servers."""
    return (f"host={database.cluster.directory},{standby.directory} port=5432"
            f" dbname={database.name} user=bridge target_session_attrs=read-write")


async def test_failover_to_next_host_loses_nothing(start):
    with own_database() as database, Standby(database.cluster) as standby:
        after = database.on(standby)
        bridge = start(either(database, standby))
        async with bridge.client(v1=True) as client:
            async with inserting(database):
                await client.next()
            here = database.value("select pg_current_wal_lsn()::text")
            while not after.value("select pg_last_wal_replay_lsn() >= %s::pg_lsn", here):
                await asyncio.sleep(0.02)
            database.cluster.crash()
            standby.promote()
            async with inserting(after):
                await until_metric(bridge, "database_up", lambda up: up == 1)
            await got_all(client, after)
            assert resets(client) == []
        bridge.stop()


async def test_failover_that_loses_commits_sends_reset(start):
    with own_database() as database, Standby(database.cluster) as standby:
        after = database.on(standby)
        bridge = start(either(database, standby))
        async with bridge.client(v1=True) as client:
            standby.down()
            async with inserting(database):
                await client.until(lambda message: message["op"] == "insert")
            database.cluster.crash()
            standby.up()
            standby.promote()
            async with inserting(after):
                await client.until(lambda message: message["op"] == "reset")
            await client.before_marker(after)
            assert set(journal(after)) <= set(rows(client.seen))
        bridge.stop()


async def test_crash_that_loses_commits_sends_reset(start):
    with own_database(*VolatileServer.settings) as database:
        bridge = start(database)
        async with bridge.client(v1=True) as client, bridge.client("u2", v1=True) as other:
            async with inserting(database):
                await client.until(lambda message: message["op"] == "insert")
            async with VolatileServer(database):
                database.execute("insert into log(uid) values ('u1'), ('u2')")
                await other.until(lambda message: message["op"] == "insert")
                seen = len(rows(other.seen))
            await until_metric(bridge, "rewinds_total", lambda n: n == 1)
            assert journal(database, "u2") == [], "the crash lost no commit"
            async with inserting(database):
                await client.until(lambda message: message["op"] == "reset")
            await other.until(lambda message: message["op"] == "reset")
            database.execute("insert into log(uid) values ('u2')")
            await client.before_marker(database)
            await other.before_marker(database)
            assert set(journal(database)) <= set(rows(client.seen))
            assert journal(database, "u2") == rows(other.seen)[seen:]
        bridge.stop()


async def test_repeated_crashes_rewind_to_surviving_commits(start):
    with own_database(*VolatileServer.settings) as database:
        bridge = start(database)
        async with bridge.client(v1=True) as client:
            for rewinds in 1, 2, 3:
                async with VolatileServer(database):
                    database.execute("insert into log(uid) values ('u1')")
                    await client.until(lambda message: message["op"] == "insert")
                await until_metric(bridge, "rewinds_total", lambda n: n == rewinds)
            database.execute("insert into log(uid) values ('u1')")
            await client.before_marker(database)
            assert set(journal(database)) <= set(rows(client.seen))
            assert bridge.lines("beginning anew") == []
        bridge.stop()
