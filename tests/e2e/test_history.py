"""Commits that were read are lost, in any order, or pruned: clients that saw one get a reset.

A transaction whose events are deleted stands for one that a crash or a failover lost."""

import contextlib

import pytest

from harness import eventually
from stream import current_cursor, cursor_now, data, resets


@contextlib.contextmanager
def open_transaction(database, value):
    with database.connect() as connection:
        connection.execute("begin")
        publish(connection, value)
        yield connection


def publish(connection, value, uid="u1"):
    connection.execute("select pgcast.publish(%s, 'story', to_json(%s::text))", (uid, value))


def lose(database, value):
    database.execute(f"delete from pgcast.event where data::text = '\"{value}\"'")


def reconnect(database):
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity"
                     " where application_name = 'pgcast' and datname = current_database()")


async def story(client, *values):
    """Receives these values, in any order."""
    left = set(values)
    while left:
        left.discard((await client.until(lambda m: m["type"] == "story"))[-1]["data"])


async def resumed(bridge, database, cursor, uid="u1"):
    """The values that a client receives which resumes, and its resets."""
    async with bridge.client(uid, v1=True, since=cursor) as client:
        messages = await client.before_marker(database)
        return data(m for m in messages if m["type"] == "story"), resets(client)


async def test_loss_is_a_reset_of_live_clients_that_saw_it(bridge, database):
    """The one with the greatest id, which is committed before it, survives."""
    with open_transaction(database, "first") as first:
        async with (bridge.client(v1=True) as client, bridge.client("u2", v1=True) as other,
                    bridge.client("u3", v1=True) as asking):
            database.publish("u1", "second", type="story")
            await story(client, "second")
            first.execute("commit")
            await story(client, "first")
            await asking.init()
            await asking.until(lambda message: message["op"] == "init")
            lose(database, "first")
            reconnect(database)
            await client.until(lambda message: message["op"] == "reset")
            await client.before_marker(database)
            await other.before_marker(database)
            await asking.before_marker(database)
            assert [resets(one) for one in (client, other, asking)] == [["cursor"], [], ["cursor"]]


async def test_loss_is_a_reset_of_clients_that_resume_if_they_saw_it(bridge, database):
    with open_transaction(database, "first") as first:
        async with bridge.client(v1=True) as client:
            database.publish("u1", "second", type="story")
            await story(client, "second")
            before = await client.latest_cursor()
            first.execute("commit")
            await story(client, "first")
            after = await client.latest_cursor()
    lose(database, "first")
    assert await resumed(bridge, database, after) == ([], ["cursor"])
    assert await resumed(bridge, database, before) == ([], [])


@pytest.mark.parametrize("lost", ["first", "second", None])
async def test_loss_below_the_newest_transaction_of_a_turn(bridge, database, lost):
    with (open_transaction(database, "first") as first,
          open_transaction(database, "second") as second):
        async with bridge.client(v1=True) as client:
            database.publish("u1", "third", type="story")
            await story(client, "third")
            second.execute("commit")
            await story(client, "second")
            first.execute("commit")
            await story(client, "first")
            cursor = await client.latest_cursor()
    if lost:
        lose(database, lost)
    assert await resumed(bridge, database, cursor) == ([], ["cursor"] if lost else [])


async def test_later_transaction_ends_the_memory_of_earlier_ones(bridge, database):
    """It commits behind them, so that its presence shows theirs."""
    with open_transaction(database, "first") as first:
        database.publish("u1", "second", type="story")
        first.execute("commit")
    long = await cursor_now(bridge, database)
    for _ in range(3):
        short = await cursor_now(bridge, database)
    assert "-" not in short and len(short) < 64
    assert (await resumed(bridge, database, long))[1] == []
    assert (await resumed(bridge, database, short))[1] == []


