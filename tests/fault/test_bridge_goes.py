"""The bridge is killed or stopped; clients that resume on the next one lose nothing."""

import asyncio
import signal

import pytest

from harness import wait_for
from stories import got_all, inserting, journal, rows


async def follow(bridge, database, seen, cursor=None, until=None):
    """Receives everything from the cursor until the connection ends; returns the latest cursor."""
    async with bridge.client(v1=True, since=cursor) as client:
        assert client.hello["resumed"] is bool(cursor)
        cursor = client.hello["cursor"]
        if until:
            await client.before_marker(database)
        else:
            await client.closed()
        for message in client.seen:
            cursor = message.get("cursor", cursor)
        seen += client.seen
    return cursor


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "term"])
async def test_resume_after_end_of_bridge(start, database, number):
    seen, cursor = [], None
    async with inserting(database):
        for _ in range(4):
            bridge = await asyncio.to_thread(start, database)
            following = asyncio.ensure_future(follow(bridge, database, seen, cursor))
            before = len(journal(database))
            await asyncio.to_thread(wait_for, lambda: len(journal(database)) > before + 20, "rows")
            bridge.expected = -number if number == signal.SIGKILL else 0
            bridge.signal(number)
            cursor = await following
    bridge = await asyncio.to_thread(start, database)
    await follow(bridge, database, seen, cursor, until="now")
    got = rows(seen)
    assert set(got) == {id for id in journal(database) if id >= min(got)}  # there were rows before
    assert len(got) - len(set(got)) < 20, "only events after the last cursor are repeated"


async def test_two_bridges_deliver_the_same_events(start, database):
    bridges = [start(database), start(database)]
    async with bridges[0].client() as one, bridges[1].client() as two:
        async with inserting(database):
            await asyncio.to_thread(wait_for, lambda: len(journal(database)) > 50, "rows")
        await got_all(one, database)
        await got_all(two, database)
