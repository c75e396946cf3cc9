"""The journal is pruned behind everybody's back: by commit, without a writer waiting, and never silently."""

import asyncio
import contextlib
import threading
import time

import pytest

from harness import eventually, wait_for
from test_resume import cursor_now, data, reasons


def prune(database, keep="0"):
    return database.value("select pgcast.prune(%s::text::interval)", keep)


def journal(database):
    return database.value("select count(*) from pgcast.event")


async def test_a_cursor_from_before_what_was_pruned_is_told_so(bridge, database):
    old = await cursor_now(bridge, database)
    for n in range(3):
        database.publish("u1", n)
    bridge.settle(database)
    assert prune(database) == 4 and journal(database) == 0
    async with bridge.client(v1=True, since=old) as client, bridge.client(since=old) as plain:
        assert client.hello["resumed"] is False
        assert (await client.next())["reason"] == "pruned"
        await eventually(lambda: bridge.metrics()["pgcast_resets_total"] == 2, "the plain one to be reset")
        database.publish("u1", "live")
        assert data(await client.until(lambda m: m["op"] == "publish")) == ["live"]
        assert (await plain.next())["data"] == "live"
        assert len(client.seen) == 3


async def test_a_cursor_at_the_last_event_that_was_pruned_still_holds(bridge, database):
    cursor = await cursor_now(bridge, database)
    assert prune(database) == 1
    database.publish("u1", "after")
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == ["after"]


async def test_a_bridge_that_begins_behind_an_empty_journal_gives_cursors_that_hold(start, bridge, database):
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


async def test_a_short_cursor_of_many_open_transactions_holds_after_pruning(bridge, database):
    """The weaker position lies before them all, and there is no event left."""
    database.publish("u1", "before")
    bridge.settle(database)
    assert prune(database) == 1
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in range(120)]
        for writer in writers:
            writer.execute("begin; select pg_current_xact_id()")
        database.execute("do $$ begin for i in 1..1500 loop perform pg_current_xact_id(); commit; end loop; end $$")
        cursor = await cursor_now(bridge, database)
        assert cursor.count(".") < 100
        database.publish("u1", "missed")
        async with bridge.client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            assert data(await client.before_marker(database))[-1] == "missed"


async def test_retention_counts_from_commit(bridge, database):
    """A transaction that wrote long ago and commits now is kept as if it had written now."""
    keep = "500ms"
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute("select pgcast.publish('u1', 'long', '1')")
        cursor = await cursor_now(bridge, database)
        prune(database, keep)
        began = time.monotonic()
        await eventually(lambda: time.monotonic() - began > 0.6, "the row to be old")
        assert prune(database, keep) == 0, "nothing goes while an older transaction is open"
        writer.execute("commit")
        committed = time.monotonic()
    assert prune(database, keep) == 0
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        assert (await client.next())["type"] == "long"
    pruned = await eventually(lambda: prune(database, keep), "the rows to be old enough")
    assert pruned == 2 and time.monotonic() - committed >= 0.5


async def test_young_events_stay_when_old_ones_go(bridge, database):
    first = await cursor_now(bridge, database)
    database.publish("u1", "old")
    second = await cursor_now(bridge, database)
    assert prune(database, "1h") == 0
    database.execute("update pgcast.rotation set since = since - interval '1h'")
    assert prune(database, "1h") == 0  # the ring turns
    database.publish("u1", "young")
    database.execute("update pgcast.horizon set at = at - interval '1h'")
    assert prune(database, "1h") == 3
    async with bridge.client(v1=True, since=second) as client:
        assert client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == ["young"]
    async with bridge.client(v1=True, since=first) as client:
        assert (await client.next())["reason"] == "pruned"


async def test_a_writer_at_work_in_the_journal_is_left_alone(bridge, database):
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
    assert await eventually(lambda: prune(database), "the slot to be free")
    await eventually(lambda: prune(database) == 0 and journal(database) == 0, "all of it to go")


def test_pruning_fails_no_writer_and_loses_nothing(database):
    """Writers in transactions of several statements, while it is pruned all the time."""
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
    pruned = slots = 0
    try:
        with database.connect() as pruner:
            deadline = time.monotonic() + 20
            while slots < 4 and time.monotonic() < deadline:
                now = pruner.execute("select pgcast.prune('20ms')").fetchone()[0]
                pruned, slots = pruned + now, slots + (now > 0)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed and slots >= 4
    assert pruned + journal(database) == sum(written)


def test_several_bridges_prune_at_once(database):
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 5000)")
    results = []

    def work():
        with database.connect("bridge") as connection:
            for _ in range(20):
                results.append(connection.execute("select pgcast.prune('0')").fetchone()[0])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results)[-1] == 5000 and sum(results) == 5000
    assert len(results) == 80 and journal(database) == 0


@pytest.mark.parametrize("v1", [True, False])
async def test_who_is_too_slow_for_pruning_is_told_and_goes_on(start, database, v1):
    bridge = start(database, send_buffer="64kB")
    cursor = await cursor_now(bridge, database)
    database.execute("""insert into log(uid, action, detail)
        select 'u1', n::text, to_jsonb(repeat('x', 100000)) from generate_series(1, 300) n""")
    # It reads no more than what its own library takes in advance.
    async with bridge.client(v1=v1, since=cursor, max_queue=1, read_limit=1024) as client:
        bridge.settle(database)
        assert await eventually(lambda: prune(database), "the slot to be free") > 300
        reading = asyncio.create_task(client.until(lambda m: m.get("data") == "live"))
        await eventually(lambda: bridge.metrics()["pgcast_resets_total"] == 1, "the gap to be noticed")
        database.publish("u1", "live")
        messages = await reading
    got = [int(m["data"]["action"]) for m in messages if m["type"] == "log"]
    assert 0 < len(got) < 300 and got == list(range(1, len(got) + 1))
    assert reasons(client) == (["pruned"] if v1 else [])


async def test_the_bridge_prunes_by_itself(start, database):
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


def test_who_is_no_bridge_may_not_prune(database):
    database.execute("do $$ begin create role stranger login; exception when duplicate_object then end $$",
                     "grant usage on schema pgcast to stranger")
    with database.connect("stranger") as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute("select pgcast.prune('0')")
    with database.connect("bridge") as connection, pytest.raises(Exception, match="permission denied"):
        connection.execute("truncate pgcast.event")
    database.publish("u1", 1)
    with database.connect("bridge") as connection:
        assert connection.execute("select pgcast.prune('0')").fetchone()[0] == 1
    wait_for(lambda: journal(database) == 0, "the journal to be empty")
