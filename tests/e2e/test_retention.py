"""Pruning counts from commit, blocks no writer, and is reported to clients that miss events."""

import asyncio
import contextlib
import threading
import time

import psycopg
import pytest

from harness import eventually, wait_for
from stream import cursor_now, data, resets


def prune(database, keep="0"):
    return database.value("select pgcast.prune(%s::text::interval)", keep)


def journal(database):
    return database.value("select count(*) from pgcast.event where op <> 'canary'")


async def test_resume_before_pruned_events_sends_reset(bridge, database):
    old = await cursor_now(bridge, database)
    for n in range(3):
        database.publish("u1", n)
    bridge.settle(database)
    assert prune(database) == 4 and journal(database) == 0
    async with bridge.client(v1=True, since=old) as client, bridge.client(since=old) as plain:
        assert client.hello["resumed"] is False
        assert (await client.next())["reason"] == "pruned"
        await eventually(lambda: bridge.metrics()["pgcast_resets_total"] == 2,
                         "the reset of the plain client")
        database.publish("u1", "live")
        assert data(await client.until(lambda m: m["op"] == "publish")) == ["live"]
        assert (await plain.next())["data"] == "live"
        assert len(client.seen) == 3


async def test_resume_from_last_pruned_event(bridge, database):
    cursor = await cursor_now(bridge, database)
    assert prune(database) == 1
    database.publish("u1", "after")
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == ["after"]


async def test_cursor_of_empty_journal_is_valid(start, bridge, database):
    await cursor_now(bridge, database)
    bridge.settle(database)
    assert prune(database) == 1
    later = start(database)
    async with later.client(v1=True) as client:
        cursor = client.hello["cursor"]
    for other in later, bridge:
        async with other.client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
    database.publish("u1", "missed")
    async with later.client(v1=True, since=cursor) as client:
        assert data(await client.before_marker(database)) == ["missed"]


async def test_conservative_cursor_is_valid_after_pruning(bridge, database):
    """The position of the cursor is before all transactions, and no event is left."""
    database.publish("u1", "before")
    bridge.settle(database)
    assert prune(database) == 1
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in range(120)]
        for writer in writers:
            writer.execute("begin; select pg_current_xact_id()")
        database.execute("""do $$ begin for i in 1..1500 loop
            perform pg_current_xact_id(); commit; end loop; end $$""")
        cursor = await cursor_now(bridge, database)
        assert cursor.count(".") < 100
        database.publish("u1", "missed")
        async with bridge.client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            assert data(await client.before_marker(database))[-1] == "missed"


async def test_retention_counts_from_commit(bridge, database):
    """An old row of a transaction that commits now is as young as the commit."""
    keep = "500ms"
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute("select pgcast.publish('u1', 'long', '1')")
        cursor = await cursor_now(bridge, database)
        prune(database, keep)
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.6, "the row to be old enough")
        assert prune(database, keep) == 0, "an older transaction is open"
        writer.execute("commit")
        committed = time.monotonic()
    assert prune(database, keep) == 0
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert (await client.next())["type"] == "long"
    pruned = await eventually(lambda: prune(database, keep), "the rows to be old enough")
    assert pruned == 2 and time.monotonic() - committed >= 0.5


async def test_prune_keeps_young_events(bridge, database):
    first = await cursor_now(bridge, database)
    database.publish("u1", "old")
    second = await cursor_now(bridge, database)
    assert prune(database, "1h") == 0
    database.execute("update pgcast.rotation set since = since - interval '1h'")
    assert prune(database, "1h") == 0  # the rotation advances
    database.publish("u1", "young")
    database.execute("update pgcast.horizon set at = at - interval '1h'")
    assert prune(database, "1h") == 3
    async with bridge.client(v1=True, since=second) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == ["young"]
    async with bridge.client(v1=True, since=first) as client:
        assert (await client.next())["reason"] == "pruned"


async def test_prune_does_not_wait_for_writer(bridge, database):
    cursor = await cursor_now(bridge, database)
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute("insert into log(uid) values ('u1')")
        began = time.monotonic()
        assert prune(database) == 0
        assert time.monotonic() - began < 5
        writer.execute("insert into log(uid) values ('u1')")
        writer.execute("commit")
    async with bridge.client(v1=True, since=cursor) as client:
        assert len(data(await client.before_marker(database))) == 2
    assert await eventually(lambda: prune(database), "the table to be free")
    await eventually(lambda: prune(database) == 0 and journal(database) == 0,
                     "the journal to be empty")


