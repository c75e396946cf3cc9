"""The metrics, in situations where each number is known."""

import contextlib
import re
import resource
import socket

import websockets

from harness import ROOT, TIMEOUT, eventually, wait_for
from raw import Raw
from stream import cursor_now


class Counted:
    """Differences from the metrics at its creation."""

    def __init__(self, bridge):
        self.bridge, self.before = bridge, bridge.metrics()

    def __getitem__(self, name):
        return self.bridge.metrics()[f"pgcast_{name}"] - self.before[f"pgcast_{name}"]


def test_metrics_are_all_tested():
    """A test has to read each metric of the table."""
    table = (ROOT / "src/base/metrics.def").read_text()
    names = re.findall(r'^METRIC\(\w+, \w+, "(\w+)"', table, re.M)
    tests = "".join(file.read_text() for folder in ("e2e", "fault")
                    for file in (ROOT / "tests" / folder).glob("test_*.py"))
    assert len(names) > 20
    assert [name for name in names if not re.search(rf"""(["']|pgcast_){name}["']""", tests)] == []


async def test_deliveries_total_counts_events_per_client(bridge, database):
    counted = Counted(bridge)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(uid, types=types))
                   for uid, types in (("u1", None), ("u1", None), ("u1", "log"), ("u1", "chat"),
                                      ("u2", None))]
        database.execute("insert into log(uid) select 'u1' from generate_series(1, 7)",
                         "insert into log(uid) values ('u2'), ('u3'), (null)")
        database.publish(None, "for all", type="chat")
        for client in clients[:2]:
            await client.take(8)
        for client, n in zip(clients[2:], (7, 1, 2)):
            await client.take(n)
        assert counted["joins_total"] == 5
        assert counted["events_total"] == 7 + 3 + 1
        assert counted["deliveries_total"] == 2 * 8 + 7 + 1 + 2


async def test_joins_total_excludes_refused_clients(start, database):
    bridge = start(database, max_clients_per_uid=1)
    async with bridge.client(), bridge.client() as second, bridge.client("u2"):
        assert (await second.closed())[0] == 4409
        assert bridge.metrics()["pgcast_joins_total"] == 2


def test_sent_bytes_total_equals_bytes_read(start, database):
    """All bytes after the handshake: hello, rows, cursors, answers, fragments of long messages."""
    bridge = start(database, ping_interval="1h")
    with Raw(bridge) as plain, Raw(bridge, Sec_WebSocket_Protocol="pgcast.v1") as v1, \
            Raw(bridge, "") as refused:
        database.execute("insert into log(uid, action) values ('u1', repeat('x', 200000))")
        v1.send(0x1, b'{"cmd":"init","type":"log","ref":1}')
        v1.until(lambda frame: b'"ack"' in frame.payload)
        database.publish("u1", "the end")
        for client in plain, v1:
            client.until(lambda frame: b"the end" in frame.payload)
        wait_for(lambda: bridge.metrics()["pgcast_sent_bytes_total"]
                 == sum(len(client.bytes) + client.in_kernel() for client in (plain, v1, refused)),
                 "the bytes to be counted")
        assert bridge.metrics()["pgcast_sent_bytes_total"] > 3 * 200000


async def test_caught_up_events_total_counts_missed_events(bridge, database):
    cursor = await cursor_now(bridge, database)
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 7)",
                     "insert into log(uid) select 'u2' from generate_series(1, 100)")
    bridge.settle(database)
    counted = Counted(bridge)
    async with bridge.client(v1=True, since=cursor) as client:
        await client.take(7)
        await client.latest_cursor()
    assert counted["caught_up_events_total"] == counted["deliveries_total"] == 7
    assert counted["events_total"] == 0
    assert counted["resumes_total"] == 1


async def test_bad_messages_total_counts_invalid_messages(bridge):
    async with bridge.client() as plain, bridge.client(v1=True) as v1:
        counted = Counted(bridge)
        for client in plain, v1:
            for text in ("{", '{"cmd":"nonsense"}', '{"cmd":"init"}',
                         '{"cmd":"init","type":"no such table"}'):
                await client.send(text)
            await client.init()
            await client.until(lambda message: message["op"] == "init")
        assert counted["messages_total"] == 2 * 5
        assert counted["bad_messages_total"] == 2 * 4


async def test_turn_max_seconds_includes_waiting_for_a_lock(start, database):
    """An init waits 100 ms for a locked table, and is a part of a turn here."""
    bridge = start(database, query_connections=0)
    async with bridge.client(v1=True) as client:
        with database.connect() as locker:
            locker.execute("begin")
            locker.execute("lock table log in access exclusive mode")
            await client.init()
            await client.until(lambda message: message["op"] == "error")
            await eventually(lambda: 0.1 <= bridge.metrics()["pgcast_turn_max_seconds"] < TIMEOUT,
                             "the turn to be measured")
    assert bridge.labelled("timeouts_total") == {"init": 1}


