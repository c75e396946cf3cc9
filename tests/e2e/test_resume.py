"""A client that reconnects with a cursor receives the missed events once and in order."""

import asyncio
import contextlib

import pytest

from harness import eventually, wait_for
from stream import current_cursor, cursor_now, data, ids, publishing, replay, resets, table, writing


async def test_resume_sends_missed_events(bridge, database):
    async with bridge.client(v1=True) as client:
        database.publish("u1", "before")
        assert (await client.next())["data"] == "before"
        cursor = await client.latest_cursor()
    for n in range(5):
        database.publish("u1", n)
        database.publish("u2", "not for u1")
    database.publish(None, "for all")
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["op"] == "hello" and client.hello["resumed"] is True
        assert data(await client.before_marker(database)) == [0, 1, 2, 3, 4, "for all"]
        assert resets(client) == []
    assert bridge.metrics()["pgcast_resumes_total"] == 1


async def test_resume_from_latest_cursor_sends_nothing(bridge, database):
    database.publish("u1", "before")
    cursor = await cursor_now(bridge, database)
    for _ in range(2):
        async with bridge.client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            cursor = client.hello["cursor"]
    async with bridge.client(v1=True, since=cursor) as client:
        assert await client.before_marker(database) == []


async def test_resume_of_plain_client(bridge, database):
    cursor = await cursor_now(bridge, database)
    database.publish("u1", "missed")
    async with bridge.client(since=cursor) as client:
        assert data(await client.before_marker(database)) == ["missed"]
        assert all("data" in message for message in client.seen)


def transaction(cursor):
    """The greatest transaction of a cursor; see Position of tests/fault/clients.py."""
    return int(cursor.split(".")[3])


def with_field(cursor, n, change):
    fields = cursor.split(".")
    number, *rest = fields[n].split("-")
    fields[n] = "-".join((str(change(int(number))), *rest))
    return ".".join(fields)


@pytest.mark.parametrize(("kind", "reason"), [
    ("malformed", "cursor"), ("empty", "cursor"), ("too long", "cursor"), ("other epoch", "epoch"),
    ("future", "cursor"), ("other anchor", "cursor"), ("other time", "cursor")])
async def test_resume_from_invalid_cursor_sends_reset(bridge, database, kind, reason):
    database.publish("u1", "before")
    cursor = await cursor_now(bridge, database)
    bad = {"malformed": lambda: "1.2.x'", "empty": lambda: "",
           "too long": lambda: cursor + ".1" * 300,
           "other epoch": lambda: with_field(cursor, 0, lambda epoch: epoch + 1),
           "future": lambda: with_field(cursor, 3, lambda xid: xid + 10**9),
           "other anchor": lambda: with_field(cursor, 1, lambda id: id + 1),
           "other time": lambda: with_field(cursor, 2, lambda at: at + 1)}[kind]()
    database.publish("u1", "missed")
    bridge.settle(database)
    async with bridge.client(v1=True, since=bad) as client, bridge.client(since=bad) as plain:
        assert client.hello["resumed"] is False
        reset = await client.next()
        assert (reset["type"], reset["op"], reset["reason"]) == ("pgcast", "reset", reason)
        if kind not in ("malformed", "empty", "too long"):  # refused by the journal
            await eventually(lambda: bridge.metrics()["pgcast_resets_total"] == 2,
                             "the other one's cursor to be refused")
        for n in range(3):
            database.publish("u1", n)
        assert data(await client.before_marker(database)) == [0, 1, 2]
        assert data(await plain.before_marker(database))[:3] == [0, 1, 2]
        assert resets(client) == [reason]
    # The cursor of a new client is valid.
    async with bridge.client(v1=True, since=await current_cursor(bridge)) as client:
        assert client.hello["resumed"] is True


