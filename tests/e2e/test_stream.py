"""Nothing that one client, writer or table does stops the stream for the others."""

import asyncio
import contextlib
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import websockets

from harness import ROOT, TIMEOUT, Database, Standby, eventually, wait_for
from others import execute, metric, others_live
from raw import PING, PONG, Raw
from stream import cursor_now, ids, resets

BULK = 60_000  # rows, three times as many as one pull returns


def rows_for(uid, rows=BULK):
    return f"insert into log(uid) select '{uid}' from generate_series(1, {rows})"


def due(database, uid="u1"):
    """The ids of the uid's events and of the broadcasts, without markers."""
    return database.value("""select coalesce(array_agg(id order by id), '{}') from pgcast.event
        where (uid = %s or broadcast) and type <> 'marker'""", uid)


async def until_large_pull(bridge):
    async with asyncio.timeout(TIMEOUT):
        while not await metric(bridge, "large_pulls_total"):
            await asyncio.sleep(0.01)


async def events_before_marker(client, database):
    """Without markers that were published earlier."""
    return [message for message in await client.before_marker(database)
            if message["type"] != "marker"]


async def take_events(client, n):
    """The next n messages without control messages."""
    got = []
    while len(got) < n:
        message = await client.next()
        got += [message] if message["type"] != "pgcast" else []
    return got


# ---- large transactions ----


async def test_bulk_of_unconnected_uid_leaves_others_live(bridge, database):
    async with others_live(bridge, database):
        await execute(database, rows_for("nobody", 100_000))
        await until_large_pull(bridge)
    async with bridge.client() as client:
        assert await client.before_marker(database) == []


async def test_bulk_of_connected_uid_arrives_once_in_order(bridge, database):
    database.execute("create table news(n int)", "select pgcast.watch('news', uid_column => null)")
    async with bridge.client() as client, bridge.client(v1=True) as v1, \
            bridge.client("other") as other, others_live(bridge, database):
        await execute(database, f"""do $$ begin
            for n in 1..60 loop
                insert into log(uid) select 'u1' from generate_series(1, {BULK // 60});
                insert into news values (n);
            end loop;
        end $$""")
        wanted = due(database)
        assert len(wanted) == BULK + 60
        for receiver in client, v1:
            assert ids(await events_before_marker(receiver, database)) == wanted
        got = await other.before_marker(database)
        assert [message["data"]["n"] for message in got] == list(range(1, 61))
    assert await metric(bridge, "large_pulls_total") >= 1
    assert resets(v1) == []


async def test_bulk_of_many_uids_arrives_at_each(bridge, database):
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}")) for n in range(50)]
        async with others_live(bridge, database):
            await execute(database, f"""insert into log(uid)
                select 'u' || n % 100 from generate_series(0, {BULK - 1}) n""")
            for client in clients:
                got = await client.before_marker(database)
                assert len(got) == BULK // 100
                assert ids(got) == sorted(set(ids(got)))
    assert await metric(bridge, "large_pulls_total") >= 1


async def test_bulk_of_large_rows_arrives_once_in_order(bridge, database):
    """Fewer rows than a pull may have, and more bytes."""
    async with bridge.client() as client:
        database.execute("""insert into log(uid, action)
            select 'u1', repeat('x', 1000000) from generate_series(1, 50)""")
        assert ids(await client.before_marker(database)) == due(database)
    assert await metric(bridge, "large_pulls_total") >= 1


async def test_bulk_on_standby_arrives_once_in_order(start, cluster, database):
    with Standby(cluster) as standby:
        bridge = start(database.on(standby))
        async with bridge.client() as client, others_live(bridge, database, limit=2):
            await execute(database, rows_for("nobody"), rows_for("u1"))
            assert ids(await client.before_marker(database)) == due(database)
        assert await metric(bridge, "large_pulls_total") >= 1
        bridge.stop()


