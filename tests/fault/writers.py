"""The writers of the torture: everything that a transaction may do to watched tables.

Every row has a version that each change increments under the row's lock, which shows changes that
arrive out of order.
"""

import asyncio
import contextlib
import time

import psycopg

TABLES = """
create table item(
    id bigint generated always as identity primary key, uid text, version int, pad text);
create table part(id bigint generated always as identity, uid text, version int, pad text,
    at timestamptz default '2026-11-23 10:00:00.5+00', span interval default '1 mon 2 days 03:04',
    share float8 default 1 / 3::float8, raw bytea default '\\x00ff') partition by hash (id);
create table part_0 partition of part for values with (modulus 2, remainder 0);
create table part_1 partition of part for values with (modulus 2, remainder 1);
create table news(id bigint generated always as identity primary key, version int, pad text);
create table prep(
    id bigint generated always as identity primary key, uid text, version int, pad text);
create index on item (uid);
create index on part (id);
create index on part (uid);
create index on prep (uid);
select pgcast.watch('item', init_limit => 100000), pgcast.watch('part'), pgcast.watch('news', null),
    pgcast.watch('prep', notify => false);
"""
HOT = 20  # rows that all writers update

# Settings of the sessions of applications. No message and no trigger may depend on them.
SETTINGS = [
    "datestyle = 'German, DMY'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Kathmandu'",
    "extra_float_digits = -10", "bytea_output = 'escape'", "standard_conforming_strings = off",
    "array_nulls = off", "quote_all_identifiers = on", "transform_null_equals = on",
    "search_path = pg_temp, public", "plan_cache_mode = force_generic_plan",
    "plan_cache_mode = force_custom_plan", "enable_nestloop = off", "enable_hashjoin = off",
    "enable_indexscan = off", "work_mem = '64kB'", "jit_above_cost = 0", "row_security = off",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_isolation = 'serializable'"]

INSERT = """insert into {t}(uid, version, pad)
    select {uid}, 1, repeat('x', {pad}) from generate_series(1, {n}) i"""


class Abandon(Exception):
    """Rolls a transaction back."""


def quoted(text):
    """A literal under any setting of standard_conforming_strings."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


class Writers:
    def __init__(self, conninfo, random, uids, *, writers=12, rate=400, synchronous=True,
                 settings=0):
        self.settings = settings  # so many that each session changes
        self.conninfo, self.random, self.uids = conninfo, random, uids
        self.synchronous = synchronous
        self.pause = writers / rate * 4  # seconds a writer rests per transaction, about
        self.count = writers
        self.stopping = False
        self.transactions = self.failures = 0
        self.prepared = 0

    def prepare(self):
        with psycopg.connect(self.conninfo, autocommit=True) as db:
            db.execute(TABLES)
            for table in "item", "part":
                db.execute(INSERT.format(t=table, uid=quoted(self.uids[0]), pad=10, n=HOT))

    async def run(self):
        await asyncio.gather(*(self._writer(number) for number in range(self.count)))

    async def _writer(self, number):
        published = 0
        while not self.stopping:
            try:
                async with await psycopg.AsyncConnection.connect(
                        self.conninfo, autocommit=True, connect_timeout=5) as db:
                    for setting in self.random.sample(SETTINGS, self.settings):
                        await db.execute(f"set {setting}")
                    while not self.stopping:
                        published += 1
                        await self._one(db, number, published)
                        await asyncio.sleep(self.random.expovariate(1 / self.pause))
            except psycopg.OperationalError:
                self.failures += 1  # the server has failed
                await asyncio.sleep(0.2)

    async def _one(self, db, number, published):
        """One transaction of some kind."""
        kind = self.random.choices(
            [self._plain, self._update, self._rolled_back, self._savepoint, self._exception,
             self._early,
             self._bulk, self._move, self._delete, self._publish, self._news, self._prepared,
             self._long],
            # PREPARE TRANSACTION flushes all commits
            [20, 25, 5, 8, 6, 4, 1, 8, 6, 20, 2, 4 if self.synchronous else 0, 1])[0]
        self.transactions += 1
        try:
            if kind == self._publish:
                await self._publish(db, number, published)
            else:
                await kind(db)
        except (Abandon, psycopg.errors.DeadlockDetected, psycopg.errors.DivisionByZero,
                psycopg.errors.SerializationFailure):
            await db.rollback()

    def _uid(self):
        return quoted(self.random.choice(self.uids))

    def _table(self):
        return self.random.choice(["item", "item", "part"])

    def _pad(self):
        return self.random.choice([5, 50, 500, 5000])

    def _insert(self, table=None, n=1, uid=None):
        return INSERT.format(t=table or self._table(), uid=uid or self._uid(), pad=self._pad(), n=n)

    def _touch(self, n=1):
        """Updates rows that other writers update, too."""
        ids = self.random.sample(range(1, HOT + 1), n)
        return f"update {self._table()} set version = version + 1 where id = any (array{ids})"

    async def _plain(self, db):
        await db.execute(self._insert())

    async def _update(self, db):
        await db.execute(self._touch(self.random.choice([1, 1, 3])))

    async def _rolled_back(self, db):
        async with db.transaction():
            await db.execute(self._insert())
            await db.execute(self._touch())
            raise Abandon

    async def _savepoint(self, db):
        async with db.transaction():
            await db.execute(self._insert())
            with contextlib.suppress(Abandon):
                async with db.transaction():
                    await db.execute(self._touch())
                    await db.execute(self._insert(n=3))
                    raise Abandon
            async with db.transaction():
                await db.execute(self._touch())

    async def _exception(self, db):
        await db.execute(f"""do $$ begin
            {self._insert()};
            begin {self._touch()}; perform 1 / 0; exception when division_by_zero then null; end;
            {self._touch()};
            {"perform 1 / 0;" if self.random.random() < 0.3 else ""}
            end $$""")

    async def _early(self, db):
        """Takes its transaction id long before its events' ids."""
        async with db.transaction():
            await db.execute("select pg_current_xact_id()")
            await asyncio.sleep(self.random.uniform(0, 1))
            await db.execute(self._insert())

    async def _long(self, db):
        """Takes its events' ids long before it commits."""
        async with db.transaction():
            await db.execute(self._insert())
            await asyncio.sleep(self.random.uniform(0, 4))
            await db.execute(self._insert())

    async def _bulk(self, db):
        uids = ", ".join(map(quoted, self.uids))
        uid = self.random.choice([f"(array[{uids}])[1 + i % {len(self.uids)}]", self._uid()])
        await db.execute(INSERT.format(t=self._table(), uid=uid, pad=self.random.choice([5, 200]),
                                       n=1000))

    async def _move(self, db):
        await db.execute(f"update {self._table()} set version = version + 1, uid = {self._uid()}"
                         f" where id = {self.random.randint(1, HOT)}")

    async def _delete(self, db):
        table = self._table()
        await db.execute(f"delete from {table} where id in (select id from {table} where id > {HOT}"
                         " order by random() limit 2)")

    async def _publish(self, db, number, published):
        uid = self._uid() if self.random.random() < 0.95 else "null"
        await db.execute(f"select pgcast.publish({uid}, 'chat', json_build_object('id', {number},"
                         f" 'version', {published}, 'sent', {time.time()}::float8))")

    async def _news(self, db):
        await db.execute(f"insert into news(version, pad) values (1, repeat('x', {self._pad()}))")

    async def _prepared(self, db):
        self.prepared += 1
        name = f"p{self.prepared}"
        await db.execute("begin")
        await db.execute(self._insert("prep"))
        await db.execute("update prep set version = version + 1 where id = currval('prep_id_seq')")
        await db.execute(f"prepare transaction '{name}'")
        await asyncio.sleep(self.random.uniform(0, 2))
        word = self.random.choice(["commit", "commit", "rollback"])
        await db.execute(f"{word} prepared '{name}'")

    async def finish_prepared(self):
        """Commits transactions that a crash left prepared."""
        async with await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True) as db:
            cursor = await db.execute(
                "select gid from pg_prepared_xacts where database = current_database()")
            for gid, in await cursor.fetchall():
                await db.execute(f"commit prepared '{gid}'")