async def test_resume_on_other_bridge(start, bridge, database):
    other = start(database)
    bridges = [bridge, other]
    cursor, wanted = await cursor_now(bridge, database), []
    for n in range(6):
        database.publish("u1", n)
        async with bridges[n % 2].client(v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            assert (await client.until(lambda m: m["op"] == "publish"))[-1]["data"] == n
            cursor = await client.latest_cursor()
            wanted += data(client.seen)
    assert wanted == list(range(6))


async def test_cursor_of_idle_client_advances(start, database):
    bridge = start(database, ping_interval="1s")
    async with bridge.client("quiet", v1=True) as client:
        stale = client.hello["cursor"]
        for n in range(3):
            database.publish("u1", n)
        async with bridge.client("u1", v1=True) as other:
            await other.before_marker(database)
            latest = transaction(await other.latest_cursor())
        await client.until(lambda m: m["op"] == "cursor" and transaction(m["cursor"]) >= latest)
        fresh = client.seen[-1]["cursor"]
    assert database.value("select pgcast.prune('0')") > 0
    for cursor, resumed in (fresh, True), (stale, False):
        async with bridge.client("quiet", v1=True, since=cursor) as client:
            assert client.hello["resumed"] is resumed
            assert await client.before_marker(database) == []
            assert resets(client) == ([] if resumed else ["pruned"])


async def test_cursor_during_many_open_transactions_is_short(bridge, database):
    """It is more conservative than the bridge's position: it may repeat events, but loses none."""
    with contextlib.ExitStack() as stack:
        writers = []
        for n in range(150):
            writer = stack.enter_context(database.connect())
            writer.execute("begin")
            writer.execute("insert into log(uid, action) values ('u1', %s)", (f"open {n}",))
            writers.append(writer)
        database.execute("""do $$ begin for i in 1..1500 loop
            perform pg_current_xact_id(); commit; end loop; end $$""")
        for n in range(3):
            database.publish("u1", n)
        cursor = await cursor_now(bridge, database)
        assert len(cursor) <= 512
        exact = database.value("""select cardinality(array(
            select pg_snapshot_xip(pg_current_snapshot())))""")
        assert exact == 150 and cursor.count(".") < 150
        for writer in writers:
            writer.execute("commit")
    database.publish("u1", "after")
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is True
        messages = await client.before_marker(database)
    assert len(ids(messages)) == len(set(ids(messages)))
    got = [m["data"]["action"] if m["type"] == "log" else m["data"] for m in messages]
    assert {f"open {n}" for n in range(150)} | {"after"} <= set(got)


async def test_resume_during_open_transactions(bridge, database):
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in range(5)]
        for n, writer in enumerate(writers):
            writer.execute("begin")
            writer.execute("select pgcast.publish('u1', 'open', to_json(%s::int))", (n,))
        cursor = await cursor_now(bridge, database)
        got = []
        for n in 3, 0, 4, 1, 2:
            writers[n].execute("commit")
            database.publish("u1", "between")
            async with bridge.client(v1=True, since=cursor) as client:
                await client.until(lambda m: m.get("data") == "between")
                cursor = await client.latest_cursor()
                got += data(client.seen)
        assert [x for x in got if x != "between"] == [3, 0, 4, 1, 2]
        assert got.count("between") == 5


async def test_resume_omits_rolled_back_savepoints(bridge, database):
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute("insert into log(uid, action) values ('u1', 'kept')")
        writer.execute("savepoint s")
        writer.execute("insert into log(uid, action) values ('u1', 'dropped')")
        cursor = await cursor_now(bridge, database)
        writer.execute("rollback to s")
        writer.execute("insert into log(uid, action) values ('u1', 'late')")
        writer.execute("commit")
    async with bridge.client(v1=True, since=cursor) as client:
        assert [d["action"] for d in data(await client.before_marker(database))] == ["kept", "late"]


@pytest.mark.parametrize("v1", [False, True])
async def test_resume_over_several_pages(bridge, database, v1):
    cursor = await cursor_now(bridge, database)
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 1500)")
    database.publish(None, "for all")
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 3000)")
    due = database.value("""select array_agg(id order by id) from pgcast.event
        where type = 'log' or broadcast""")
    async with bridge.client(v1=v1, since=cursor) as client:
        messages = await client.before_marker(database)
    assert ids(messages) == due
    assert [d for d in data(messages) if isinstance(d, str)] == ["for all"]


async def test_resume_over_several_pages_continues_over_short_connections(bridge, database):
    """Each ends at its first cursor; meanwhile, a transaction with early events commits."""
    cursor = await cursor_now(bridge, database)
    got, connections = [], 0
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute("insert into log(uid) select 'u1' from generate_series(1, 500)")
        for _ in range(2):
            database.execute("insert into log(uid) select 'u1' from generate_series(1, 12000)",
                             "select pgcast.publish(null, 'news', '1'::json)"
                             " from generate_series(1, 3000)")
        live = False
        while not live:
            async with bridge.client(v1=True, since=cursor) as client:
                assert client.hello["resumed"] and client.hello["cursor"] == cursor
                messages = await client.until(lambda message: message["op"] == "cursor")
                client.socket.transport.abort()
            cursor, live = messages[-1]["cursor"], "~" not in messages[-1]["cursor"]
            got += ids(messages[:-1])
            connections += 1
            if connections == 2:
                writer.execute("commit")
    async with bridge.client(v1=True, since=cursor) as client:
        got += ids(await client.before_marker(database))
    due = database.value("""select array_agg(id order by id) from pgcast.event
        where type <> 'marker' and (uid = 'u1' or broadcast)""")
    assert sorted(got) == due
    assert connections > 5


