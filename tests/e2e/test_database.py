"""The database comes late, goes away and comes back, is not prepared, or holds strange bytes."""

import asyncio
import re

from harness import Cluster, Database, eventually, wait_for


def one_clear_line(bridge, pattern):
    """The error's line, after which the daemon goes on and is not ready."""
    line = bridge.wait_line(pattern)
    assert re.match(r"\S+ (error|warning): ", line)
    assert bridge.get("/readyz")[0] == 503
    return line


async def test_the_database_may_come_later(start):
    cluster = Cluster()
    try:
        database = Database(cluster)
        database.install()
        cluster.down()
        bridge = start(database, wait=False)
        bridge.wait_line("(?i)no such file|connect|reach")
        status, why = bridge.get("/readyz")
        assert status == 503 and why.strip()
        assert bridge.get("/healthz")[0] == 200
        async with bridge.client() as early:
            cluster.up()
            await eventually(bridge.ready, "the bridge to come alive")
            await early.init()
            await early.until(lambda message: message["op"] == "init")
            database.execute("insert into log(uid) values ('u1')")
            assert (await early.next())["op"] == "insert"
    finally:
        cluster.remove()


async def test_a_restart_of_the_database_loses_nothing(start):
    cluster = Cluster()
    try:
        database = Database(cluster)
        database.install()
        bridge = start(database)
        async with bridge.client() as plain, bridge.client(v1=True) as v1:
            for n in range(3):
                database.execute(f"insert into log(uid, action) values ('u1', 'before {n}')")
                await (asyncio.to_thread(cluster.crash) if n == 1 else asyncio.to_thread(cluster.down))
                await eventually(lambda: bridge.get("/readyz")[0] == 503, "the loss to be noticed")
                await asyncio.to_thread(cluster.up)
                database.execute(f"insert into log(uid, action) values ('u1', 'after {n}')")
            await eventually(bridge.ready, "the bridge to be back")
            wanted = [f"{word} {n}" for n in range(3) for word in ("before", "after")]
            for client in plain, v1:
                got = await client.before_marker(database)
                assert [m["data"]["action"] for m in got if m["type"] == "log"] == wanted
    finally:
        cluster.remove()


async def test_a_connection_that_is_ended_is_made_again(bridge, database):
    async with bridge.client() as client:
        for n in range(3):
            database.execute("""select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'pgcast' and datname = current_database()""")
            database.publish("u1", n)
            assert (await client.next())["data"] == n
        assert len(client.seen) == 3


def test_a_missing_schema_is_said_and_waited_for(start, cluster):
    empty = Database(cluster)
    try:
        bridge = start(empty, wait=False, user="postgres")
        line = one_clear_line(bridge, r"pgcast\.sql")
        assert "psql" in line or "install" in line
        empty.install()
        wait_for(bridge.ready, "the bridge to find the schema")
        bridge.stop()
    finally:
        empty.drop()


def test_a_schema_that_is_too_old_is_said(start, database):
    database.execute("create or replace function pgcast.schema_version() returns int language sql as 'select 0'")
    bridge = start(database, wait=False)
    line = one_clear_line(bridge, r"(?i)schema.*(old|version)")
    assert "pgcast.sql" in line


def test_missing_rights_are_said(start, database):
    database.execute("do $$ begin create role stranger login; exception when duplicate_object then end $$")
    bridge = start(database, wait=False, user="stranger")
    line = one_clear_line(bridge, "grant_bridge")
    assert "stranger" in line
    database.execute("select pgcast.grant_bridge('stranger')")
    wait_for(bridge.ready, "the rights to be found")


def test_a_wrong_password_or_role_is_said(start, database):
    bridge = start(database, wait=False, user="nobody_of_that_name")
    one_clear_line(bridge, "nobody_of_that_name.*does not exist")


async def test_rows_that_are_not_utf8_are_repaired(start, cluster):
    database = Database(cluster, options="encoding 'SQL_ASCII' locale 'C' template template0")
    try:
        database.install()
        bridge = start(database)
        async with bridge.client() as client:
            with database.connect(client_encoding="SQL_ASCII") as connection:
                connection.execute(b"insert into log(uid, action) values ('u1', E'a\\xffz')")
                connection.execute(b"insert into log(uid, action) values ('u1', 'then')")
            first = await client.next()
            assert first["data"]["action"] == "a\ufffdz"
            assert (await client.next())["data"]["action"] == "then"
            await client.init()
            answer = (await client.until(lambda message: message["op"] == "init"))[-1]
            assert [row["action"] for row in answer["data"]] == ["a\ufffdz", "then"]
        bridge.stop()
    finally:
        database.drop()


async def test_a_table_that_is_dropped_harms_nobody(bridge, database):
    async with bridge.client() as client:
        database.execute("drop table log cascade")
        await client.init()
        assert await client.before_marker(database) == []
    assert bridge.ready()