async def test_bulk_before_start_is_resumed_inside(start, database):
    """Cursors from before, inside and after the bulk."""
    first = start(database)
    before = await cursor_now(first, database)
    async with first.client() as client, first.client(v1=True) as v1:
        await execute(database, rows_for("u1"))
        wanted = due(database)
        await v1.until(lambda message: message.get("id") == wanted[BULK // 2])
        inside = await v1.latest_cursor()
        got = ids(v1.seen)
        await client.before_marker(database)
    after = await cursor_now(first, database)
    first.stop()
    second = start(database)
    async with others_live(second, database):
        async with second.client(v1=True, since=before) as client:
            assert ids(await events_before_marker(client, database)) == wanted
        async with second.client(v1=True, since=inside) as client:
            got += ids(await events_before_marker(client, database))
            assert list(dict.fromkeys(got)) == wanted
        async with second.client(v1=True, since=after) as client:
            assert await events_before_marker(client, database) == []
            assert resets(client) == []


async def test_bulk_in_progress_at_start_is_sent_at_commit(start, database):
    with database.connect() as writer:
        writer.execute("begin")
        writer.execute(rows_for("u1", 30_000))
        bridge = start(database)
        async with bridge.client() as client, others_live(bridge, database):
            assert await client.before_marker(database) == []
            await asyncio.to_thread(writer.execute, "commit")
            assert ids(await client.before_marker(database)) == due(database)


async def test_bulk_rolled_back_is_not_sent(bridge, database):
    async with bridge.client() as client, others_live(bridge, database):
        with database.connect() as writer:
            writer.execute("begin")
            await asyncio.to_thread(writer.execute, rows_for("u1"))
            assert await client.before_marker(database) == []
            writer.execute("rollback")
        database.execute("insert into log(uid, action) values ('u1', 'after')")
        got = await client.before_marker(database)
        assert [message["data"]["action"] for message in got] == ["after"]


async def test_concurrent_transactions_of_many_rows_arrive_once(bridge, database):
    """They draw ids and commit in different orders; together they are too large for a pull."""
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in range(80)]
        async with bridge.client() as client, others_live(bridge, database, limit=2):
            def write():
                for writer in writers:
                    writer.execute("begin")
                for n in range(2):
                    for writer in writers[::-1] if n else writers:
                        writer.execute(rows_for("u1", 50))

            def commit():
                for writer in writers[::3] + writers[1::3] + writers[2::3]:
                    writer.execute("commit")

            await asyncio.to_thread(write)
            await execute(database, rows_for("u1", 20_000))
            await asyncio.to_thread(commit)
            got = ids(await client.before_marker(database))
            assert len(got) == len(set(got))
            assert sorted(got) == due(database)


async def test_bulk_updates_of_one_row_arrive_in_order(bridge, database):
    """A later change of a row never precedes an earlier one."""
    database.execute("insert into log(uid, detail) select 'u1', '0' from generate_series(1, 5000)")
    bridge.settle(database)
    async with bridge.client() as client:
        await execute(database, """do $$ begin
            for n in 1..6 loop update log set detail = to_jsonb(n); end loop; end $$""")
        latest = {}
        for message in await client.before_marker(database):
            row = message["data"]
            assert message["old"]["detail"] == latest.get(row["id"], 0)
            latest[row["id"]] = row["detail"]
        assert list(latest.values()) == [6] * 5000
    assert await metric(bridge, "large_pulls_total") >= 1


# ---- inits that are locked or slow ----


async def init_with_ref(client, type="log"):
    """Asks on pgcast.v1; returns all messages up to the error or the ack."""
    await client.send({"cmd": "init", "type": type, "ref": 7})
    return await client.until(lambda message: message.get("ref") == 7)


async def test_init_of_locked_table_is_an_error(bridge, database):
    async with bridge.client("asker", v1=True) as asker, others_live(bridge, database):
        with database.connect() as locker:
            locker.execute("begin")
            locker.execute("lock table log in access exclusive mode")
            for _ in range(3):
                answer = (await init_with_ref(asker))[-1]
                assert (answer["op"], answer["code"]) == ("error", "timeout")
        answers = await init_with_ref(asker)
        ops = [message["op"] for message in answers if message["op"] != "cursor"]
        assert ops == ["init", "ack"]


async def test_init_behind_waiting_alter_is_an_error(bridge, database):
    with database.connect() as idle, database.connect() as migration:
        idle.execute("begin")
        idle.execute("select 1 from log")
        pid = migration.info.backend_pid
        altering = asyncio.ensure_future(asyncio.to_thread(
            migration.execute, "alter table log add column more int"))
        await eventually(lambda: database.value(
            "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", pid),
            "the migration to wait")
        async with bridge.client("asker", v1=True) as asker, others_live(bridge, database):
            for _ in range(3):
                assert (await init_with_ref(asker))[-1]["code"] == "timeout"
        idle.execute("commit")
        await altering
    async with bridge.client("asker", v1=True) as asker:
        assert (await init_with_ref(asker))[-1]["op"] == "ack"


async def test_init_of_slow_table_is_answered_or_an_error(bridge, database):
    """40 clients of 40 uids read a table without an index on uid."""
    database.execute("create table big(uid text, n int)",
                     "insert into big select 'u' || n % 40, n from generate_series(1, 200000) n",
                     "select pgcast.watch('big')")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}", v1=True))
                   for n in range(40)]
        async with others_live(bridge, database):
            results = await asyncio.gather(*(init_with_ref(client, "big") for client in clients))
    for messages in results:
        answer = messages[-1]
        assert answer["op"] == "ack" or answer["code"] == "timeout"
        if answer["op"] == "ack":
            init, = (message for message in messages if message["op"] == "init")
            assert len(init["data"]) == 100
    answered = sum(messages[-1]["op"] == "ack" for messages in results)
    print(f"{answered} of 40 answered")
    assert answered > 0


