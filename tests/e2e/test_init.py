"""init answers with a snapshot at one point of the stream: no change is missing or repeated."""

import asyncio
import contextlib

from harness import eventually
from stream import replay, table, writing


async def test_init_sends_newest_rows_oldest_first(bridge, database):
    database.execute("insert into log(uid) select 'u' || n % 2 from generate_series(1, 300) n")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        await client.init()
        answer = await client.next()
    assert list(answer) == ["type", "op", "key", "more", "data"]
    assert (answer["key"], answer["more"]) == (["id"], True)
    assert (answer["type"], answer["op"]) == ("log", "init")
    assert [row["id"] for row in answer["data"]] == list(range(101, 301, 2))
    assert {row["uid"] for row in answer["data"]} == {"u1"}


async def test_init_without_rows_is_empty(bridge):
    async with bridge.client("nobody") as client:
        await client.init()
        assert await client.next() == {"type": "log", "op": "init", "key": ["id"], "more": False,
                                       "data": []}


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


async def test_init_of_the_handshake_is_answered_before_later_changes(bridge, database):
    database.execute("insert into log(uid, detail) values ('u1', '1')")
    bridge.settle(database)
    async with bridge.client(init="log,nothing", v1=True) as client:
        assert (await client.until(lambda m: m["op"] == "init"))[-1]["data"][0]["detail"] == 1
        assert (await client.until(lambda m: m["op"] == "error"))[-1]["code"] == "unknown_type"
        database.execute("insert into log(uid, detail) values ('u1', '2')")
        assert (await client.until(lambda m: m["op"] == "insert"))[-1]["data"]["detail"] == 2


async def test_init_of_several_types(bridge, database):
    database.execute("create table note(uid text, text text)", "select pgcast.watch('note')")
    async with bridge.client(v1=True) as client:
        await client.send({"cmd": "init", "types": ["note", "log"], "ref": 1})
        got = await client.until(lambda message: message["op"] == "ack")
        assert [m["type"] for m in got if m["op"] == "init"] == ["note", "log"]


async def test_stop_during_writes_leaves_other_types_whole(bridge, database):
    """Four clients stop one of two types at different moments; of the other, none is missing."""
    database.execute("create table note(id serial, uid text)", "select pgcast.watch('note')")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(v1=True)) for _ in range(4)]
        for n in range(200):
            database.execute("insert into log(uid) values ('u1')",
                             "insert into note(uid) values ('u1')")
            if n % 50 == 25:
                await clients[n // 50].send({"cmd": "stop", "type": "log", "ref": n})
        bridge.settle(database)
        database.execute("insert into log(uid) values ('u1')")
        for number, client in enumerate(clients):
            got = await client.before_marker(database)
            assert {"ack", "insert"} <= {message["op"] for message in client.seen}
            assert [m["data"]["id"] for m in got if m["type"] == "note"] == list(range(1, 201))
            seen = [m["data"]["id"] for m in got if m["type"] == "log"]
            assert seen == list(range(1, len(seen) + 1))
            assert 50 * number + 25 <= len(seen) <= 200


async def test_init_states_the_policy_that_fails(bridge, database):
    database.execute("""set client_min_messages = error;
        create table mine (id int primary key, uid text);
        alter table mine enable row level security;
        create policy own on mine using (uid = current_setting('app.uid'));
        create table theirs (id int primary key, uid text);
        alter table theirs enable row level security;
        create policy app on theirs to bridge using (true);
        select pgcast.watch('mine'), pgcast.watch('theirs');
        insert into mine values (1, 'u1')""")
    async with bridge.client("u1", v1=True) as client:
        for type_, reason in ("mine", "app.uid"), ("theirs", "no policy is for pgcast_owner"):
            await client.send({"cmd": "init", "type": type_, "ref": 1})
            error = (await client.until(lambda message: message["op"] == "error"))[-1]
            assert error["code"] == "init_failed"
            assert error["message"].startswith("row-level security") and reason in error["message"]
        await eventually(lambda: bridge.lines("init of 'theirs' failed: no policy is for"),
                         "a log line")
    database.execute("create policy pgcast on theirs to pgcast_owner using (true)")
    async with bridge.client("u1", v1=True) as client:
        await client.init("theirs")
        await client.until(lambda message: message["op"] == "init")