@pytest.mark.parametrize("lost", ["first", "last", None])
async def test_loss_is_a_reset_although_open_transactions_do_not_fit_the_cursor(
        bridge, database, lost):
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(open_transaction(database, "first"))
        for n in range(80):
            stack.enter_context(open_transaction(database, f"open {n}"))
        database.execute("""do $$ begin for i in 1..1500 loop
            perform pg_current_xact_id(); commit; end loop; end $$""")
        for n in range(80):
            stack.enter_context(open_transaction(database, f"open {80 + n}"))
        async with bridge.client(v1=True) as client:
            database.publish("u1", "last", type="story")
            await story(client, "last")
            first.execute("commit")
            await story(client, "first")
            cursor = await client.latest_cursor()
        assert len(cursor) <= 512
        if lost:
            lose(database, lost)
        values, reasons = await resumed(bridge, database, cursor)
        assert reasons == (["cursor"] if lost else [])
        assert values == ([] if lost else ["last"])  # repeated


@pytest.mark.parametrize("lost", ["of the client", "of another", None])
async def test_loss_before_the_bridge_started(start, database, lost):
    with open_transaction(database, "of the client") as first:
        database.publish("u2", "of another", type="story")
        database.publish("u2", "newest", type="story")
        first.execute("commit")
    cursor = await current_cursor(start(database))
    if lost:
        lose(database, lost)
    assert await resumed(start(database), database, cursor) == ([], ["cursor"] if lost else [])


async def test_cursor_after_transactions_of_several_events_stays_valid(start, database):
    """Over a lost connection, after which the bridge knows no more than its position."""
    bridge = start(database)
    async with bridge.client(v1=True) as client:
        with open_transaction(database, "first") as first:
            database.execute("insert into log(uid, action)"
                             " values ('u1', 'a'), ('u1', 'b'), ('u1', 'c')")
            await client.until(lambda m: m["type"] == "log" and m["data"]["action"] == "c")
            connects = bridge.metrics()["pgcast_database_connects_total"]
            reconnect(database)
            await eventually(lambda: bridge.metrics()["pgcast_database_connects_total"] > connects
                             and bridge.ready(), "the bridge to connect")
            publish(first, "again")
            first.execute("commit")
            await story(client, "first", "again")
            cursor = await client.latest_cursor()
    assert await resumed(bridge, database, cursor) == ([], [])
    lose(database, "again")
    assert await resumed(bridge, database, cursor) == ([], ["cursor"])


async def test_loss_among_events_that_were_too_many_for_a_turn(bridge, database):
    async with bridge.client(v1=True) as client:
        with open_transaction(database, "first") as first:
            await client.before_marker(database)
            database.execute("begin; insert into log(uid)"
                             " select 'u2' from generate_series(1, 30000);"
                             " select pgcast.publish('u1', 'story', '\"large\"'::json); commit")
            await story(client, "large")
            first.execute("commit")
            await story(client, "first")
            cursor = await client.latest_cursor()
    assert await resumed(bridge, database, cursor) == ([], [])
    lose(database, "first")
    assert await resumed(bridge, database, cursor) == ([], ["cursor"])


async def test_bridge_away_for_longer_than_retention_sends_reset(start, database):
    """Another one has pruned a transaction that was open when it left."""
    bridge = start(database, prune_interval="1d")
    async with bridge.client(v1=True) as client:
        with open_transaction(database, "open") as writer:
            await client.before_marker(database)
            database.execute("alter role bridge nologin")
            try:
                reconnect(database)
                bridge.wait_line("database: reconnecting")
                writer.execute("commit")
                for _ in range(5):
                    database.execute("select pgcast.prune('0')")
                assert database.value("select count(*) from pgcast.event") == 0
            finally:
                database.execute("alter role bridge login")
        await client.until(lambda message: message["op"] == "reset")
        await client.init()
        await client.until(lambda message: message["op"] == "init")
        await client.before_marker(database)
        assert resets(client) == ["pruned"]


def test_witness_of_any_range_is_bounded(database):
    """A client may ask for it: neither its width nor its open transactions make it costly."""
    database.execute("""do $$ begin for i in 1..1500 loop
        perform pgcast.publish('u1', 'story', '1'::json); commit; end loop; end $$""")
    bounded = """select n from pgcast.witness('0', pg_snapshot_xmax(pg_current_snapshot()),
        array(select xid from pgcast.event order by id limit {}), '{{}}')"""
    assert database.value(bounded.format(0)) == 1024
    assert database.value(bounded.format(100)) == 1024
    assert database.value(bounded.format(1400)) == 100
