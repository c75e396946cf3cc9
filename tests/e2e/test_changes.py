"""What somebody writes reaches the browsers of the uid that it belongs to, and nobody else's."""

import asyncio
import json
import re

import psycopg
import pytest

from harness import PATIENCE


def ops(messages):
    return [message["op"] for message in messages]


async def test_insert_reaches_its_uid_with_the_row(bridge, database):
    async with bridge.client("u1") as client:
        database.execute("insert into log(uid, action, detail) values ('u1', 'login', '{\"a\": [1, \"é\"]}')")
        message = await client.next()
    assert list(message) == ["type", "op", "id", "at", "data"]
    assert (message["type"], message["op"]) == ("log", "insert")
    assert isinstance(message["id"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", message["at"])
    row = message["data"]
    assert (row["uid"], row["action"], row["detail"], row["id"]) == ("u1", "login", {"a": [1, "é"]}, 1)


async def test_update_brings_the_new_and_the_old_row(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("update log set action = 'logout'")
        message = await client.next()
    assert message["op"] == "update"
    assert message["data"]["action"] == "logout"
    assert message["old"]["action"] == "login"


async def test_delete_brings_the_row_that_is_gone(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("delete from log")
        message = await client.next()
    assert message["op"] == "delete"
    assert message["data"]["id"] == 1
    assert "old" not in message


async def test_bulk_statements_bring_every_row(bridge, database):
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


async def test_truncate_is_told_to_everyone(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("truncate log")
        for client in one, other:
            message = await client.next()
            assert (message["type"], message["op"], message["data"]) == ("log", "truncate", None)


async def test_others_get_nothing(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("insert into log(uid) values ('u1')", "update log set action = 'x'", "delete from log")
        assert ops(await one.before_marker(database)) == ["insert", "update", "delete"]
        assert await other.before_marker(database) == []


async def test_every_socket_of_a_uid_gets_everything(bridge, database):
    async with bridge.client() as a, bridge.client() as b, bridge.client(v1=True) as c:
        database.execute("insert into log(uid) select 'u1' from generate_series(1, 20)")
        seen = [await client.before_marker(database) for client in (a, b, c)]
    assert len(seen[0]) == 20
    # The markers of the others stand behind what is compared here.
    assert seen[1][:20] == seen[0] and seen[2][:20] == seen[0]


async def test_copy_and_upsert_are_told_like_any_write(bridge, database):
    database.execute("create unique index on log(uid, action)")
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            with connection.cursor().copy("copy log(uid, action) from stdin") as copy:
                copy.write(b"u1\tone\nu1\ttwo\n")
            connection.execute("""insert into log(uid, action) values ('u1', 'two'), ('u1', 'three')
                on conflict (uid, action) do update set detail = '"again"'""")
        got = [(message["op"], message["data"]["action"]) for message in await client.before_marker(database)]
    assert sorted(got) == [("insert", "one"), ("insert", "three"), ("insert", "two"), ("update", "two")]


async def test_a_row_that_moves_is_a_delete_here_and_an_insert_there(bridge, database):
    database.execute("insert into log(uid) values ('u1')")
    bridge.settle(database)
    async with bridge.client("u1") as here, bridge.client("u2") as there:
        database.execute("update log set uid = 'u2'")
        gone, come = await here.next(), await there.next()
    assert (gone["op"], gone["data"]["uid"]) == ("delete", "u1")
    assert (come["op"], come["data"]["uid"]) == ("insert", "u2")


async def test_a_null_uid_is_for_nobody(bridge, database):
    async with bridge.client("u1") as client:
        database.execute("insert into log(uid) values (null)", "update log set action = 'x'")
        assert await client.before_marker(database) == []
        database.execute("update log set uid = 'u1'")
        assert ops(await client.take(1)) == ["insert"]


async def test_rolled_back_work_is_never_sent(bridge, database):
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


async def test_two_equal_rows_in_one_transaction_both_arrive(bridge, database):
    database.execute("create table mood(uid text, mood text)", "select pgcast.watch('mood')")
    async with bridge.client("u1") as client:
        database.execute("insert into mood values ('u1', 'fine'), ('u1', 'fine')")
        one, two = await client.take(2)
    assert one["data"] == two["data"] == {"uid": "u1", "mood": "fine"}
    assert one["id"] < two["id"]


async def test_changes_of_a_row_arrive_in_the_order_of_their_making(bridge, database):
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


async def test_a_broadcast_table_is_told_to_everyone(bridge, database):
    database.execute("create table news(id int primary key, text text)",
                     "select pgcast.watch('news', uid_column => null)")
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.execute("insert into news values (1, 'hello')")
        assert await one.next() == await other.next()
    assert one.seen[0]["data"] == {"id": 1, "text": "hello"}


async def test_publish_needs_no_table(bridge, database):
    async with bridge.client("u1") as one, bridge.client("u2") as other:
        database.publish("u1", {"text": "hi"}, type="chat")
        database.publish(None, [1, 2], type="chat")
        message = await one.next()
        assert (message["type"], message["op"], message["data"]) == ("chat", "publish", {"text": "hi"})
        for client in one, other:
            assert (await client.next())["data"] == [1, 2]


async def test_only_the_types_asked_for_arrive(bridge, database):
    async with bridge.client("u1", types="chat,marker") as some, bridge.client("u1") as all:
        database.execute("insert into log(uid) values ('u1')")
        database.publish("u1", "hi", type="chat")
        assert [message["type"] for message in await some.before_marker(database)] == ["chat"]
        assert [message["type"] for message in await all.take(2)] == ["log", "chat"]


async def test_only_the_columns_allowed_leave_the_database(bridge, database):
    database.execute("create table account(uid text primary key, name text, secret text)",
                     "select pgcast.watch('account', columns => array['uid', 'name'])",
                     "insert into account values ('u1', 'Ann', 'hush')")
    bridge.settle(database)
    async with bridge.client("u1") as client:
        database.execute("update account set name = 'Anna'")
        message = await client.next()
        await client.init("account")
        answer = await client.next()
    assert message["data"] == {"uid": "u1", "name": "Anna"} and message["old"] == {"uid": "u1", "name": "Ann"}
    assert answer["data"] == [{"uid": "u1", "name": "Anna"}]


async def test_uids_of_other_types_are_compared_as_text(bridge, database):
    database.execute("create table score(uid int, points int)", "select pgcast.watch('score')")
    async with bridge.client("42") as client:
        database.execute("insert into score values (4, 1), (42, 2)")
        assert (await client.next())["data"] == {"uid": 42, "points": 2}


@pytest.mark.parametrize("uid", ["Ω mega/€", "a&b=c", "%41", "x" * 255, "'; drop table log; --", '"}{', "a,b"])
async def test_uids_are_taken_as_they_are(bridge, database, uid):
    async with bridge.client(uid) as client:
        with database.connect() as connection:
            connection.execute("insert into log(uid) values (%s)", (uid,))
        assert (await client.next())["data"]["uid"] == uid


async def test_a_row_of_a_mebibyte_arrives_whole(bridge, database):
    text = "0123456789abcdeé" * 65536
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            connection.execute("insert into log(uid, detail) values ('u1', to_jsonb(%s::text))", (text,))
            connection.execute("insert into log(uid) values ('u1')")
        assert (await client.next())["data"]["detail"] == text
        assert (await client.next())["data"]["detail"] is None


async def test_partitions_written_directly_are_watched(bridge, database):
    database.execute("create table measure(uid text, day int) partition by range (day)",
                     "create table measure_1 partition of measure for values from (0) to (10)",
                     "select pgcast.watch('measure')",
                     "create table measure_2 partition of measure for values from (10) to (20)")
    async with bridge.client("u1") as client:
        database.execute("insert into measure values ('u1', 1)", "insert into measure_1 values ('u1', 2)",
                         "insert into measure_2 values ('u1', 12)")
        got = await client.before_marker(database)
    assert [(message["type"], message["data"]["day"]) for message in got] == [
        ("measure", 1), ("measure", 2), ("measure", 12)]


async def test_a_writer_needs_no_right_on_pgcast(bridge, database):
    database.execute("do $$ begin create role writer login; exception when duplicate_object then end $$",
                     "grant insert on log to writer")
    async with bridge.client("u1") as client:
        with database.connect("writer") as connection:
            connection.execute("insert into log(uid) values ('u1')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("select * from pgcast.event")
        assert (await client.next())["op"] == "insert"


async def test_writes_while_somebody_is_awake_and_asleep_all_arrive(bridge, database):
    """Pauses of all lengths between the writes: the bell rings only for a bridge that sleeps."""
    async with bridge.client("u1") as client:
        with database.connect() as connection:
            for n in range(200):
                connection.execute("insert into log(uid, detail) values ('u1', %s)", (json.dumps(n),))
                await asyncio.sleep((n % 20) / 1000)
        got = await asyncio.wait_for(client.take(200), PATIENCE)
    assert [message["data"]["detail"] for message in got] == list(range(200))


async def test_a_prepared_transaction_arrives_when_it_commits(bridge, database):
    database.execute("create table deal(uid text, price int)", "select pgcast.watch('deal', notify => false)")
    async with bridge.client("u1") as client:
        database.execute("begin; insert into deal values ('u1', 5); prepare transaction 'deal'")
        assert await client.before_marker(database) == []
        database.execute("commit prepared 'deal'")
        assert (await client.next())["data"] == {"uid": "u1", "price": 5}
