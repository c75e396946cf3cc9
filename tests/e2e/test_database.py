"""The database starts late, loses its connections, lacks schema or rights, or has invalid text."""

import os
import re
import signal

from harness import Cluster, Database, eventually, wait_for


def error_line(bridge, pattern):
    """The line of the error; the daemon continues but is not ready."""
    line = bridge.wait_line(pattern)
    assert re.match(r"\S+ (error|warning): ", line)
    assert bridge.get("/readyz")[0] == 503
    return line


async def test_database_started_after_bridge(start):
    with Cluster() as cluster:
        database = Database(cluster)
        database.install()
        cluster.down()
        bridge = start(database, wait=False)
        bridge.wait_line("(?i)no such file|connect|reach")
        status, reason = bridge.get("/readyz")
        assert status == 503 and reason.strip()
        assert bridge.get("/healthz")[0] == 200
        async with bridge.client() as early:
            cluster.up()
            await eventually(bridge.ready, "the bridge to be ready")
            await early.init()
            await early.until(lambda message: message["op"] == "init")
            database.execute("insert into log(uid) values ('u1')")
            assert (await early.next())["op"] == "insert"


async def test_terminated_connection_is_replaced(bridge, database):
    async with bridge.client() as client:
        for n in range(3):
            database.execute("""select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'pgcast' and datname = current_database()""")
            database.publish("u1", n)
            assert (await client.next())["data"] == n
        assert len(client.seen) == 3


def test_missing_schema_is_reported_and_awaited(start, cluster):
    empty = Database(cluster)
    try:
        bridge = start(empty, wait=False, user="postgres")
        line = error_line(bridge, r"pgcast\.sql")
        assert "psql" in line or "install" in line
        empty.install()
        wait_for(bridge.ready, "the bridge to be ready")
        bridge.stop()
    finally:
        empty.drop()


def test_old_schema_is_reported(start, database):
    database.execute("""create or replace function pgcast.schema_version() returns int
        language sql as 'select 0'""")
    bridge = start(database, wait=False)
    line = error_line(bridge, r"(?i)schema.*(old|version)")
    assert "pgcast.sql" in line


def test_missing_rights_are_reported(start, database):
    database.role("stranger")
    bridge = start(database, wait=False, user="stranger")
    line = error_line(bridge, "grant_bridge")
    assert "stranger" in line
    database.execute("select pgcast.grant_bridge('stranger')")
    wait_for(bridge.ready, "the bridge to be ready")


def test_unknown_role_is_reported(start, database):
    bridge = start(database, wait=False, user="nobody_of_that_name")
    error_line(bridge, "nobody_of_that_name.*does not exist")


async def test_invalid_utf8_is_replaced(start, cluster):
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


async def test_dropped_table_does_not_end_stream(bridge, database):
    async with bridge.client() as client:
        database.execute("drop table log cascade")
        await client.init()
        assert await client.before_marker(database) == []
    assert bridge.ready()


async def test_late_turn_is_reported_and_not_ready(bridge, database):
    backend = database.value("select pid from pg_stat_activity where usename = 'bridge'")
    os.kill(backend, signal.SIGSTOP)
    try:
        database.publish("u1", "late")
        await eventually(lambda: bridge.get("/readyz")[0] == 503, "the turn to be late")
        assert "could not be read for 5 s" in bridge.get("/readyz")[1]
        bridge.wait_line("warning: journal: could not be read for 5 s")
    finally:
        os.kill(backend, signal.SIGCONT)
    await eventually(bridge.ready, "the bridge to be ready again")
    bridge.wait_line("info: journal: can be read again")