async def test_timeouts_total_counts_ended_sessions(bridge, database):
    """A journal that stays locked for longer than lock_timeout: nothing is lost."""
    async with bridge.client() as client:
        with database.connect() as locker:
            locker.execute("begin")
            locker.execute("insert into log(uid) values ('u1')")
            locker.execute("lock table pgcast.event in access exclusive mode")
            await eventually(lambda: bridge.labelled("timeouts_total").get("session", 0) >= 1,
                             "the session to be ended")
            locker.execute("commit")
        assert (await client.next())["data"]["uid"] == "u1"
    assert set(bridge.labelled("timeouts_total")) == {"session"}


async def test_handshakes_refused_total_counts_each_reason(start, database):
    bridge = start(database, max_clients=1)
    for headers in ({"Origin": "http://evil.example"}, {"Sec_WebSocket_Version": "8"},
                    {"Upgrade": "h2c"},
                    {"Sec_WebSocket_Protocol": "chat"}):
        with Raw(bridge, status=None, **headers) as client:
            assert client.status in (400, 403, 426)
    async with websockets.connect(f"ws://{bridge.address}/") as socket:
        await socket.wait_closed()
        assert socket.close_code == 4400
    assert bridge.metrics()["pgcast_handshakes_refused_total"] == 4
    async with bridge.client():
        with Raw(bridge, status=503):
            pass
        assert bridge.metrics()["pgcast_handshakes_refused_total"] == 5


def test_accept_pauses_total_without_free_descriptors(bridge):
    """The bridge logs each failed attempt to accept."""
    usual = resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE)
    host, port = bridge.address.rsplit(":", 1)
    resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, (0, usual[1]))
    try:
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as early:
            early.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: len(bridge.lines("could not accept connections")) > 1,
                     "a second attempt")
            resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, usual)
            assert early.recv(12) == b"HTTP/1.1 404"
    finally:
        resource.prlimit(bridge.process.pid, resource.RLIMIT_NOFILE, usual)
    pauses = bridge.metrics()["pgcast_accept_pauses_total"]
    wait_for(lambda: pauses == len(bridge.lines("could not accept connections")),
             "each attempt to be logged")


async def test_bells_total_at_rest_is_one_per_commit(bridge, database):
    def asleep():
        return database.value("""select exists (
            select from pg_locks l join pg_database d on d.oid = l.database
            where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
            and datname = current_database())""")

    await eventually(asleep, "the bridge to sleep")
    counted = Counted(bridge)
    async with bridge.client() as client:
        for n in range(1, 4):
            database.execute("insert into log(uid) values ('u1')")
            await client.next()
            assert counted["bells_total"] == n
        assert asleep(), "so few notifications do not keep the bridge awake"
    assert bridge.metrics()["pgcast_sleeps_total"] == 1


async def test_canary_seconds_measures_the_delay_of_reading(start, database):
    """While the journal is locked, the test event of this second is not read."""
    bridge = start(database, prune_interval="1s")

    def delay():
        return bridge.metrics()["pgcast_canary_seconds"]

    async with bridge.client() as client:
        await eventually(lambda: 0 < delay() < TIMEOUT, "a test event to be read")
        with database.connect() as locker, locker.transaction():
            locker.execute("lock table pgcast.event in access exclusive mode")
            before = delay()
            await eventually(lambda: delay() > max(before, 1), "the delay to grow")
        await eventually(lambda: delay() < 1, "the delay to fall")
        assert await client.before_marker(database) == []


def test_journal_rows_bytes_and_age(start, database):
    database.execute("""insert into pgcast.event (broadcast, type, op, at, journal_table)
        values (false, 'log', 'insert', now() - interval '90 s', 0)""",
                     "insert into log(uid) select 'u1' from generate_series(1, 2000)")
    database.execute("analyze pgcast.event_0")
    bridge = start(database, prune_interval="1s")

    def metric(name):
        return bridge.metrics()[f"pgcast_{name}"]

    wait_for(lambda: metric("journal_rows") >= 2000, "the rows to be counted")
    assert metric("journal_rows") < 2100
    assert metric("journal_bytes") > 100000
    assert 90 <= metric("journal_oldest_seconds") < 90 + TIMEOUT


def test_notification_queue_usage_with_idle_listener(start, database):
    """The queue fills up while another listener is idle in a transaction."""
    bridge = start(database, prune_interval="1s")

    def metric():
        return bridge.metrics()["pgcast_notification_queue_usage_ratio"]

    with database.connect() as listener:
        listener.execute("listen others")
        listener.execute("begin")
        listener.execute("select 1")
        database.execute("""select pg_notify('others', n || repeat('x', 7000))
            from generate_series(1, 500) n""")
        usage = database.value("select round(pg_notification_queue_usage()::numeric, 6)::float8")
        assert usage > 0.0001
        wait_for(lambda: metric() == usage, "the bridge to read the usage")
        listener.execute("rollback")
    wait_for(lambda: metric() == 0, "the queue to be empty")
