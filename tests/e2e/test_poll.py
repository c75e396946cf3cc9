"""Bridges that poll: as configured, behind a pooler, on a standby."""

import asyncio
import contextlib

import psycopg
import pytest

from harness import Pooler, Standby, eventually, wait_for
from stream import current_cursor, cursor_now, data, ids, replay, table, writing


@pytest.fixture(scope="module")
def standby(cluster):
    with Standby(cluster) as made:
        yield made


@pytest.fixture
def replica(start, standby, database):
    """A bridge on the standby."""
    return start(standby.conninfo(database.name, "bridge"), poll_interval="5ms")


async def check_delivery(bridge, database):
    """Live events, init, a broadcast, a bulk load, and resuming."""
    async with bridge.client(v1=True) as client:
        await client.init()
        await client.until(lambda message: message["op"] == "init")
        with writing(database, threads=2) as count:
            await eventually(lambda: count[0] > 50, "the writers")
        database.execute("""insert into log(uid, detail)
            select 'u1', '0' from generate_series(1, 2500)""")
        database.publish(None, "for all")
        await client.before_marker(database)
        cursor = await client.latest_cursor()
    log = [message for message in client.seen if message["type"] == "log"]
    assert replay(log) == table(database)
    assert len(ids(client.seen)) == len(set(ids(client.seen)))
    assert "for all" in data(client.seen)
    database.publish("u1", "missed")
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == ["missed"]


async def test_poll_as_configured(start, database):
    bridge = start(database, source="poll", poll_interval="5ms")
    assert bridge.lines("polling every 5 ms")
    await check_delivery(bridge, database)
    metrics = bridge.metrics()
    assert metrics["pgcast_bells_total"] == metrics["pgcast_sleeps_total"] == 0
    assert database.value("select count(*) from pgcast.bridge") == 0, "writers would notify it"


def sessions_of_pool(database):
    return database.value("""select count(*) from pg_stat_activity
        where usename = 'bridge' and datname = current_database()""")


async def test_poll_behind_transaction_pooler(start, cluster, database):
    with Pooler(cluster) as pooler:
        bridge = start(pooler.conninfo(database), poll_interval="5ms")
        assert bridge.wait_line("pooler")
        await check_delivery(bridge, database)
        assert sessions_of_pool(database) > 1, "the bridge uses several sessions"
        assert bridge.metrics()["pgcast_database_connects_total"] == 1
        assert not bridge.lines("error")


def test_poll_leaves_settings_of_pooler_sessions(start, cluster, database):
    """A setting would remain for the next client of the pooler."""
    with Pooler(cluster) as pooler:
        bridge = start(pooler.conninfo(database), poll_interval="5ms")
        wait_for(lambda: sessions_of_pool(database) > 1, "the pool to grow to its minimum")
        turns = bridge.metrics()["pgcast_turns_total"]
        wait_for(lambda: bridge.metrics()["pgcast_turns_total"] > turns + 20,
                 "a turn in each session")
        with psycopg.connect(pooler.conninfo(database), autocommit=True,
                             prepare_threshold=None) as other:
            seen = {other.execute("""
                select pg_backend_pid(), string_agg(name || '=' || setting, ' ' order by name)
                from pg_settings where source = 'session'
                and name not in ('client_encoding', 'TimeZone', 'application_name')""").fetchone()
                    for _ in range(12)}
        assert len(seen) > 1 and {settings for _, settings in seen} == {None}


async def test_poll_behind_session_pooler(start, cluster, database):
    with Pooler(cluster, mode="session") as pooler:
        bridge = start(pooler.conninfo(database), poll_interval="5ms")
        async with bridge.client() as client:
            database.publish("u1", 1)
            assert (await client.next())["data"] == 1


async def test_standby_serves_clients(replica, database):
    assert replica.lines("standby")
    await check_delivery(replica, database)


async def test_standby_delivers_concurrent_transactions_once(replica, database):
    """A standby has no list of running transactions: long, late and rolled back ones."""
    async with replica.client(v1=True) as client:
        with contextlib.ExitStack() as stack:
            open_ones = [stack.enter_context(database.connect()) for _ in range(6)]
            with writing(database, threads=3) as count:
                for n, writer in enumerate(open_ones):
                    writer.execute("begin")
                    writer.execute("select pgcast.publish('u1', 'late', to_json(%s::int))", (n,))
                    before = count[0]
                    await eventually(lambda: count[0] > before + 20, "other commits")
                for n in 3, 0, 5, 1, 4:
                    open_ones[n].execute("commit")
                    before = count[0]
                    await eventually(lambda: count[0] > before + 20, "other commits")
                open_ones[2].execute("rollback")
        await client.before_marker(database)
    due = database.value("select array_agg(id) from pgcast.event where uid = 'u1'")
    assert sorted(ids(client.seen)) == sorted(due)
    assert [m["data"] for m in client.seen if m["type"] == "late"] == [3, 0, 5, 1, 4]


async def test_standby_init_during_writes_is_exact(replica, database):
    database.execute("select pgcast.watch('log', init_limit => 100000)",
                     "insert into log(uid, detail) select 'u1', '0' from generate_series(1, 50)")
    with database.connect() as long:
        long.execute("begin")
        long.execute("insert into log(uid, detail) values ('u1', '0')")
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            with writing(database, threads=2):
                for _ in range(6):
                    client = await stack.enter_async_context(replica.client())
                    clients.append(client)
                    await client.init()
                    await client.until(lambda message: message["op"] == "init")
                    await client.take(5)
                long.execute("commit")
            for client in clients:
                await client.before_marker(database)
    expected = table(database)
    for client in clients:
        log = [message for message in client.seen if message["type"] == "log"]
        assert replay(log[[m["op"] for m in log].index("init"):]) == expected
        assert len(ids(log)) == len(set(ids(log)))