def make_slow_table(database):
    """The JSON of one of its rows takes a minute to make."""
    database.execute("create type slow as enum ('slow')",
                     """create function slow_json(slow) returns json language plpgsql as $$ begin
                        perform pg_sleep(60); return 'null'; end $$""",
                     "create cast (slow as json) with function slow_json(slow)",
                     "create table base(uid text, n slow)", """insert into base
                        select 'u' || n, 'slow' from generate_series(0, 20) n""",
                     "select pgcast.watch('base')")


async def test_init_that_takes_too_long_is_an_error(bridge, database):
    make_slow_table(database)
    async with bridge.client("u1", v1=True) as asker, bridge.client("u2", v1=True) as other, \
            others_live(bridge, database):
        slow, quick = await asyncio.gather(init_with_ref(asker, "base"), init_with_ref(other))
    assert slow[-1]["code"] == "timeout"
    assert quick[-1]["op"] == "ack"


async def test_slow_inits_of_many_clients_are_errors(bridge, database):
    """Quick ones come first, so that many are asked together."""
    make_slow_table(database)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}", v1=True))
                   for n in range(16)]
        for _ in range(5):
            await asyncio.gather(*(init_with_ref(client) for client in clients))
        async with others_live(bridge, database):
            results = await asyncio.gather(*(init_with_ref(client, "base") for client in clients))
        for messages in results:
            assert messages[-1]["code"] == "timeout"
        for client in clients:
            assert (await init_with_ref(client))[-1]["op"] == "ack"


async def test_inits_of_large_rows_leave_others_live(bridge, database):
    """15 clients of 15 uids ask for 30 rows of 60 kB each."""
    database.execute("""insert into log(uid, action)
        select 'u' || n % 15, repeat('x', 60000) from generate_series(1, 450) n""")
    await cursor_now(bridge, database, "reader")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}", v1=True))
                   for n in range(15)]
        async with others_live(bridge, database):
            results = await asyncio.gather(*(init_with_ref(client) for client in clients))
    for messages in results:
        assert messages[-1]["op"] == "ack"
        init, = (message for message in messages if message["op"] == "init")
        rows = [row["id"] for row in init["data"]]
        assert len(rows) == 30 and rows == sorted(rows)


# ---- encodings ----


@pytest.fixture(params=["LATIN1", "EUC_JP"])
def encoded(request, cluster):
    """A database that can't hold every text."""
    made = Database(cluster, options=f"""encoding '{request.param}' lc_collate 'C' lc_ctype 'C'
        template template0""")
    made.install()
    yield made
    made.drop()


async def test_text_outside_of_encoding_matches_nothing(start, encoded):
    bridge = start(encoded)
    cursor = await cursor_now(bridge, encoded)
    encoded.execute("insert into log(uid) values ('u1'), (null)")
    async with others_live(bridge, encoded):
        for uid in "😀", "u\N{EURO SIGN}", "\N{EURO SIGN}1\N{THAI CHARACTER KO KAI}":
            async with bridge.client(uid, v1=True) as client:
                messages = await init_with_ref(client)
                assert [m["data"] for m in messages if m["op"] == "init"] == [[]]
                assert (await init_with_ref(client, "😀"))[-1]["code"] == "unknown_type"
                encoded.publish(None, "for all")
                await client.until(lambda message: message.get("data") == "for all")
            async with bridge.client(uid, v1=True, since=cursor) as client:
                assert client.hello["resumed"] is True
                got = await client.until(lambda message: message.get("data") == "for all")
                assert {message["data"] for message in got if "data" in message} == {"for all"}
            async with bridge.client(v1=True, since=cursor, types=f"log,{uid}") as client:
                assert (await client.next())["type"] == "log"
    bridge.stop()


