#!/usr/bin/python3
"""Tests with several sessions or with psql: the bell, bridges, prepared transactions, warnings,
installing and uninstalling. Prints TAP. The server comes from the PG* variables, the SQL files from
PGCAST_SQL."""

import contextlib
import os
import re
import subprocess
import sys
import traceback

import psycopg

SQL = os.environ["PGCAST_SQL"]
count = 0


def check(have, want, name):
    global count
    count += 1
    print(f"{'ok' if have == want else 'not ok'} {count} - {name}")
    if have != want:
        print(f"#   have: {have!r}\n#   want: {want!r}", flush=True)


def skip(name, reason):
    global count
    count += 1
    print(f"ok {count} - {name} # skip {reason}", flush=True)


def connect(database=None, **options):
    return psycopg.connect(dbname=database or os.environ["PGDATABASE"], autocommit=True,
                           options="-c statement_timeout=60s -c client_min_messages=warning",
                           **options)


def one(connection, query, *parameters):
    cursor = connection.execute(query, parameters)
    return cursor.fetchone()[0] if cursor.description else None


def psql(file, database, user=None, *more):
    return subprocess.run(
        ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", database, *more, "-f", file],
        env={**os.environ, **({"PGUSER": user} if user else {})},
        capture_output=True, text=True, check=False)


def install(database, *more, user=None):
    return psql(f"{SQL}/pgcast.sql", database, user, *more)


@contextlib.contextmanager
def database(name="pgcast_test_db"):
    """A database for a test that can't be rolled back."""
    with connect("postgres", user="postgres") as admin:
        admin.execute(f"create database {name} owner {os.environ['PGUSER']}")
        try:
            yield name
        finally:
            admin.execute(f"drop database {name} with (force)")


@contextlib.contextmanager
def watched(ddl, *watches):
    """Watched tables of the installed database; dropped afterwards."""
    with connect() as c:
        c.execute("set client_min_messages = error")
        c.execute("create schema stage; set search_path = stage; " + ddl)
        for arguments in watches:
            c.execute(f"select pgcast.watch({arguments})")
        try:
            yield c
        finally:
            c.execute("rollback; select pgcast.unwatch(relation) from pgcast.watched;"
                      "drop schema stage cascade;"
                      "truncate pgcast.event; truncate pgcast.bridge")


def fall_asleep(bridge):
    """Takes the locks of a sleeping bridge, as the daemon does; returns whether it got them."""
    key = one(bridge, "select pgcast.bridge_join()")
    bridge.execute("listen pgcast")
    return one(bridge, "select pg_try_advisory_lock(pgcast.constant('lock_asleep'), %s)", key)


def notifications(bridge):
    """The payloads so far: a committed NOTIFY arrives with the next query's answer."""
    received = []
    bridge.add_notify_handler(handler := lambda n: received.append(n.payload))
    one(bridge, "select 1")
    bridge.remove_notify_handler(handler)
    return received


def warnings_of(connection, query):
    received = []
    handler = lambda d: received.append(d.message_primary)  # noqa: E731
    connection.add_notice_handler(handler)
    connection.execute(query)
    connection.remove_notice_handler(handler)
    return received


