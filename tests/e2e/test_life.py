"""Watched tables are dropped, replaced, restored, replicated and emptied by crashes."""

import contextlib
import os
import subprocess

import pytest

from harness import ROOT, Cluster, Database, wait_for

SCHEMA_RESET = {"type": "pgcast", "op": "reset", "reason": "schema", "for": "log"}


def psql(database, file, user="postgres", *more):
    return subprocess.run(["psql", "-Xqv", "ON_ERROR_STOP=1", *more, "-f", ROOT / "sql" / file,
                           database.conninfo(user)], capture_output=True, text=True, check=False)


def state(database, type="log"):
    return database.value("select state from pgcast.watched where type = %s", type)


def events(database):
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(
            "select type, op, data->>'id' from pgcast.event order by id")]


@contextlib.contextmanager
def private(*settings):
    """A database with all of the SQL in a cluster of its own."""
    with Cluster(*settings) as cluster:
        database = Database(cluster)
        database.install()
        yield database


async def test_state_changes_are_logged_once_and_counted(start, database):
    bridge = start(database, prune_interval="1s")
    database.execute("drop index log_uid")
    bridge.wait_line("watched table of type log: no index starts with the uid column")
    assert bridge.metrics()["pgcast_watched_not_ok"] == 1
    database.execute("alter table log disable trigger user")
    bridge.wait_line("watched table of type log: triggers are disabled")
    database.execute("begin; create index on log (uid, id); select pgcast.rewatch(); commit")
    bridge.wait_line("watched table of type log: ok again")
    assert bridge.metrics()["pgcast_watched_not_ok"] == 0
    assert len(bridge.lines("watched table")) == 3


async def test_state_is_checked_after_connecting(start, database):
    database.execute("drop index log_uid")
    start(database, prune_interval="1d").wait_line("watched table of type log: no index")


async def test_dropped_table_is_a_truncate_and_rewatch_a_reset(start, database):
    bridge = start(database, prune_interval="1s")
    async with bridge.client() as plain, bridge.client(v1=True) as v1:
        database.execute("drop table log")
        assert (await plain.next())["op"] == "truncate"
        bridge.wait_line("watched table of type log: detached: public.log was dropped")
        await v1.init()
        refused = (await v1.until(lambda message: message["op"] == "error"))[-1]
        assert "was dropped or replaced" in refused["message"]
        database.file("log.sql")
        assert (await v1.until(lambda message: message["op"] == "reset"))[-1] == SCHEMA_RESET
        database.execute("insert into log(uid, action) values ('u1', 'again')")
        assert (await plain.next())["data"]["action"] == "again"
    bridge.wait_line("watched table of type log: ok again")


async def test_crash_that_empties_an_unlogged_table_is_a_truncate(start):
    with private() as database:
        database.execute("create unlogged table log2 (id int primary key, uid text)",
                         "create index on log2 (uid)", "select pgcast.watch('log2')",
                         "checkpoint")
        bridge = start(database)
        wait_for(lambda: database.value("select to_regclass('pgcast.crash_marker') is not null"),
                 "the first check")
        async with bridge.client(v1=True, types="log2") as client:
            database.execute("insert into log2 values (1, 'u1')")
            await client.until(lambda message: message["op"] == "insert")
            database.cluster.crash()
            database.cluster.up()
            await client.until(lambda message: message["op"] == "truncate")
            reset = (await client.until(lambda message: message["op"] == "reset"))[-1]
        assert reset == SCHEMA_RESET | {"for": "log2"}


async def test_replicated_rows_are_sent_with_replicated(start):
    with private("wal_level=logical") as database:
        origin = Database(database.cluster)
        origin.execute(
            "create table log (id int primary key, uid text, action text)",
            "create publication pub for table log",
            "select pg_create_logical_replication_slot('slot', 'pgoutput')")
        database.execute("drop table log",
                         "create table log (id int primary key, uid text, action text)",
                         "create index on log (uid)",
                         f"create subscription sub connection '{origin.conninfo()}' publication pub"
                         " with (create_slot = false, slot_name = 'slot', copy_data = false)")
        with database.connect() as connection:
            warnings = []
            connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
            connection.execute("select pgcast.watch('log')")
        assert ["a subscription writes to public.log" in text for text in warnings] == [True]
        assert state(database) == ("replicated rows are not sent"
                                   " (call pgcast.watch('log', replicated => true))")
        database.execute("select pgcast.watch('log', replicated => true)")
        assert state(database) == "ok"
        bridge = start(database)
        async with bridge.client() as client:
            origin.execute("insert into log values (1, 'u1', 'far')",
                           "update log set action = 'away'", "delete from log")
            got = await client.take(3)
        assert [message["op"] for message in got] == ["insert", "update", "delete"]
        database.execute("alter subscription sub disable",
                         "alter subscription sub set (slot_name = none)", "drop subscription sub")