async def test_bulk_with_uid_outside_of_encoding(start, encoded):
    bridge = start(encoded)
    async with bridge.client("😀"), bridge.client("u1") as client, others_live(bridge, encoded):
        await execute(encoded, rows_for("u1", 25_000))
        assert ids(await client.before_marker(encoded)) == due(encoded)
    bridge.stop()


# ---- far resumes ----


async def test_far_resume_beside_broadcasts_leaves_others_live(bridge, database):
    """300 clients of 300 uids, after 2,000 broadcasts that they had and 3,000 missed events."""
    database.execute("create table news(n int)", "select pgcast.watch('news', uid_column => null)",
                     "insert into news select generate_series(1, 2000)")
    cursor = await cursor_now(bridge, database)
    database.execute("""insert into log(uid) select 'u' || n % 300
        from generate_series(1, 3000) n""", "insert into news select generate_series(1, 100)")
    async with others_live(bridge, database, limit=2), contextlib.AsyncExitStack() as stack:
        clients = await asyncio.gather(*(stack.enter_async_context(
            bridge.client(f"u{n}", v1=True, since=cursor)) for n in range(300)))
        for client in clients:
            assert client.hello["resumed"] is True
            got = await take_events(client, 110)
            assert sum(message["type"] == "log" for message in got) == 10
            assert [m["data"]["n"] for m in got if m["type"] == "news"] == list(range(1, 101))
    assert await metric(bridge, "resumes_total") == 300


async def test_far_resume_through_many_broadcasts(bridge, database):
    """More broadcasts than a turn reads, between events of the uid's own."""
    database.execute("create table news(n int)", "select pgcast.watch('news', uid_column => null)")
    cursor = await cursor_now(bridge, database)
    for _ in range(3):
        database.execute("insert into news select generate_series(1, 3000)", rows_for("u1", 50))
    async with others_live(bridge, database), bridge.client(v1=True, since=cursor) as client, \
            bridge.client("u2", since=cursor) as other:
        assert ids(await client.before_marker(database)) == due(database)
        assert ids(await other.before_marker(database)) == due(database, "u2")


def rows_read(database):
    """Rows that all sessions have read from the journal's indexes; they report it as they end."""
    wait_for(lambda: not database.value("""select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()"""), "the sessions to end")
    return database.value("""select sum(idx_tup_read)::int8 from pg_stat_user_indexes
        where schemaname = 'pgcast' and relname ~ '^event'""")


async def test_resume_near_end_of_hot_uid_reads_few_rows(start, database):
    first = start(database)
    database.execute(rows_for("u1", 15_000))
    cursor = await cursor_now(first, database)
    first.stop()
    database.execute(rows_for("u1", 10))
    before = rows_read(database)
    second = start(database)
    async with second.client(v1=True, since=cursor) as client:
        assert len(await client.before_marker(database)) == 10
    second.stop()
    wait_for(lambda: rows_read(database) >= before + 10, "the rows to be counted")
    assert rows_read(database) - before < 2_000


# ---- fan-out ----


async def test_broadcast_rows_reach_many_clients(start, database):
    database.execute("create table news(n int)", "select pgcast.watch('news', uid_column => null)")
    bridge = start(database, through=["/usr/bin/prlimit", "--nofile=8192:"])
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for first in range(0, 600, 100):
            clients += await asyncio.gather(*(stack.enter_async_context(
                bridge.client(f"u{n}", v1=bool(n % 2))) for n in range(first, first + 100)))
        await execute(database, "insert into news select generate_series(1, 200)")
        for client in clients:
            got = await take_events(client, 200)
            assert [message["data"]["n"] for message in got] == list(range(1, 201))
    assert await metric(bridge, "deliveries_total") == 600 * 200
    assert 0 < await metric(bridge, "loop_busy_max_seconds") < 1
    assert await metric(bridge, "fallen_behind_total") == 0


def answers_pings(client, until):
    """Whether the client reads that text before its connection ends."""
    while frame := client.frame():
        if frame.opcode == PING:
            client.send(PONG, frame.payload)
        elif until in frame.payload:
            return True
    return False