def test_bell():
    ddl = """create table plain (id int primary key, uid text);
        create table parts (id int, uid text) partition by list (id);
        create table parts_0 partition of parts default;
        create table quiet (id int primary key, uid text)"""
    with watched(ddl, "'plain'", "'parts'", "'quiet', notify => false") as w, \
            connect() as b1, connect() as b2:
        w.execute("insert into plain values (1, 'ann')")
        key = one(b1, "select pgcast.bridge_join()")
        b1.execute("listen pgcast")
        w.execute("insert into plain values (2, 'ann'); insert into parts values (2, 'ann')")
        check(notifications(b1), [], "no NOTIFY while no bridge sleeps")
        one(b1, "select pg_advisory_lock(pgcast.constant('lock_asleep'), %s)", key)
        for query, want, name in [
                ("insert into plain values (3, 'ann')", ["plain"],
                 "an insert notifies a sleeping bridge"),
                ("update plain set uid = 'bob' where id = 3", ["plain"], "an update"),
                ("delete from plain where id = 3", ["plain"], "a delete"),
                ("truncate plain", ["plain"], "a truncate"),
                ("insert into parts values (3, 'ann'), (4, 'ann'), (5, 'bob')", ["parts"],
                 "rows of a partitioned table notify once"),
                ("update parts set uid = 'x'", ["parts"], "an update of them"),
                ("delete from parts_0", ["parts"], "a delete by the partition's name"),
                ("truncate parts", ["parts"], "a truncate of it"),
                ("select pgcast.publish('ann', 'chat', '1')", ["chat"], "publish"),
                ("insert into plain values (9, repeat('x', 5000))", ["plain"],
                 "a row on the slow path"),
                ("insert into quiet values (1, 'ann'); update quiet set id = 2; delete from quiet;"
                 "truncate quiet",
                 [], "notify => false: never"),
                ("update plain set uid = 'x' where false; delete from plain where false", [],
                 "a statement that changes no row: never"),
        ]:
            w.execute(query)
            check(notifications(b1), want, name)

        for table in "plain", "parts":
            w.execute(f"begin; insert into {table} values (10, 'ann'); rollback")
            w.execute(f"""begin; savepoint s; insert into {table} values (10, 'ann'); rollback to s;
                commit""")
            check(notifications(b1), [], f"{table}: changes that are rolled back do not notify")
            w.execute(f"""begin; savepoint s; insert into {table} values (10, 'ann'); rollback to s;
                insert into {table} values (11, 'ann'); commit""")
            check(notifications(b1), [table],
                  f"{table}: changes after a rollback to a savepoint notify")

        check(fall_asleep(b2), True, "a second bridge sleeps beside the first")
        w.execute("insert into plain values (20, 'ann')")
        check((notifications(b1), notifications(b2)), (["plain"], ["plain"]),
              "one NOTIFY reaches both")
        one(b2, "select pg_advisory_unlock_all()")
        w.execute("insert into plain values (21, 'ann')")
        check(notifications(b1), ["plain"], "a sleeping bridge is notified while another is awake")


def test_falling_asleep():
    ddl = """create table plain (id int primary key, uid text);
        create table parts (id int, uid text) partition by list (id);
        create table parts_0 partition of parts default"""
    with watched(ddl, "'plain'", "'parts'") as w, connect() as b:
        one(b, "select pgcast.bridge_join()")
        for table in "plain", "parts":
            w.execute(f"begin; insert into {table} values (1, 'ann')")
            check(fall_asleep(b), False,
                  f"{table}: no bridge falls asleep while a writer is in a transaction")
            w.execute("commit")
            check(fall_asleep(b), True, f"{table}: it does after the commit")
            one(b, "select pg_advisory_unlock(pgcast.constant('lock_asleep'), 1)")
            w.execute(f"begin; savepoint s; insert into {table} values (2, 'ann'); rollback to s")
            check(fall_asleep(b), True, f"{table}: it does after a rollback to a savepoint")
            w.execute(f"insert into {table} values (3, 'ann'); commit")
            check(notifications(b), [table],
                  f"{table}: and is notified of the writer's next change")
            one(b, "select pg_advisory_unlock(pgcast.constant('lock_asleep'), 1)")
        check(notifications(b), [], "and of nothing else")


def test_bridge_join():
    with connect() as a, connect() as b, connect() as c:
        first, second, third = [one(x, "select pgcast.bridge_join()") for x in (a, b, c)]
        check(len({first, second, third}), 3, "bridges get different keys")
        b.close()
        with connect() as admin:
            while one(admin, "select count(*) from pg_locks where locktype = 'advisory'"
                             " and classid = pgcast.constant('lock_alive') and objid = %s", second):
                pass
        with connect() as d:
            check(one(d, "select pgcast.bridge_join()"), second,
                  "the key of a bridge that left is used again")
            c.execute("select pg_advisory_unlock_all()")
            a.execute("select pg_advisory_unlock_all()")
            one(a, "select pgcast.bridge_join()")
            check(one(a, "select array_agg(key order by key) from pgcast.bridge"), [first, second],
                  "rows that no bridge holds are deleted")
    with connect() as a:
        a.execute("select pgcast.publish('ann', 'x', '1')")
        a.execute("update pgcast.meta set epoch = 'another'")
        one(a, "select pgcast.bridge_join()")
        check(one(a, "select count(*) from pgcast.event"), 0,
              "a journal from another cluster is emptied")
        check(one(a,
              "select epoch = system_identifier::text from pgcast.meta, pg_control_system()"), True,
              "and then belongs to this one")
        a.execute("select pgcast.publish('ann', 'x', '1')")
        one(a, "select pgcast.bridge_join()")
        check(one(a, "select count(*) from pgcast.event"), 1, "a journal from this cluster is kept")
        a.execute("truncate pgcast.event; truncate pgcast.bridge")