def test_rows_of_replication_sessions_need_replicated(database):
    insert = ("set session_replication_role = replica", "insert into log(uid) values ('u1')")
    database.execute(*insert)
    assert events(database) == []
    database.execute("select pgcast.watch('log', replicated => true)", *insert)
    assert events(database) == [("log", "insert", "2")]


def test_foreign_partition_is_left_out_with_a_warning(database):
    database.execute("create extension postgres_fdw",
                     "create server far foreign data wrapper postgres_fdw",
                     "create table p (id int, uid text) partition by list (id)",
                     "create index on p (uid)",
                     "create table p1 partition of p for values in (1)",
                     "create foreign table p2 partition of p for values in (2) server far")
    with database.connect() as connection:
        warnings = []
        connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
        connection.execute("select pgcast.watch('p')")
    assert warnings == ["pgcast: public.p2 is a foreign table"]
    assert state(database, "p") == "ok"
    database.execute("insert into p values (1, 'u1')", "truncate p1")
    assert events(database) == [("p", "insert", "1"), ("p", "truncate", None)]


def test_event_trigger_follows_ddl(database):
    """Without a call of rewatch."""
    for _ in range(2):
        done = psql(database, "follow_ddl.sql")
        assert (done.returncode, done.stderr) == (0, "")
    database.execute("create table p (id int, uid text) partition by list (id)",
                     "create index on p (uid)", "select pgcast.watch('p')",
                     "create table p1 partition of p for values in (1)",
                     "create table p2 (id int, uid text)", "insert into p2 values (2, 'u1')")
    assert state(database, "p") == "ok"
    for command in ("alter table p attach partition p2 for values in (2)",
                    "alter table p detach partition p2", "drop table p1"):
        database.execute("truncate pgcast.event", command)
        assert events(database) == [("p", "reset", None)], command
    database.execute("truncate pgcast.event", "drop table log")
    assert events(database) == [("log", "truncate", None)]
    database.execute("create table log (id int primary key, uid text)", "create index on log (uid)",
                     "insert into log values (1, 'u1')")
    assert events(database)[1:] == [("log", "reset", None), ("log", "insert", "1")]
    assert state(database) == "ok"
    database.execute("truncate pgcast.event", "create table log_new (like log including all)",
                     "begin; alter table log rename to log_old;"
                     " alter table log_new rename to log; commit",
                     "insert into log values (2, 'u1')", "insert into log_old values (3, 'u1')")
    assert events(database) == [("log", "truncate", None), ("log", "reset", None),
                                ("log", "insert", "2")]
    assert psql(database, "uninstall.sql").returncode == 0
    assert database.value("select count(*) from pg_event_trigger") == 0


def test_event_trigger_never_fails_a_command(database):
    psql(database, "follow_ddl.sql")
    database.execute("drop function pgcast.follow_tables(boolean)",
                     "create table another (id int)", "drop table another")


def dump(database, *options, user="postgres"):
    return subprocess.run(["pg_dump", *options, database.conninfo(user)], capture_output=True,
                          text=True, check=False)


def same_version(database):
    version = subprocess.check_output(["pg_dump", "--version"], text=True).split()[2]
    if int(version.split(".")[0]) < int(database.value("show server_version_num")) // 10000:
        pytest.skip("needs the server's own pg_dump")


@pytest.fixture
def copy(cluster, database):
    same_version(database)
    made = Database(cluster)
    yield made
    made.drop()


def restore(copy, text, *options, user="postgres"):
    return subprocess.run(["psql", "-Xqv", "ON_ERROR_STOP=1", *options, copy.conninfo(user)],
                          input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [["-s"], ["--exclude-table-data=pgcast.*"]])
def test_restore_without_data_fails_no_writer_and_takes_over_no_function(database, copy, options):
    database.execute("create table secrets (id int primary key, uid text, v text)",
                     "create table parts (id int, uid text) partition by list (id)",
                     "create table parts_1 partition of parts for values in (1, 2)",
                     "select pgcast.watch('parts'), pgcast.watch('secrets')")
    assert restore(copy, dump(database, *options).stdout).stderr == ""
    writes = [f"{command.format(table)}" for table in ("log", "parts", "secrets") for command in (
        "insert into {0}(id, uid) values (1, 'u1'), (2, 'u1')", "update {0} set uid = 'u2'",
        "update {0} set id = 2, uid = 'u3' where id = 1 and '{0}' = 'parts'", "delete from {0}",
        "truncate {0}")]
    copy.execute(*writes)
    assert events(copy) == []
    done = psql(copy, "pgcast.sql")
    assert (done.returncode, done.stderr) == (0, "")
    copy.execute("select pgcast.watch('parts')", *writes)
    assert {type for type, _, _ in events(copy)} == {"parts"}


