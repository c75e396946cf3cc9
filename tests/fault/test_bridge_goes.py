"""The bridge itself goes away, by force or politely; who resumes on the next one has lost nothing."""

import asyncio
import signal

import pytest

from harness import wait_for
from stories import got_all, inserting, journal, rows


async def follow(bridge, database, seen, cursor=None, until=None):
    """Takes everything, from the cursor on, until the connection ends; returns the latest cursor."""
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
async def test_who_resumes_on_the_next_bridge_has_lost_nothing(start, database, number):
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
    assert len(got) - len(set(got)) < 20, "only what came behind the last cursor comes again"


async def test_two_bridges_of_a_database_give_the_same(start, database):
    bridges = [start(database), start(database)]
    async with bridges[0].client() as one, bridges[1].client() as two:
        async with inserting(database):
            await asyncio.to_thread(wait_for, lambda: len(journal(database)) > 50, "rows")
        await got_all(one, database)
        await got_all(two, database)