def test_prepared_transactions():
    ddl = """create table quiet (id int primary key, uid text);
        create table parts (id int, uid text) partition by list (id);
        create table parts_0 partition of parts default;
        create table loud (id int primary key, uid text)"""
    with watched(ddl, "'quiet', notify => false", "'parts', notify => false", "'loud'") as w, \
            connect() as b:
        fall_asleep(b)
        w.execute("""begin;
            insert into quiet values (1, 'ann'); insert into parts values (1, 'ann');
            update quiet set uid = 'bob'; prepare transaction 'pgcast_test'""")
        check(one(w, "select count(*) from pgcast.event"), 0,
              "a prepared transaction is not visible")
        w.execute("commit prepared 'pgcast_test'")
        check(one(w, "select count(*) from pgcast.event"), 4, "until it is committed")
        w.execute("begin; insert into quiet values (2, 'ann'); prepare transaction 'pgcast_test'")
        w.execute("rollback prepared 'pgcast_test'")
        check(one(w, "select count(*) from pgcast.event"), 4, "and never when it is rolled back")
        w.execute("begin; insert into loud values (1, 'ann')")
        try:
            w.execute("prepare transaction 'pgcast_test'")
            w.execute("rollback prepared 'pgcast_test'")
            refused = False
        except psycopg.errors.FeatureNotSupported:
            refused = True
        check(refused, True, "notify => true: PostgreSQL refuses to prepare while a bridge sleeps")


def test_init_in_a_snapshot():
    ddl = "create table t (id int primary key, uid text); create index on t (uid, id)"
    with watched(ddl, "'t'") as w, connect() as b:
        w.execute("insert into t values (1, 'ann')")
        b.execute("begin isolation level repeatable read read only")
        one(b, "select 1")
        w.execute("insert into t values (2, 'ann')")
        check(one(b, "select pgcast.init('t', 'ann')"),
              '{"type":"t","op":"init","key":["id"],"more":false,"data":[{"id":1,"uid":"ann"}]}',
              "init answers from the snapshot of a read-only transaction")
        b.execute("commit")
        w.execute("revoke all on t from public, pgcast_owner")
        b.execute("begin isolation level repeatable read read only")
        received = warnings_of(b, "select pgcast.init('t', 'ann')")
        check([h.startswith("pgcast: init of 't' failed") for h in received], [True],
              "init warns when the table can't be read")
        check(one(b, "select pgcast.init('t', 'ann')"), "init_failed permission denied for table t",
              "and returns the reason")
        b.execute("commit")


def test_watch_warnings():
    ddl = """create table bare (id int primary key, uid text);
        create table secured (uid text, id int, primary key (uid, id));
        alter table secured enable row level security;
        create table partial (id int primary key, uid text);
        create index on partial (uid) where id > 0;
        create table deferred (uid text, id int, primary key (uid, id) deferrable)"""
    with watched(ddl) as w:
        w.execute("set client_min_messages = warning")
        check(warnings_of(w, "select pgcast.watch('bare')"),
              ["pgcast: no index of stage.bare starts with uid,"
               " so every init reads the whole table"],
              "watch warns of a missing index")
        check(len(warnings_of(w, "select pgcast.watch('partial')")), 1,
              "watch warns when the only index is partial")
        w.execute("create index on bare (uid, id)")
        check(warnings_of(w, "select pgcast.watch('bare')"), [],
              "watch does not warn with an index")
        check(warnings_of(w, "select pgcast.watch('secured')"),
              ["pgcast: row-level security of stage.secured does not reach clients"],
              "watch warns of row-level security")
        check(warnings_of(w, "select pgcast.watch('deferred')"),
              ["pgcast: the primary key of stage.deferred is deferrable"],
              "watch warns of a deferrable primary key")
        w.execute("alter table bare drop column uid")
        received = warnings_of(w, "insert into bare (id) select i from generate_series(1, 100) i")
        check(received,
              ["pgcast: a change of type bare reaches nobody: the column uid is missing"],
              "a writer is warned once when the uid column is missing")


