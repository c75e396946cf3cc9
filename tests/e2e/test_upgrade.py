"""The SQL of each release is upgraded under writers and a bridge that needs the new version."""

import asyncio
import os
import random
import subprocess
import threading
from collections import Counter

import pytest

from harness import ROOT, TIMEOUT, Database, eventually

RELEASES = sorted((ROOT / "tests/sql/releases").glob("*.sql"))
UPGRADE_TIMEOUT = 90  # seconds: an upgrade itself tries for 60
TABLES = "plain", "parts", "base", "cols", "poll", "news"
SETUP = """
    create table plain (id int primary key, uid text, v int, extra jsonb);
    create table parts (id int, uid text, v int, primary key (id)) partition by hash (id);
    create table parts_0 partition of parts for values with (modulus 2, remainder 0);
    create table parts_1 partition of parts for values with (modulus 2, remainder 1);
    create table base (id int primary key, uid text, v int);
    create table child () inherits (base);
    create table cols (id int primary key, uid text, v int, secret text);
    create table poll (id int primary key, uid text, v int);
    create table news (id int primary key, v int, uid text);
    set client_min_messages = error;
    select pgcast.watch('plain'), pgcast.watch('parts', init_limit => 7), pgcast.watch('base'),
        pgcast.watch('cols', columns => '{id,v}'),
        pgcast.watch('poll', 'uid', 'poll', null, 100, false),
        pgcast.watch('news', uid_column => null, type => 'breaking');
    select pgcast.grant_bridge('bridge')"""

# Objects by name, since oids differ. The order of an ACL depends on the order of the grants.
CATALOG = r"""
    with relation as (
        select c.*, c.relnamespace::regnamespace || '.' || c.relname as name from pg_class c
        where c.relnamespace in ('pgcast'::regnamespace, 'public'::regnamespace)),
    object(what, acl, comment) as (
        select concat_ws(' ', p.proowner::regrole, regexp_replace(
                pg_get_functiondef(p.oid), '''\d+''::pg_catalog.regclass', 'relation', 'g')),
                p.proacl,
                obj_description(p.oid, 'pg_proc')
            from pg_proc p where p.pronamespace = 'pgcast'::regnamespace
        union all select concat_ws(' ', c.name, c.relkind, c.relowner::regrole, c.reloptions::text,
                pg_get_expr(c.relpartbound, c.oid), case c.relkind
                    when 'p' then pg_get_partkeydef(c.oid) when 'v' then pg_get_viewdef(c.oid)
                    when 'i' then pg_get_indexdef(c.oid) when 'I' then pg_get_indexdef(c.oid) end),
                c.relacl, obj_description(c.oid, 'pg_class')
            from relation c
        union all select concat_ws(' ', c.name, a.attnum, a.attname, a.attnotnull, a.attidentity,
                format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation,
                pg_get_expr(d.adbin, d.adrelid)), a.attacl, col_description(c.oid, a.attnum)
            from relation c join pg_attribute a on a.attrelid = c.oid
            left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
            where a.attnum > 0 and c.relkind not in ('i', 'I')
        union all select concat_ws(' ', c.name, o.conname, pg_get_constraintdef(o.oid)), null,
                obj_description(o.oid, 'pg_constraint')
            from relation c join pg_constraint o on o.conrelid = c.oid
        union all select concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid)), null,
                obj_description(t.oid, 'pg_trigger')
            from relation c join pg_trigger t on t.tgrelid = c.oid where not t.tgisinternal
        union all select concat_ws(' ', c.name, to_jsonb(q) - 'seqrelid'), null, null
            from relation c join pg_sequence q on q.seqrelid = c.oid
        union all select concat_ws(' ', t.typname, t.typtype, t.typowner::regrole), t.typacl,
                obj_description(t.oid, 'pg_type')
            from pg_type t where t.typnamespace = 'pgcast'::regnamespace
        union all select n.nspowner::regrole::text, n.nspacl, obj_description(n.oid, 'pg_namespace')
            from pg_namespace n where n.nspname = 'pgcast'
        union all select to_jsonb(m)::text, null, null from pgcast.meta m
        union all select concat_ws(' ', s.relation, to_jsonb(s)
                - '{relation,relation_oid,members}'::text[]), null, null
            from pgcast.source s)
    select what, array(select a::text from unnest(acl) a order by 1), comment
    from object order by 1, 2"""


def type_of(table):
    return "breaking" if table == "news" else table


def catalog(database):
    with database.connect() as connection:
        return connection.execute(CATALOG).fetchall()


def install(database, user="postgres", **env):
    return subprocess.Popen(
        ["psql", "-Xqv", "ON_ERROR_STOP=1", "-f", ROOT / "sql/pgcast.sql", database.conninfo(user)],
        env=os.environ | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)