@pytest.mark.parametrize("others", [50, 20_001])
async def test_resume_with_few_or_many_recent_rows(bridge, database, others):
    cursor = await cursor_now(bridge, database)
    database.publish("u1", 1)
    database.publish(None, "for all")
    database.execute(f"insert into log(uid) select 'other' from generate_series(1, {others})")
    database.publish("u1", 2)
    database.publish("u2", 3)
    for uid, wanted in ("u1", [1, "for all", 2]), ("u2", ["for all", 3]), ("u3", ["for all"]):
        async with bridge.client(uid, v1=True, since=cursor) as client:
            assert client.hello["resumed"] is True
            assert data(await client.before_marker(database)) == wanted


@pytest.mark.parametrize("change", ["truncate log", "select pgcast.reset_type('log')"])
async def test_resume_sends_each_event_without_data(bridge, database, change):
    cursor = await cursor_now(bridge, database)
    for _ in range(3):
        database.execute(change)
    async with bridge.client(v1=True, since=cursor) as client:
        assert len(await client.until(lambda m: m.get("op") == "cursor")) == 4


async def test_resume_with_types_parameter(bridge, database):
    cursor = await cursor_now(bridge, database)
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 3000)")
    database.publish("u1", "no", type="chat")
    database.publish("u1", "yes", type="news")
    async with bridge.client(v1=True, since=cursor, types="news,marker") as client:
        assert data(await client.before_marker(database)) == ["yes"]
        cursor = await client.latest_cursor()
    async with bridge.client(v1=True, since=cursor) as client:
        assert data(await client.before_marker(database)) == []


async def test_resume_of_clients_with_different_cursors(bridge, database):
    cursors = []
    for n in range(8):
        async with bridge.client(v1=True) as client:
            database.publish("u1", n)
            await client.until(lambda m: m.get("data") == n)
            cursors.append(await client.latest_cursor())
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(v1=bool(n % 3), since=cursor))
                   for n, cursor in enumerate(cursors)]
        fresh = await stack.enter_async_context(bridge.client(v1=True))
        database.publish("u1", "live")
        for n, client in enumerate(clients):
            got = await client.until(lambda m: m.get("data") == "live")
            assert data(got) == [*range(n + 1, 8), "live"]
        assert data(await fresh.until(lambda m: m.get("data") == "live")) == ["live"]


async def test_resume_during_writes_is_exact(bridge, database):
    """Clients that disconnect and resume while rows are written."""
    cursor = await cursor_now(bridge, database)
    database.execute("""select pgcast.publish('u1', 'count', to_json(-n))
        from generate_series(3000, 1, -1) n""")
    with publishing(database) as count:
        async def wander(n):
            at, got = cursor, []
            for _ in range(8):
                async with bridge.client(v1=True, since=at) as client:
                    assert client.hello["resumed"] is True
                    await client.take(1 + n * 40)
                    at = await client.latest_cursor()
                    got += data(client.seen)
            return at, got
        results = await asyncio.gather(*(wander(n) for n in range(4)))
    for at, got in results:
        async with bridge.client(v1=True, since=at) as client:
            got += data(await client.before_marker(database))
        assert [d for d in got if isinstance(d, int)] == list(range(-3000, count[0]))


@pytest.mark.parametrize("rows", [10, 3000])
async def test_resume_with_init_is_exact(bridge, database, rows):
    """Events before the answer are in it; events after it are not."""
    database.execute("select pgcast.watch('log', init_limit => 100000)")
    cursor = await cursor_now(bridge, database)
    database.execute(f"""insert into log(uid, detail)
        select 'u1', '0' from generate_series(1, {rows})""")
    with writing(database, threads=2):
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(3):
                client = await stack.enter_async_context(bridge.client(since=cursor))
                clients.append(client)
                await client.init()
                await client.until(lambda message: message["op"] == "init")
                await client.take(20)
            cursors = stack.pop_all()
    async with cursors:
        for client in clients:
            await client.before_marker(database)
            client.seen = [m for m in client.seen if m["type"] == "log"]
    expected = table(database)
    for client in clients:
        at = [message["op"] for message in client.seen].index("init")
        assert replay(client.seen[at:]) == expected
        assert len(ids(client.seen)) == len(set(ids(client.seen)))
        assert len(ids(client.seen[:at])) >= rows


async def test_resume_of_many_clients_shares_queries(bridge, database):
    cursor = await cursor_now(bridge, database)
    database.execute("insert into log(uid) select 'u' || n from generate_series(1, 200) n")
    wait_for(lambda: bridge.metrics()["pgcast_events_total"] >= 201, "the rows to be read")
    pages = bridge.metrics()["pgcast_pages_total"]
    async with contextlib.AsyncExitStack() as stack:
        clients = await asyncio.gather(*(stack.enter_async_context(
            bridge.client(f"u{n}", v1=True, since=cursor)) for n in range(1, 201)))
        for n, client in enumerate(clients, 1):
            assert (await client.next())["data"]["uid"] == f"u{n}"
    assert bridge.metrics()["pgcast_pages_total"] - pages < 150
