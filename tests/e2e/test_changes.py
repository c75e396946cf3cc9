"""Every change of a row reaches all clients of its uid, and no others."""

import asyncio
import contextlib
import json
import re

import psycopg
import pytest

from harness import TIMEOUT
from stream import cursor_now


def ops(messages):
    return [message["op"] for message in messages]


async def test_insert_sends_row(bridge, database):
    async with bridge.client("u1") as client:
        database.execute("insert into log(uid, action, detail)"
                         " values ('u1', 'login', '{\"a\": [1, \"é\"]}')")
        message = await client.next()
    assert list(message) == ["type", "op", "id", "at", "data"]
    assert (message["type"], message["op"]) == ("log", "insert")
    assert isinstance(message["id"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", message["at"])
    row = message["data"]
    del row["address"], row["created_at"]
    assert row == {"id": 1, "uid": "u1", "action": "login", "detail": {"a": [1, "é"]}}


async def test_update_sends_new_and_old_row(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("update log set action = 'logout'")
        message = await client.next()
    assert message["op"] == "update"
    assert message["data"]["action"] == "logout"
    assert message["old"]["action"] == "login"


async def test_delete_sends_deleted_row(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("delete from log")
        message = await client.next()
    assert message["op"] == "delete"
    assert message["data"]["id"] == 1
    assert "old" not in message


async def test_bulk_statement_sends_every_row(bridge, database):
    async with bridge.client("u1") as client:
        database.execute("insert into log(uid) select 'u' || n % 2 from generate_series(1, 1000) n")
        inserted = await client.take(500)
        database.execute("update log set action = 'seen'")
        updated = await client.take(500)
        database.execute("delete from log")
        deleted = await client.take(500)
        assert await client.before_marker(database) == []
    for messages, op in (inserted, "insert"), (updated, "update"), (deleted, "delete"):
        assert set(ops(messages)) == {op}
        assert {message["data"]["id"] for message in messages} == set(range(1, 1001, 2))
    assert all(message["old"]["id"] == message["data"]["id"] for message in updated)
    ids = [message["id"] for message in client.seen]
    assert ids == sorted(set(ids))


async def test_truncate_reaches_every_uid(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("truncate log")
        for client in one, other:
            message = await client.next()
            assert (message["type"], message["op"], message["data"]) == ("log", "truncate", None)


async def test_change_does_not_reach_other_uid(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("insert into log(uid) values ('u1')", "update log set action = 'x'",
                         "delete from log")
        assert ops(await one.before_marker(database)) == ["insert", "update", "delete"]
        assert await other.before_marker(database) == []


async def test_change_reaches_every_client_of_uid(bridge, database):
    async with bridge.client() as a, bridge.client() as b, bridge.client(v1=True) as c:
        database.execute("insert into log(uid) select 'u1' from generate_series(1, 20)")
        seen = [await client.before_marker(database) for client in (a, b, c)]
    assert len(seen[0]) == 20
    # The markers of the other clients come after the rows that are compared here.
    assert seen[1][:20] == seen[0] and seen[2][:20] == seen[0]


async def test_copy_and_upsert_send_changes(bridge, database):
    database.execute("create unique index on log(uid, action)")
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            with connection.cursor().copy("copy log(uid, action) from stdin") as copy:
                copy.write(b"u1\tone\nu1\ttwo\n")
            connection.execute("""insert into log(uid, action) values ('u1', 'two'), ('u1', 'three')
                on conflict (uid, action) do update set detail = '"again"'""")
        got = [(message["op"], message["data"]["action"])
               for message in await client.before_marker(database)]
    assert sorted(got) == [("insert", "one"), ("insert", "three"), ("insert", "two"),
                           ("update", "two")]


async def test_uid_change_sends_delete_and_insert(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as here, bridge.client("u2") as there:
        database.execute("update log set uid = 'u2'")
        left, joined = await here.next(), await there.next()
    assert (left["op"], left["data"]["uid"]) == ("delete", "u1")
    assert (joined["op"], joined["data"]["uid"]) == ("insert", "u2")


async def test_null_uid_reaches_nobody(bridge, database):
    async with bridge.client("u1") as client:
        database.execute("insert into log(uid) values (null)", "update log set action = 'x'")
        assert await client.before_marker(database) == []
        database.execute("update log set uid = 'u1'")
        assert ops(await client.take(1)) == ["insert"]


async def test_rolled_back_change_is_not_sent(bridge, database):
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            with connection.transaction(force_rollback=True):
                connection.execute("insert into log(uid, action) values ('u1', 'never')")
            with connection.transaction():
                connection.execute("insert into log(uid, action) values ('u1', 'first')")
                with connection.transaction(force_rollback=True):
                    connection.execute("insert into log(uid, action) values ('u1', 'never')")
                connection.execute("insert into log(uid, action) values ('u1', 'second')")
        got = await client.before_marker(database)
    assert [message["data"]["action"] for message in got] == ["first", "second"]


async def test_equal_rows_are_both_sent(bridge, database):
    database.execute("create table mood(uid text, mood text)", "select pgcast.watch('mood')")
    async with bridge.client("u1") as client:
        database.execute("insert into mood values ('u1', 'fine'), ('u1', 'fine')")
        one, two = await client.take(2)
    assert one["data"] == two["data"] == {"uid": "u1", "mood": "fine"}
    assert one["id"] < two["id"]


async def test_changes_of_row_arrive_in_order(bridge, database):
    database.execute("insert into log(uid, detail) values ('u1', '0')")
    bridge.settle(database)

    def count_up():
        with database.connect() as connection:
            for _ in range(100):
                connection.execute("update log set detail = to_jsonb(detail::text::int + 1)")

    async with bridge.client("u1") as client:
        await asyncio.gather(*(asyncio.to_thread(count_up) for _ in range(4)))
        got = await client.before_marker(database)
    assert [message["data"]["detail"] for message in got] == list(range(1, 401))


async def test_broadcast_table_reaches_every_uid(bridge, database):
    database.execute("create table news(id int primary key, text text)",
                     "select pgcast.watch('news', uid_column => null)")
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("insert into news values (1, 'hello')")
        assert await one.next() == await other.next()
    assert one.seen[0]["data"] == {"id": 1, "text": "hello"}


async def test_publish_without_table(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.publish("u1", {"text": "hi"}, type="chat")
        database.publish(None, [1, 2], type="chat")
        message = await one.next()
        assert (message["type"], message["op"]) == ("chat", "publish")
        assert message["data"] == {"text": "hi"}
        for client in one, other:
            assert (await client.next())["data"] == [1, 2]


async def test_types_parameter_selects_events(bridge, database):
    async with bridge.client("u1", types="chat,marker") as some, bridge.client("u1") as all:
        database.execute("insert into log(uid) values ('u1')")
        database.publish("u1", "hi", type="chat")
        assert [message["type"] for message in await some.before_marker(database)] == ["chat"]
        assert [message["type"] for message in await all.take(2)] == ["log", "chat"]


async def test_columns_argument_limits_row(bridge, database):
    database.execute("create table account(uid text primary key, name text, secret text)",
                     "select pgcast.watch('account', columns => array['uid', 'name'])",
                     "insert into account values ('u1', 'Ann', 'hush')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("update account set name = 'Anna'")
        message = await client.next()
        await client.init("account")
        answer = await client.next()
    assert message["data"] == {"uid": "u1", "name": "Anna"}
    assert message["old"] == {"uid": "u1", "name": "Ann"}
    assert answer["data"] == [{"uid": "u1", "name": "Anna"}]


async def test_uid_of_integer_column_is_compared_as_text(bridge, database):
    database.execute("create table score(uid int, points int)", "select pgcast.watch('score')")
    async with bridge.client("42") as client:
        database.execute("insert into score values (4, 1), (42, 2)")
        assert (await client.next())["data"] == {"uid": 42, "points": 2}


@pytest.mark.parametrize("uid", ["Ω mega/€", "a&b=c", "%41", "x" * 255, "'; drop table log; --",
                                 '"}{', "a,b"])
async def test_uid_with_special_characters(bridge, database, uid):
    async with bridge.client(uid) as client:
        with database.connect() as connection:
            connection.execute("insert into log(uid) values (%s)", (uid,))
        assert (await client.next())["data"]["uid"] == uid


async def test_row_of_one_mebibyte_arrives_whole(bridge, database):
    text = "0123456789abcdeé" * 65536
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            connection.execute("insert into log(uid, detail) values ('u1', to_jsonb(%s::text))",
                               (text,))
            connection.execute("insert into log(uid) values ('u1')")
        assert (await client.next())["data"]["detail"] == text
        assert (await client.next())["data"]["detail"] is None


async def test_partition_written_directly_is_watched(bridge, database):
    database.execute("create table measure(uid text, day int) partition by range (day)",
                     "create table measure_1 partition of measure for values from (0) to (10)",
                     "select pgcast.watch('measure')",
                     "create table measure_2 partition of measure for values from (10) to (20)")
    async with bridge.client("u1") as client:
        database.execute("insert into measure values ('u1', 1)",
                         "insert into measure_1 values ('u1', 2)",
                         "insert into measure_2 values ('u1', 12)")
        got = await client.before_marker(database)
    assert [(message["type"], message["data"]["day"]) for message in got] == [
        ("measure", 1), ("measure", 2), ("measure", 12)]


async def test_writer_without_rights_on_pgcast(bridge, database):
    database.role("writer")
    database.execute("grant insert on log to writer")
    async with bridge.client("u1") as client:
        with database.connect("writer") as connection:
            connection.execute("insert into log(uid) values ('u1')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from pgcast.event")
        assert (await client.next())["op"] == "insert"


async def test_writes_with_pauses_all_arrive(bridge, database):
    """The bridge is notified only while it sleeps, so the pauses have many lengths."""
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            for n in range(200):
                connection.execute("insert into log(uid, detail) values ('u1', %s)",
                                   (json.dumps(n),))
                await asyncio.sleep((n % 20) / 1000)
        got = await asyncio.wait_for(client.take(200), TIMEOUT)
    assert [message["data"]["detail"] for message in got] == list(range(200))


async def test_prepared_transaction_arrives_at_commit(bridge, database):
    database.execute("create table deal(uid text, price int)",
                     "select pgcast.watch('deal', notify => false)")
    async with bridge.client("u1") as client:
        database.execute("begin; insert into deal values ('u1', 5); prepare transaction 'deal'")
        assert await client.before_marker(database) == []
        database.execute("commit prepared 'deal'")
        assert (await client.next())["data"] == {"uid": "u1", "price": 5}


async def test_late_commit_arrives_at_commit(bridge, database):
    """Transactions end in another order than they began. There are more than the four at which a
    pull cuts its range; at the end none is in progress, which is a pull of its own."""
    ends = [5, 12, 0, 3, 7, 6, 10, 1, 13, 2, 4, 9, 8, 11]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in ends]

        def begin(n):
            writers[n].execute("begin")
            writers[n].execute("select pgcast.publish('u1', 'open', to_json(%s::int))", (n,))

        async with bridge.client() as client:
            for n in range(7):
                begin(n)
            for n in ends:
                writers[n].execute("rollback" if n == 9 else "commit")
                if n < 7:
                    begin(n + 7)
                database.publish("u1", "between")
                await client.until(lambda m: m["data"] == "between")
            for _ in range(2):
                database.publish("u1", "alone")
                await client.until(lambda m: m["data"] == "alone")
            got = [message["data"] for message in client.seen
                   if message["data"] not in ("between", "alone")]
    assert got == [n for n in ends if n != 9]


async def test_reset_type_reaches_clients_with_control_messages(bridge, database):
    """Live and from the journal; others, and clients of other types, get nothing."""
    cursor = await cursor_now(bridge, database)
    reset = {"type": "pgcast", "op": "reset", "reason": "schema", "for": "log"}
    async with bridge.client() as plain, bridge.client(v1=True) as v1, \
            bridge.client(v1=True, types="chat,marker") as other:
        database.execute("select pgcast.reset_type('log')")
        assert (await v1.until(lambda message: message["op"] == "reset"))[-1] == reset
        assert await plain.before_marker(database) == []
        await other.before_marker(database)
        assert "reset" not in {message["op"] for message in other.seen}
        async with bridge.client(v1=True, since=cursor) as late, \
                bridge.client(since=cursor) as late_plain:
            assert (await late.until(lambda message: message["op"] == "reset"))[-1] == reset
            await late_plain.before_marker(database)
            assert {message["type"] for message in late_plain.seen} == {"marker"}