async def result(process):
    await eventually(lambda: process.poll() is not None, "psql to end", UPGRADE_TIMEOUT)
    return process.returncode, process.stdout.read()


def waits_for_a_lock(database):
    return database.value("""select exists (select from pg_stat_activity
        where application_name = 'psql' and datname = current_database()
            and wait_event_type = 'Lock')""")


class Writer(threading.Thread):
    """Commits transactions on all tables, each in another order, and notes the events they make."""

    def __init__(self, database, number):
        super().__init__(daemon=True)
        self.database, self.number = database, number
        self.events, self.commits, self.error = [], 0, None
        self.ending = threading.Event()
        self.start()

    def run(self):
        try:
            with self.database.connect() as connection:
                connection.execute("set statement_timeout = '10s'")
                while not self.ending.is_set():
                    self.write(connection, self.number * 1_000_000 + self.commits)
        except Exception as error:
            self.error = error

    def write(self, connection, key):
        events = []
        with connection.transaction():
            for table in random.sample(TABLES, 3):
                type = type_of(table)
                connection.execute(f"insert into {table} (id, uid, v) values (%s, 'u1', 1)", (key,))
                connection.execute(f"update {table} set v = 2 where id = %s", (key,))
                events += [(type, "insert", key, 1), (type, "update", key, 2)]
                if key % 2:
                    connection.execute(f"delete from {table} where id = %s", (key,))
                    events.append((type, "delete", key, 2))
        self.events += events
        self.commits += 1

    def end(self):
        self.ending.set()
        self.join(TIMEOUT)
        assert self.error is None
        return self.events


async def more_commits(writers, number=20):
    goals = [(writer, writer.commits + number) for writer in writers]

    def reached():
        assert not [writer.error for writer in writers if writer.error]
        return all(writer.commits >= goal for writer, goal in goals)
    await eventually(reached, f"{number} commits of each writer")


@pytest.fixture
def make(cluster):
    """Makes databases with watched tables of each kind, by today's SQL or by that of a release."""
    made = []

    def begin(file):
        database = Database(cluster)
        made.append(database)
        database.file(file)
        database.role("bridge")
        database.execute(SETUP)
        return database

    yield begin
    for database in made:
        database.drop()


each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda file: file.stem)


@each_release
async def test_upgrade_under_writers_loses_nothing_and_equals_a_new_install(start, make, release):
    database = make(release)
    bridge = start(database, wait=False)
    bridge.wait_line("has version")
    beginning = database.value("select epoch || '.0.0.0' from pgcast.meta")
    writers = [Writer(database, number) for number in range(1, 4)]
    async with bridge.client("u1", since=beginning) as client:
        await more_commits(writers)
        with database.connect() as connection, connection.transaction():
            connection.execute("insert into poll (id, uid, v) values (1, 'u1', 0)")
            upgrade = install(database)
            await eventually(lambda: waits_for_a_lock(database), "the upgrade to wait")
            for table in TABLES:  # the upgrade holds locks on some of them
                connection.execute(f"insert into {table} (id, uid, v) values (2, 'u1', 0)")
            await more_commits(writers)
            assert upgrade.poll() is None
        assert await result(upgrade) == (0, "")
        reading = asyncio.create_task(client.until(lambda message: message["type"] == "end"))
        await more_commits(writers)
        assert await result(install(database)) == (0, "")
        await more_commits(writers)
        committed = [("poll", "insert", 1, 0)]
        committed += [(type_of(table), "insert", 2, 0) for table in TABLES]
        for writer in writers:
            committed += writer.end()
        database.publish("u1", None, type="end")
        received = (await reading)[:-1]
    events = [(m["type"], m["op"], m["data"]["id"], m["data"]["v"]) for m in received]
    assert Counter(events) == Counter(committed)
    assert catalog(database) == catalog(make("pgcast.sql"))


@each_release
async def test_upgrade_blocked_by_a_long_transaction_gives_up_after_lock_timeout(make, release):
    database = make(release)
    before = catalog(database)
    with database.connect() as connection, connection.transaction():
        connection.execute("insert into plain (id, uid) values (1, 'u1')")
        code, printed = await result(install(database, PGOPTIONS="-c lock_timeout=1s"))
    assert code == 3 and "plain is in use by long transactions" in printed
    assert catalog(database) == before


@each_release
async def test_upgrade_by_a_role_that_may_not_lock_the_tables_is_refused(make, release):
    database = make(release)
    database.execute("create role pgcast_test_upgrader login in role pgcast_owner")
    try:
        code, printed = await result(install(database, user="pgcast_test_upgrader"))
    finally:
        database.execute("drop role pgcast_test_upgrader")
    assert code == 3 and "pgcast_test_upgrader may not lock" in printed
