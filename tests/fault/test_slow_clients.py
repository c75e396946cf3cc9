"""Clients that stop reading or vanish: they cost little memory and do not slow down the others."""

import asyncio
import contextlib
import re
import time

import pytest

from proxy import Proxy
from raw import Raw
from stories import latencies, metric, p99, resident, rows, until_metric

MiB = 1 << 20
ROW = 10_000  # bytes
ROWS = 1_050  # 10.5 MB


def write_much(database):
    for _ in range(ROWS // 50):
        database.execute(f"insert into log(uid, action) select 'u1', repeat('x', {ROW})"
                         " from generate_series(1, 50)")


async def test_slow_clients_use_bounded_memory(start, database):
    bridge = start(database, max_clients_per_uid=101)
    async with bridge.client(types="probe") as other:
        without = await latencies(other, database)
    stopped = [Raw(bridge, receive_buffer=4096).socket for _ in range(50)]
    try:
        async with contextlib.AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(bridge.client()) for _ in range(50)]
            before = resident(bridge)
            reading = [asyncio.ensure_future(reader.until(lambda message: message["type"] == "end"))
                       for reader in readers]
            peak, writing = before, asyncio.ensure_future(asyncio.to_thread(write_much, database))
            while not writing.done():
                await asyncio.sleep(0.05)
                peak = max(peak, resident(bridge))
            await writing
            database.publish("u1", None, "end")
            await asyncio.wait_for(asyncio.gather(*reading), 90)
            peak = max(peak, resident(bridge))
            for reader in readers:
                assert len(set(rows(reader.seen))) == len(rows(reader.seen)) == ROWS
            print(f"memory grew by {(peak - before) / MiB:.1f} MiB")
            assert peak - before < 50 * 256 * 1024 + 4 * MiB
            assert await metric(bridge, "fallen_behind_total") >= 50
        async with bridge.client(types="probe") as other:
            beside = await latencies(other, database)
        print(f"p99 without {p99(without):.2f} ms, beside slow clients {p99(beside):.2f} ms,"
              f" ratio {p99(beside) / p99(without):.2f}")
    finally:
        for client in stopped:
            client.close()


async def test_slow_client_receives_everything_after_pause(start, database):
    bridge = start(database, send_buffer="32kB")
    async with bridge.client() as client, bridge.client(v1=True) as other:
        for slow in client, other:
            slow.socket.transport.pause_reading()
        await asyncio.to_thread(write_much, database)
        await until_metric(bridge, "fallen_behind_total", lambda n: n >= 2)
        for slow in client, other:
            slow.socket.transport.resume_reading()
        for slow in client, other:
            await slow.before_marker(database)
            assert len(rows(slow.seen)) == ROWS
            assert rows(slow.seen) == sorted(set(rows(slow.seen)))


async def test_slow_timeout_closes_with_4508(start, database):
    bridge = start(database, send_buffer="32kB", slow_timeout="500ms")
    async with bridge.client(close_timeout=1) as client, bridge.client() as other:
        client.socket.transport.pause_reading()
        await asyncio.to_thread(write_much, database)
        await until_metric(bridge, "too_slow_total", lambda n: n == 1)
        client.socket.transport.resume_reading()
        assert await client.closed() == (4508, "too slow")
        await other.before_marker(database)
        assert len(rows(other.seen)) == ROWS


async def test_ping_timeout_drops_vanished_client(start, database):
    bridge = start(database, ping_interval="1s", ping_timeout="1s")
    host, port = bridge.address.rsplit(":", 1)
    proxy = await Proxy((host, int(port))).start()
    try:
        vanished = await asyncio.to_thread(Raw, proxy)
        async with bridge.client() as other:
            with proxy.black_hole():
                await until_metric(bridge, "ping_timeouts_total", lambda n: n == 1, 5)
                await until_metric(bridge, "clients", lambda n: n == 1)
            assert await other.before_marker(database) == []
        vanished.socket.close()
    finally:
        await proxy.stop()


def read_ids(client, last):
    """The ids of all events up to the last, read from the bytes without parsing frames."""
    seen, rest = [], b""
    while not seen or seen[-1] < last:
        piece = client.recv(1 << 20)
        assert piece, f"closed after {len(seen)} events"
        rest += piece
        cut = rest.rfind(b',"at":"')
        if cut > 0:
            seen += [int(id) for id in re.findall(rb'"id":(\d+),"at"', rest[:cut + 7])]
            rest = rest[cut + 7:]
    return seen


@pytest.mark.timeout(400)
async def test_backlog_of_a_million_rows_uses_bounded_memory(start, database):
    bridge = start(database)
    async with bridge.client(v1=True) as client:
        cursor = client.hello["cursor"]
    bridge.stop()
    database.execute("create table many(uid text, n int)", "select pgcast.watch('many')",
                     "insert into many select 'u1', n from generate_series(1, 1000000) n")
    bridge = start(database, ping_interval="1h")
    last = database.value("select max(id) from pgcast.event")
    before, began = resident(bridge), time.monotonic()
    client = Raw(bridge, f"uid=u1&since={cursor}").socket
    try:
        reading = asyncio.ensure_future(asyncio.to_thread(read_ids, client, last))
        peak = before
        while not reading.done():
            await asyncio.sleep(0.05)
            peak = max(peak, resident(bridge))
        seen = await reading
    finally:
        client.close()
    print(f"{time.monotonic() - began:.1f} s, {(peak - before) / MiB:.1f} MiB more")
    assert seen == list(range(last - 999_999, last + 1))
    assert peak - before < 32 * MiB