def test_prune_during_writes_loses_nothing(database):
    """Transactions of several statements during continuous pruning."""
    failed, written, stop = [], [0, 0, 0], threading.Event()

    def write(n):
        try:
            with database.connect() as connection:
                connection.execute("set lock_timeout = '2s'")
                while not stop.is_set():
                    with connection.transaction():
                        for _ in range(3):
                            connection.execute("insert into log(uid) values ('u1')")
                    written[n] += 3
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    pruned = tables = 0
    try:
        with database.connect() as pruner:
            deadline = time.monotonic() + 20
            while tables < 4 and time.monotonic() < deadline:
                now = pruner.execute("select pgcast.prune('20ms')").fetchone()[0]
                pruned, tables = pruned + now, tables + (now > 0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed and tables >= 4
    assert pruned + journal(database) == sum(written)


def test_prune_in_several_sessions(database):
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 5000)")
    results = []

    def work():
        with database.connect("bridge") as connection:
            results.extend(connection.execute("select pgcast.prune('0')").fetchone()[0]
                           for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results)[-1] == 5000 and sum(results) == 5000
    assert len(results) == 80 and journal(database) == 0


@pytest.mark.parametrize("v1", [True, False])
async def test_prune_before_slow_client_sends_reset(start, database, v1):
    bridge = start(database, send_buffer="64kB")
    cursor = await cursor_now(bridge, database)
    database.execute("""insert into log(uid, action, detail)
        select 'u1', n::text, to_jsonb(repeat('x', 100000)) from generate_series(1, 300) n""")
    # The client reads no more than the library buffers.
    async with bridge.client(v1=v1, since=cursor, max_queue=1, read_limit=1024) as client:
        bridge.settle(database)
        assert await eventually(lambda: prune(database), "the table to be free") > 300
        reading = asyncio.create_task(client.until(lambda m: m.get("data") == "live"))
        await eventually(lambda: bridge.metrics()["pgcast_resets_total"] == 1, "the reset")
        database.publish("u1", "live")
        messages = await reading
    got = [int(m["data"]["action"]) for m in messages if m["type"] == "log"]
    assert 0 < len(got) < 300 and got == list(range(1, len(got) + 1))
    assert resets(client) == (["pruned"] if v1 else [])


async def test_prune_by_bridge(start, database):
    bridge = start(database, prune_interval="1s", retention="1min")
    cursor = await cursor_now(bridge, database)
    for n in range(10):
        database.publish("u1", n)
    bridge.settle(database)
    before = bridge.metrics()["pgcast_pruned_total"]
    assert before == 0
    database.execute("update pgcast.rotation set since = since - interval '1 day'",
                     """insert into pgcast.horizon
                        select now() - interval '2 min', pg_snapshot_xmax(pg_current_snapshot())""")
    await eventually(lambda: bridge.metrics()["pgcast_pruned_total"] == 11, "the bridge to prune")
    assert journal(database) == 0
    async with bridge.client(v1=True, since=cursor) as client:
        assert (await client.next())["reason"] == "pruned"


def test_prune_needs_rights_of_bridge(database):
    database.role("stranger")
    database.execute("grant usage on schema pgcast to stranger")
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with database.connect("stranger") as connection, denied:
        connection.execute("select pgcast.prune('0')")
    with database.connect("bridge") as connection, denied:
        connection.execute("truncate pgcast.event")
    database.publish("u1", 1)
    with database.connect("bridge") as connection:
        assert connection.execute("select pgcast.prune('0')").fetchone()[0] == 1
    wait_for(lambda: journal(database) == 0, "the journal to be empty")


async def test_prune_that_commits_late_sends_reset(bridge, database):
    """TRUNCATE empties the table for snapshots that were taken before, too."""
    cursor = await cursor_now(bridge, database)
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 100)")

    async def resume():
        async with bridge.client(v1=True, since=cursor) as client:
            await client.until(lambda message: message["op"] == "reset")
            return client

    with database.connect() as connection:
        connection.execute("begin")
        assert connection.execute("select pgcast.prune('0')").fetchone()[0] > 100
        resuming = asyncio.create_task(resume())
        await eventually(lambda: waits_for_lock(database), "the page to wait for the table")
        connection.execute("commit")
        client = await resuming
    assert [m for m in client.seen if m["type"] == "log"] == []
    assert resets(client) == ["pruned"]


def waits_for_lock(database):
    return database.value("""select exists (select from pg_stat_activity
        where application_name = 'pgcast' and datname = current_database()
            and wait_event_type = 'Lock')""")


def test_prune_of_young_events_takes_no_lock(database):
    """Readers would wait behind it."""
    database.execute("insert into log(uid) values ('u1')",
                     "update pgcast.rotation set current = (current + 1) % 3",
                     "insert into pgcast.horizon values (now() - interval '2h', '3')")
    with database.connect("bridge") as connection, connection.transaction():
        assert connection.execute("select pgcast.prune('1h')").fetchone()[0] == 0
        assert connection.execute("""select count(*) from pg_locks
            where pid = pg_backend_pid() and mode = 'AccessExclusiveLock'
                and relation is not null""").fetchone()[0] == 0