CATALOG = """
    select string_agg(l, E'\n' order by l collate "C") from (
        select 'relation ' || to_jsonb(c)::text from pg_class c
            where relnamespace in ('pgcast'::regnamespace, 'public'::regnamespace)
        union all select 'function ' || to_jsonb(p)::text from pg_proc p
            where pronamespace = 'pgcast'::regnamespace
        union all select 'column ' || to_jsonb(a)::text from pg_attribute a
            join pg_class c on c.oid = attrelid where relnamespace = 'pgcast'::regnamespace
        union all select 'comment ' || to_jsonb(d)::text from pg_description d where objoid >= 16384
        union all select 'trigger ' || to_jsonb(t)::text from pg_trigger t
        union all select 'schema ' || to_jsonb(n)::text from pg_namespace n
            where nspname !~ '^pg_(toast_)?temp'
        union all select 'role ' || to_jsonb(r)::text from pg_roles r
        union all select 'member ' || to_jsonb(m)::text from pg_auth_members m
        union all select 'constraint ' || to_jsonb(o)::text from pg_constraint o
        union all select 'depends ' || to_jsonb(d)::text from pg_depend d where objid >= 16384
        union all select 'default ' || to_jsonb(d)::text from pg_attrdef d
        union all select 'meta ' || to_jsonb(m)::text from pgcast.meta m
        union all select 'rotation ' || to_jsonb(r)::text from pgcast.rotation r
        union all select 'source ' || to_jsonb(s)::text from pgcast.source s) l(l)"""


def catalog(connection):
    # Without the columns that autovacuum and first use change.
    return re.sub(r'"(relpages|reltuples|relallvisible|relfrozenxid|relminmxid|relhasindex)": '
                  r'"?-?[0-9a-z.e+]+"?,? ?', "", one(connection, CATALOG) or "")


def test_install():
    with database() as name:
        first = install(name)
        check((first.returncode, first.stdout, first.stderr), (0, "", ""),
              "installs without output")
        for _ in range(2):
            log = psql(f"{SQL}/log.sql", name)
            check((log.returncode, log.stderr), (0, ""), "the example installs, once and again")
        with connect(name) as c:
            c.execute("""create table parts (id int, uid text) partition by list (id);
                create table parts_0 partition of parts default;
                create role pgcast_test_bridge; select pgcast.grant_bridge('pgcast_test_bridge');
                grant execute on function pgcast.publish(text, text, json) to pgcast_test_bridge""")
            c.execute("set client_min_messages = error;"
                      "select pgcast.watch('parts', columns => '{id}')")
            before = catalog(c)
            again = install(name)
            check((again.returncode, again.stdout, again.stderr), (0, "", ""), "installs again")
            after = catalog(c)
            check(sorted(set(before.split("\n")) ^ set(after.split("\n"))), [],
                  "and changes nothing")
            again = install(name, "--single-transaction")
            check(again.returncode, 0, "installs again with --single-transaction")
            c.execute("insert into log(uid) values ('u1')")
            check(one(c, "select uid || ' ' || (data->>'action') from pgcast.event"), "u1 login",
                  "the example's insert is journaled")

            c.execute("create table parts_1 partition of parts for values in (1)")
            c.execute("""do $$ begin
                set local role pgcast_owner;
                execute format('create or replace function pgcast.insert_%s() returns trigger
                    language plpgsql as ''begin return null; end''',
                    (select number from pgcast.source where type = 'log'));
                end $$""")
            c.execute('drop trigger " pgcast_1_update" on log')
            install(name)
            c.execute("truncate pgcast.event;"
                      "update log set action = 'x'; insert into log(uid) values ('u2');"
                      "insert into parts_1 values (1, 'ann'); truncate parts_1")
            events = c.execute("select type || ' ' || op from pgcast.event order by id").fetchall()
            check([event for event, in events],
                  ["log update", "log insert", "parts insert", "parts truncate"],
                  "installing again writes functions and triggers of watched tables anew")

            c.execute("update pgcast.meta set schema_version = 999")
            older = install(name)
            check((older.returncode, "schema version 999 is installed" in older.stderr), (3, True),
                  "a newer schema is refused")
            c.execute("update pgcast.meta set schema_version = 1")
            unreleased = install(name)
            check((unreleased.returncode,
                  "HINT:  Remove it with uninstall.sql" in unreleased.stderr), (3, True),
                  "a schema older than the first release is refused")
            c.execute("update pgcast.meta set schema_version = 4")

            c.execute("drop table parts")
            check(install(name).returncode, 0, "installs after a watched table was dropped")
            c.execute("create table parts (uid text primary key)")
            c.execute("select pgcast.watch('parts', columns => '{*}')")
            check(one(c, "select count(*) from pgcast.watched"), 2,
                  "and is watched when it is made anew")

            with connect(name, user="postgres") as admin:
                admin.execute("drop owned by pgcast_test_bridge; drop role pgcast_test_bridge")
            gone = psql(f"{SQL}/uninstall.sql", name)
            check((gone.returncode, gone.stdout), (0, ""), "uninstalls")
            check(one(c, """select count(*) from (
                select from pg_namespace where nspname = 'pgcast'
                union all select from pg_trigger where tgname ~ 'pgcast'
                union all select from pg_shdepend where refclassid = 'pg_authid'::regclass
                    and dbid = (select oid from pg_database where datname = current_database())
                    and refobjid = 'pgcast_owner'::regrole) x"""), 0,
                  "and leaves no object in the database")
            check(one(c, "select count(*) from log"), 2, "but the watched tables")
            c.execute("insert into log(uid) values ('u3')")
            check(psql(f"{SQL}/uninstall.sql", name).returncode, 0, "uninstalls again")
            check(install(name).returncode, 0, "and installs after that")


