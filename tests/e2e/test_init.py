"""init answers with a snapshot at one point of the stream: no change is missing or repeated."""

import asyncio
import contextlib

from stream import replay, table, writing


async def test_init_sends_newest_rows_oldest_first(bridge, database):
    database.execute("insert into log(uid) select 'u' || n % 2 from generate_series(1, 300) n")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        await client.init()
        answer = await client.next()
    assert list(answer) == ["type", "op", "data"]
    assert (answer["type"], answer["op"]) == ("log", "init")
    assert [row["id"] for row in answer["data"]] == list(range(101, 301, 2))
    assert {row["uid"] for row in answer["data"]} == {"u1"}


async def test_init_without_rows_is_empty(bridge):
    async with bridge.client("nobody") as client:
        await client.init()
        assert await client.next() == {"type": "log", "op": "init", "data": []}


async def test_init_limit_of_table(bridge, database):
    database.execute("select pgcast.watch('log', init_limit => 3)",
                     "insert into log(uid) select 'u1' from generate_series(1, 10)")
    bridge.settle(database)
    async with bridge.client() as client:
        await client.init()
        assert [row["id"] for row in (await client.next())["data"]] == [8, 9, 10]


async def test_init_repeated(bridge, database):
    async with bridge.client() as client:
        for n in range(3):
            await client.init()
            assert len((await client.next())["data"]) == n
            database.execute("insert into log(uid) values ('u1')")
            assert (await client.next())["op"] == "insert"


async def test_init_of_two_types(bridge, database):
    database.execute("create table note(uid text, text text)", "select pgcast.watch('note')",
                     "insert into note values ('u1', 'a')", "insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client() as client:
        await client.init("note")
        await client.init("log")
        answers = {answer["type"]: answer["data"] for answer in await client.take(2)}
    assert answers["note"] == [{"uid": "u1", "text": "a"}]
    assert answers["log"][0]["uid"] == "u1"


async def test_init_during_writes_is_exact(bridge, database):
    database.execute("select pgcast.watch('log', init_limit => 100000)",
                     "insert into log(uid, detail) select 'u1', '0' from generate_series(1, 50)")
    async with contextlib.AsyncExitStack() as stack:
        with writing(database):
            clients = []
            for _ in range(8):
                client = await stack.enter_async_context(bridge.client())
                clients.append(client)
                await client.init()
                await client.until(lambda message: message["op"] == "init")
        database.publish("u1", "the end")
        for client in clients:
            await client.until(lambda message: message.get("data") == "the end")
    expected = table(database)
    for client in clients:
        ops = [message["op"] for message in client.seen]
        assert replay(client.seen[ops.index("init"):-1]) == expected


async def test_join_during_writes_receives_all_later_commits(bridge, database):
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        with writing(database) as count:
            for _ in range(20):
                client = await stack.enter_async_context(bridge.client())
                client.snapshot = database.value("select pg_current_snapshot()::text")
                clients.append(client)
                before = count[0]
                while count[0] < before + 5:
                    await asyncio.sleep(0.002)
        database.publish("u1", "the end")
        for client in clients:
            await client.until(lambda message: message.get("data") == "the end")
    for client in clients:
        due = database.value("""select array_agg(id) from pgcast.event
            where not pg_visible_in_snapshot(xid, %s::pg_snapshot)""", client.snapshot)
        got = [message["id"] for message in client.seen]
        assert len(got) == len(set(got))
        assert set(due) <= set(got)