@pytest.mark.parametrize("answered", ["before", "while"])
def test_frozen_bridge_reads_before_it_drops(start, database, answered):
    """It is stopped for longer than ping_timeout. The clients answer their pings before, or the
    answers wait in its sockets."""
    bridge = start(database, ping_interval="1s", ping_timeout="3s")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(bridge)) for _ in range(30)]
        for client in clients:
            client.until(lambda frame: frame.opcode == PING)
            if answered == "before":
                client.send(PONG, b".")
        bridge.process.send_signal(signal.SIGSTOP)
        try:
            for client in clients if answered == "while" else []:
                client.send(PONG, b".")
            time.sleep(4)  # longer than the timeout
        finally:
            bridge.process.send_signal(signal.SIGCONT)
        wait_for(lambda: bridge.metrics()["pgcast_clients"] > 0, "the bridge to go on")
        database.publish("u1", "still there")
        with ThreadPoolExecutor(len(clients)) as threads:
            assert all(threads.map(lambda client: answers_pings(client, b"still there"), clients))
    assert bridge.metrics()["pgcast_ping_timeouts_total"] == 0


def test_stop_with_silent_connections_and_clients(start, database):
    """Connections without a request, and clients that do not answer the Close."""
    bridge = start(database, drain_time="0s", max_clients_per_uid=0,
                   through=["/usr/bin/prlimit", "--nofile=8192:"])
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(Raw(bridge))
        host, port = bridge.address.rsplit(":", 1)
        for _ in range(300):
            stack.enter_context(socket.create_connection((host, int(port))))
        wait_for(lambda: bridge.connections() == 600, "the connections")
        assert bridge.stop() == 0


# ---- refusals and closes ----


def test_upgrade_to_unknown_protocol_after_page(start, database):
    bridge = start(database, www=ROOT / "www")
    host, port = bridge.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1 << 16)
        head, body = head.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += client.recv(1 << 16)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n")
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 403") and answer.count(b"HTTP/1.1") == 1
    assert bridge.ready()


async def test_closes_total_counts_each_code(start, database):
    bridge = start(database, max_clients_per_uid=1, message_rate="1/s", max_message="1kB",
                   ping_interval="1h")
    async with websockets.connect(f"ws://{bridge.address}/") as client:
        await client.wait_closed()
    async with bridge.client("u1"), bridge.client("u1") as second:
        assert (await second.closed())[0] == 4409
    for uid, message, code in ("u2", b"binary", 1003), ("u3", "x" * 2000, 1009):
        async with bridge.client(uid) as client:
            await client.send(message)
            assert (await client.closed())[0] == code
    async with bridge.client("u4") as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(100):
                await client.init()
        assert (await client.closed())[0] == 4429
    with Raw(bridge, "uid=u5"):
        pass  # no Close
    wanted = {"4400": 1, "4409": 1, "1000": 1, "1003": 1, "1009": 1, "4429": 1, "1006": 1}
    await eventually(lambda: bridge.labelled("closes_total") == wanted, "each close to be counted")
    for code in "4400", "4409", "1003", "1009", "4429":
        line = bridge.wait_line(f"connection closed: {code}: ")
        assert " info: " in line and "peer 127.0.0.1" in line


def test_refused_total_counts_each_reason(start, database):
    bridge = start(database, max_clients=1)
    refusals = {"origin": {"Origin": "http://evil.example"},
                "version": {"Sec_WebSocket_Version": "8"},
                "subprotocol": {"Sec_WebSocket_Protocol": "chat"}, "upgrade": {"method": "POST"}}
    for headers in refusals.values():
        with Raw(bridge, status=None, **headers) as client:
            assert client.status != 101
    with Raw(bridge):
        Raw(bridge, status=503).socket.close()
    assert bridge.labelled("refused_total") == dict.fromkeys([*refusals, "max_clients"], 1)
    for reason in [*refusals, "max_clients"]:
        line = bridge.wait_line(f"handshake refused: {reason}: ")
        assert " info: " in line and "peer 127.0.0.1" in line


def test_refusals_are_logged_once_a_second(bridge):
    began = time.monotonic()
    n = 0
    while n < 50 or time.monotonic() - began < 1.1:
        with Raw(bridge, status=403, Origin="http://evil.example"):
            n += 1
    took = time.monotonic() - began
    assert bridge.labelled("refused_total") == {"origin": n}
    lines = bridge.lines("handshake refused: origin: ")
    assert 2 <= len(lines) <= took + 1
    assert "http://evil.example" in lines[0]