async def test_standby_catchup_during_long_transaction(replica, database):
    """More is visible there than the transactions below the oldest one in progress."""
    cursor = await cursor_now(replica, database)
    with database.connect() as long:
        long.execute("begin")
        long.execute("select pgcast.publish('u1', 'late', '0')")
        database.execute("insert into log(uid) select 'u1' from generate_series(1, 5000)")
        replica.settle(database)
        async with replica.client(v1=True, since=cursor) as client:
            with writing(database, threads=1):
                await client.take(5000)
            await client.before_marker(database)
            long.execute("commit")
            await client.before_marker(database)
            latest = await client.latest_cursor()
        due = database.value("""select array_agg(id order by id) from pgcast.event
            where uid = 'u1' and id > 1""")
        assert len(ids(client.seen)) == len(set(ids(client.seen)))
        assert sorted(ids(client.seen)) == due
    database.publish("u1", "missed")
    async with replica.client(v1=True, since=latest) as client:
        assert data(await client.before_marker(database)) == ["missed"]


async def test_standby_and_primary_exchange_cursors(replica, start, database):
    primary = start(database)
    bridges, got = [primary, replica], []
    cursor = await cursor_now(primary, database)
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in range(4)]
        for n, writer in enumerate(writers):
            writer.execute("begin")
            writer.execute("select pgcast.publish('u1', 'late', to_json(%s::int))", (n,))
        for turn, n in enumerate((2, 0, 3, 1)):
            database.publish("u1", f"before {n}")
            writers[n].execute("commit")
            database.publish("u1", f"after {n}")
            replica.settle(database)
            async with bridges[(turn + 1) % 2].client(v1=True, since=cursor) as client:
                assert client.hello["resumed"] is True
                await client.until(lambda m: m.get("data") == f"after {n}")
                cursor = await client.latest_cursor()
                got += data(client.seen)
    assert got == [2, "before 2", "after 2", 0, "before 0", "after 0", 3, "before 3", "after 3",
                   1, "before 1", "after 1"]


async def test_standby_position_omits_ended_transactions(replica, database):
    """Transactions that wrote no events or were rolled back look at first as if in progress."""
    with database.connect() as long:
        long.execute("begin")
        long.execute("select pgcast.publish('u1', 'late', '0')")
        database.execute("""do $$ begin for i in 1..3000 loop perform pg_current_xact_id();
            if i % 2 = 0 then commit; else rollback; end if; end loop; end $$""")
        cursor = await cursor_now(replica, database)

        attempts = 0
        while cursor.count(".") != 4:
            cursor, attempts = await current_cursor(replica), attempts + 1
            assert attempts < 500, "the cursor names more than the one transaction in progress"
        database.publish("u1", "after")
        long.execute("commit")
    replica.settle(database)
    async with replica.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == [0, "after"]


async def test_standby_waits_for_position_of_cursor(standby, replica, start, database):
    primary = start(database)

    async def resume(cursor):
        async with replica.client(v1=True, since=cursor) as client:
            return client.hello["resumed"], data(await client.before_marker(database))

    with psycopg.connect(standby.conninfo("postgres"), autocommit=True) as admin:
        admin.execute("select pg_wal_replay_pause()")
        try:
            cursor = await cursor_now(primary, database)
            database.publish("u1", "missed")
            resuming = asyncio.create_task(resume(cursor))
            await eventually(lambda: replica.metrics()["pgcast_clients"] == 1,
                             "the client to connect")
            pages = replica.metrics()["pgcast_pages_total"]
            await eventually(lambda: replica.metrics()["pgcast_pages_total"] > pages + 3,
                             "some more attempts")
        finally:
            admin.execute("select pg_wal_replay_resume()")
    assert await resuming == (True, ["missed"])


async def test_standby_follows_pruning_of_primary(replica, database):
    old = await cursor_now(replica, database)
    database.publish("u1", "missed")
    fresh = await cursor_now(replica, database)
    async with replica.client("u2", v1=True) as bystander:
        assert database.value("select pgcast.prune('0')") == 3
        async with replica.client(v1=True, since=fresh) as client:
            assert client.hello["resumed"] is True
            assert await client.before_marker(database) == []
        # The marker of that client was published after the pruning.
        async with replica.client(v1=True, since=old) as client:
            assert client.hello["resumed"] is False
            assert (await client.next())["reason"] == "pruned"
        database.publish("u2", "live")
        assert data(await bystander.until(lambda m: m["op"] == "publish")) == ["live"]


async def test_standby_promotion_loses_nothing(start, cluster, database):
    with Standby(cluster) as standby:
        bridge = start(standby.conninfo(database.name, "bridge"), prune_interval="1s",
                       poll_interval="5ms")
        async with bridge.client(v1=True) as client:
            database.publish("u1", "before")
            assert (await client.until(lambda m: m["op"] == "publish"))[-1]["data"] == "before"
            cursor = await client.latest_cursor()
            standby.promote()
            await eventually(lambda: bridge.lines("promoted"), "the bridge to notice the promotion")
            await eventually(bridge.ready, "the bridge to be ready")
            with psycopg.connect(standby.conninfo(database.name), autocommit=True) as connection:
                for n in range(3):
                    connection.execute("select pgcast.publish('u1', 'new', to_json(%s::int))", (n,))
            got = await client.until(lambda m: m.get("data") == 2)
            assert data(got) == [0, 1, 2]
            assert not [m for m in client.seen if m["op"] == "reset"]
        async with bridge.client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            assert data(await client.until(lambda m: m.get("data") == 2)) == [0, 1, 2]
        wait_for(lambda: bridge.metrics()["pgcast_sleeps_total"] > 0, "the bridge to sleep")