def test_install_without_rights():
    with database() as name, connect(name, user="postgres") as admin:
        roles = "pgcast_test_nobody, pgcast_test_owner"
        admin.execute("create role pgcast_test_nobody login; create role pgcast_test_owner login")
        try:
            admin.execute(f"grant create on database {name} to {roles};"
                          f"grant all on schema public to {roles}")
            nobody = install(name, user="pgcast_test_nobody")
            check((nobody.returncode,
                  "pgcast_test_nobody is no member of pgcast_owner" in nobody.stderr,
                   "HINT:  Run it as a superuser" in nobody.stderr), (3, True, True),
                  "without rights the error has a hint")
            admin.execute("grant pgcast_owner to pgcast_test_owner")
            check(install(name, user="pgcast_test_owner").stderr, "",
                  "membership in the owner suffices to install")
            admin.execute("create table foreign_one (uid text primary key)")
            with connect(name, user="pgcast_test_owner") as c:
                try:
                    c.execute("select pgcast.watch('foreign_one')")
                    check(None, "an error", "watching another role's table is refused")
                except psycopg.errors.InsufficientPrivilege as e:
                    check(("pgcast_test_owner may not create triggers" in str(e),
                          "HINT" in str(e)), (True, True),
                          "and is refused with a hint")
                admin.execute("grant trigger on foreign_one to pgcast_test_owner")
                received = warnings_of(c, "select pgcast.watch('foreign_one')")
                expected = "pgcast: pgcast_owner may not read public.foreign_one"
                check([warning[:len(expected)] for warning in received], [expected],
                      "the right TRIGGER suffices, but warns of init")
                admin.execute("insert into foreign_one values ('ann')")
                c.execute("select pgcast.watch('foreign_one', init_limit => 5)")
                c.execute("select pgcast.unwatch('foreign_one')")
                admin.execute("insert into foreign_one values ('bob')")
                check(one(c, "select count(*) from pgcast.event"), 1,
                      "it suffices to watch again and to unwatch")
        finally:
            admin.execute(f"drop owned by {roles} cascade; drop role {roles}")


def test_dump_and_restore():
    with database() as name, database("pgcast_test_copy") as copy:
        install(name)
        psql(f"{SQL}/log.sql", name)
        with connect(name) as c:
            c.execute("insert into log(uid) values ('u1')")
            server = c.info.server_version // 10000
        dumper = subprocess.check_output(["pg_dump", "--version"], text=True)
        if int(re.search(r"\d+", dumper)[0]) < server:
            skip("a dump can be restored", f"PostgreSQL {server} needs its own pg_dump")
            return
        dump = subprocess.run(["pg_dump", "-d", name, "-U", "postgres"],
                              capture_output=True, text=True, check=True)
        restored = subprocess.run(
            ["psql", "-Xqv", "ON_ERROR_STOP=1", "-d", copy, "-U", "postgres"],
            input=dump.stdout, capture_output=True, text=True, check=False)
        check((restored.returncode, restored.stderr), (0, ""), "a dump can be restored")
        with connect(copy, user="postgres") as c:
            c.execute("insert into log(uid) values ('u2')")
            check([r[0] for r in c.execute("select uid from pgcast.event order by id")], ["u1",
                  "u2"],
                  "and its tables are watched")
        check(install(copy, user="postgres").stderr, "", "pgcast installs over it")
        with connect(copy, user="postgres") as c:
            c.execute("insert into log(uid) values ('u3')")
            check(one(c, "select count(*) from pgcast.event"), 3, "without doubling a trigger")


for name, function in list(globals().items()):
    if not name.startswith("test_"):
        continue
    try:
        function()
    except Exception as e:  # the other tests still run
        traceback.print_exc(file=sys.stdout)
        check(repr(e), None, f"{name} ran to its end")
print(f"1..{count}")
