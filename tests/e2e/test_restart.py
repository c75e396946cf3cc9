"""Drain: the clients of an ending process are closed one by one and resume on a new process."""

import asyncio
import contextlib
import time

import pytest

from harness import eventually
from stream import data, publishing


async def test_drain_hands_clients_to_new_process(start, database):
    old = start(database, drain_time="2s")
    ready, new, closed, received = asyncio.Semaphore(0), [], [], []

    async def live(uid):
        async with old.client(uid, v1=True) as client:
            ready.release()
            code, _ = await client.closed()
            closed.append((time.monotonic(), code))
        cursor = [message["cursor"] for message in client.seen if "cursor" in message][-1]
        bridge = await eventually(lambda: new and new[0], "the new process")
        async with bridge.client(uid, v1=True, since=cursor) as again:
            assert again.hello["resumed"] is True
            await again.until(lambda message: message.get("data") == "the end")
        received.append(data(client.seen + again.seen)[:-1])

    with publishing(database, uid=None) as count:
        tasks = [asyncio.create_task(live(f"u{n % 4}")) for n in range(24)]
        for _ in tasks:
            await ready.acquire()
        first = count[0]
        address = old.address
        old.signal()
        began = time.monotonic()
        await eventually(lambda: old.get("/readyz")[0] == 503, "the drain to begin")
        new.append(await asyncio.to_thread(start, database, listen=address))
        assert old.alive(), "the processes overlap"
        assert await asyncio.to_thread(old.wait) == 0
        last = count[0]
        await eventually(lambda: count[0] > last + 10, "more events")
    database.publish(None, "the end")
    await asyncio.gather(*tasks)

    assert {code for _, code in closed} == {1012}
    moments = [at - began for at, _ in closed]
    assert max(moments) > 1 and sum(moment < 0.5 for moment in moments) < 12, "not all at once"
    for got in received:
        # Events after the latest cursor come again.
        once = list(dict.fromkeys(got))
        assert once == list(range(once[0], count[0])) and once[0] <= first + 1


async def test_drain_continues_delivery(start, database):
    """Of 100 clients one is closed every 50 ms."""
    bridge = start(database, drain_time="10s", max_clients_per_uid=0)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client()) for _ in range(100)]
        bridge.signal()
        await clients[0].closed()
        database.publish("u1", "still here")
        assert (await clients[-1].next())["data"] == "still here"
        bridge.signal()
        bridge.expected = bridge.wait()


async def test_drain_refuses_new_clients(start, database):
    bridge = start(database, drain_time="1s")
    async with bridge.client() as client:
        address = bridge.address
        bridge.signal()
        await eventually(lambda: bridge.get("/readyz")[0] == 503, "the drain to begin")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address.split(":"))
        await client.closed()


async def test_drain_without_clients_ends_at_once(start, database):
    bridge = start(database, drain_time="1h")
    bridge.signal()
    assert bridge.wait() == 0
