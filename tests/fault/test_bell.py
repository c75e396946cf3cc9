"""The bell: bridges that sleep are woken by every commit, and long transactions stall nobody."""

import asyncio
import os
import random
import signal
import threading
import time

from harness import wait_for
from stories import got_all, latencies, p99, writing

CYCLES = int(os.environ.get("PGCAST_CYCLES", 1_000))
BRIDGES = 8


def ring(database, stop, heard, number):
    """Wakes everybody for good with a burst, and rings once more just when they fall asleep again;
    waits for all of them each time. Without a safety poll a missed bell is never made good."""
    with database.connect() as connection:
        while not stop.is_set():
            number[0] += 1
            for _ in range(7):
                connection.execute("select pgcast.publish('u1', 'burst', null)")
            time.sleep(random.uniform(0.02, 0.05))
            connection.execute("select pgcast.publish('u1', 'probe', to_json(%s::int))", (number[0],))
            wait_for(lambda: all(last == number[0] for last in heard) or stop.is_set(),
                     f"probe {number[0]} in {heard}")


async def test_no_bell_is_missed_while_falling_asleep(start, database):
    bridges = [start(database, safety_poll="0") for _ in range(BRIDGES)]
    heard, number, stop = [0] * BRIDGES, [0], threading.Event()

    async def listen(n):
        async with bridges[n].client(types="probe") as client:
            while True:
                message = await client.next()
                client.seen.clear()
                if message["type"] == "probe":
                    heard[n] = message["data"]

    def slept():
        return sum(bridge.metrics()["pgcast_sleeps_total"] for bridge in bridges)

    listening = [asyncio.ensure_future(listen(n)) for n in range(BRIDGES)]
    await asyncio.to_thread(wait_for, lambda: all(b.metrics()["pgcast_clients"] for b in bridges), "clients")
    ringing = asyncio.ensure_future(asyncio.to_thread(ring, database, stop, heard, number))
    try:
        began = time.monotonic()
        while not ringing.done() and await asyncio.to_thread(slept) < CYCLES:
            await asyncio.sleep(0.2)
        stop.set()
        await ringing
        print(f"{await asyncio.to_thread(slept):.0f} times asleep, {number[0]} probes,"
              f" {time.monotonic() - began:.0f} s")
        assert not any(task.done() for task in listening)
    finally:
        stop.set()
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


async def test_an_idle_writing_transaction_stalls_nobody(bridge, database):
    async with bridge.client() as client:
        without = await latencies(client, database)
        with database.connect() as idle:
            idle.execute("begin")
            idle.execute("insert into log(uid) values ('u1')")
            beside = await latencies(client, database)
            async with writing(database):
                await asyncio.sleep(0.2)
            idle.execute("commit")
        print(f"p99 without {p99(without):.2f} ms, beside an idle transaction {p99(beside):.2f} ms,"
              f" ratio {p99(beside) / p99(without):.2f}")
        await got_all(client, database)


def test_a_killed_sleeper_does_not_keep_writers_waiting(start, database):
    """Its lock goes with its session; until then writers ring for nobody."""
    bridge = start(database)
    bridge.expected = -signal.SIGKILL
    os.kill(bridge.process.pid, signal.SIGKILL)
    with database.connect(options="-c statement_timeout=5s") as connection:
        connection.execute("insert into log(uid) values ('u1')")