def test_restore_without_owners_and_grants_is_repaired_by_installing(database, copy):
    copy.role("restorer")
    copy.execute(f"alter database {copy.name} owner to restorer", "grant pgcast_owner to restorer",
                 "grant all on schema public to restorer")
    text = dump(database, "--no-owner", "--no-acl").stdout
    assert restore(copy, text, user="restorer").stderr == ""
    done = psql(copy, "pgcast.sql", "restorer")
    assert (done.returncode, done.stderr) == (0, "")
    copy.execute("insert into log(uid) values ('u1')")
    assert events(copy) == [("log", "insert", "1")]
    assert state(copy) == "ok"
    assert copy.value("""select count(*) from pg_class c where relnamespace = 'pgcast'::regnamespace
        and relowner <> 'pgcast_owner'::regrole""") == 0


def test_restore_without_owners_by_a_stranger_has_a_hint_that_works(database, copy):
    text = dump(database, "--no-owner", "--no-acl").stdout
    assert restore(copy, text).stderr == ""
    copy.role("newcomer")
    copy.execute("grant pgcast_owner to newcomer", "grant all on schema public to newcomer")
    done = psql(copy, "pgcast.sql", "newcomer")
    assert done.returncode == 3 and "Run this file as a superuser" in done.stderr
    assert psql(copy, "pgcast.sql").stderr == ""
    assert state(copy) == "ok"


def test_dump_by_a_role_that_is_no_member_needs_grant_dump(database, copy):
    database.role("dumper")
    database.execute("grant select on all tables in schema public to dumper",
                     "grant select on all sequences in schema public to dumper",
                     "insert into log(uid) values ('u1')")
    assert "permission denied for schema pgcast" in dump(database, user="dumper").stderr
    database.execute("select pgcast.grant_dump('dumper')")
    done = dump(database, user="dumper")
    database.execute("drop owned by dumper")
    assert (done.returncode, done.stderr) == (0, "")
    assert restore(copy, done.stdout, "-v", "ON_ERROR_STOP=0").returncode == 0
    assert events(copy) == [("log", "insert", "1")]


def test_documented_lines_restore_a_dump_of_one_schema(database, copy, folder):
    """The lines are those of docs/operations.md."""
    text = (ROOT / "docs/operations.md").read_text()
    lines = [line.strip() for line in text.splitlines() if line.startswith("    pg_restore ")]
    assert len(lines) == 2
    database.execute("insert into log(uid) values ('u1')")
    file = folder / "app.dump"
    assert dump(database, "-Fc", "-n", "public", "-f", str(file)).stderr == ""
    copy.execute("drop schema public")
    done = subprocess.run(["bash", "-euc", "\n".join(lines)], cwd=folder, text=True, check=False,
                          capture_output=True, env=os.environ | {
                              "PGHOST": copy.cluster.directory, "PGUSER": "postgres",
                              "PGDATABASE": copy.name})
    assert (done.returncode, done.stderr) == (0, "")
    assert copy.value("select count(*) from log") == 1
    assert copy.value("select count(*) from pg_trigger where tgname ~ 'pgcast'") == 0


def test_uninstall_by_a_role_that_may_not_drop_the_owner(cluster):
    database = Database(cluster)
    database.file("pgcast.sql")
    database.role("remover")
    database.execute("grant pgcast_owner to remover",
                     f"alter database {database.name} owner to remover",
                     "grant all on schema public to remover")
    with database.connect("remover") as connection:
        connection.execute("create table t (id int primary key, uid text)")
        connection.execute("select pgcast.watch('t')")
    done = psql(database, "uninstall.sql", "remover")
    assert done.returncode == 0
    assert "the role pgcast_owner" in done.stderr
    assert database.value("""select count(*) from pg_shdepend d join pg_database b on b.oid = d.dbid
        where b.datname = current_database() and d.refobjid = 'pgcast_owner'::regrole""") == 0
    assert not database.value("select has_table_privilege('pgcast_owner', 't', 'select')")
    database.drop()


def test_truncate_of_many_partitions_is_sent_once(database):
    database.execute("create table p (id int, uid text) partition by list (id)",
                     "do $$ begin for i in 1..600 loop execute format('create table p%s"
                     " partition of p for values in (%s)', i, i); end loop; end $$",
                     "create index on p (uid)", "select pgcast.watch('p')",
                     "insert into p select i % 600 + 1, 'u1' from generate_series(1, 6000) i")
    assert database.value("select count(*) from pgcast.event") == 6000
    database.execute("truncate pgcast.event", "truncate p")
    assert events(database) == [("p", "truncate", None)]
    assert state(database, "p") == "ok"
