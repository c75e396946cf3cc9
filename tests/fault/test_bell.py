"""The bell: every commit wakes a sleeping bridge, and long transactions delay no one else."""

import asyncio
import os
import random
import signal
import threading
import time

import pytest

from harness import Cluster, Database, slow_flushes, wait_for
from stories import got_all, inserting, latencies, p99

CYCLES = int(os.environ.get("PGCAST_CYCLES", 1_000))
BRIDGES = 8


def probe_sleepers(database, stop, received, number):
    """Wakes all bridges by concurrent writes and publishes again just as they fall asleep;
    waits for all of them each time. Without a safety poll a missed bell is never repaired."""

    def probe(connection):
        number[0] += 1
        connection.execute("select pgcast.publish('u1', 'probe', to_json(%s::int))", (number[0],))
        wait_for(lambda: all(last == number[0] for last in received) or stop.is_set(),
                 f"probe {number[0]} in {received}")

    with database.connect() as connection, database.connect() as other:
        while not stop.is_set():
            with other.transaction():
                other.execute("select pgcast.publish('u1', 'beside', null)")
                probe(connection)
            time.sleep(random.uniform(0.02, 0.05))
            probe(connection)


async def test_bell_while_falling_asleep_is_not_missed(start, database):
    bridges = [start(database, safety_poll="0") for _ in range(BRIDGES)]
    received, number, stop = [0] * BRIDGES, [0], threading.Event()

    async def receive(n):
        async with bridges[n].client(types="probe") as client:
            while True:
                message = await client.next()
                client.seen.clear()
                if message["type"] == "probe":
                    received[n] = message["data"]

    def slept():
        return sum(bridge.metrics()["pgcast_sleeps_total"] for bridge in bridges)

    receiving = [asyncio.ensure_future(receive(n)) for n in range(BRIDGES)]
    await asyncio.to_thread(wait_for, lambda: all(b.metrics()["pgcast_clients"] for b in bridges),
                            "clients")
    probing = asyncio.ensure_future(
        asyncio.to_thread(probe_sleepers, database, stop, received, number))
    try:
        began = time.monotonic()
        while not probing.done() and await asyncio.to_thread(slept) < CYCLES:
            await asyncio.sleep(0.2)
        stop.set()
        await probing
        print(f"{await asyncio.to_thread(slept):.0f} times asleep, {number[0]} probes,"
              f" {time.monotonic() - began:.0f} s")
        assert not any(task.done() for task in receiving)
    finally:
        stop.set()
        for task in receiving:
            task.cancel()
        await asyncio.gather(*receiving, return_exceptions=True)


@pytest.fixture
def on_slow_disk():
    with slow_flushes(10):
        cluster = Cluster("fsync=on")
    with cluster:
        made = Database(cluster)
        made.install()
        yield made


def write_alone(database, n):
    with database.connect() as connection:
        for _ in range(n):
            connection.execute("insert into log(uid) values ('u1')")


@pytest.mark.parametrize("n", [3, 8])
def test_bells_of_concurrent_writers_are_suppressed(on_slow_disk, start, n):
    """PostgreSQL serialises commits with NOTIFY, flushes included."""
    bridge = start(on_slow_disk)
    writers = [threading.Thread(target=write_alone, args=(on_slow_disk, 408 // n))
               for _ in range(n)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wait_for(lambda: bridge.metrics()["pgcast_events_total"] == 408, "the events")
    assert bridge.metrics()["pgcast_bells_total"] < 100


def test_bells_of_single_writer_depend_on_its_rate(bridge, database):
    """A notification per commit costs a slow writer little and avoids the wait for a turn."""
    with database.connect() as connection:
        for n in range(1, 11):
            connection.execute("insert into log(uid) values ('u1')")
            wait_for(lambda: bridge.metrics()["pgcast_events_total"] == n, "the event")
        # Some may have run beside an unrelated transaction.
        assert bridge.metrics()["pgcast_bells_total"] > 5
        connection.execute("do $$ begin for n in 1..5000 loop"
                           " insert into log(uid) values ('u1'); commit; end loop; end $$")
    wait_for(lambda: bridge.metrics()["pgcast_events_total"] == 5010, "the events")
    assert bridge.metrics()["pgcast_bells_total"] < 4500


async def test_latency_beside_idle_transaction(bridge, database):
    async with bridge.client() as client:
        without = await latencies(client, database)
        with database.connect() as idle:
            idle.execute("begin")
            idle.execute("insert into log(uid) values ('u1')")
            beside = await latencies(client, database)
            async with inserting(database):
                await asyncio.sleep(0.2)
            idle.execute("commit")
        print(f"p99 without {p99(without):.2f} ms, beside an idle transaction {p99(beside):.2f} ms,"
              f" ratio {p99(beside) / p99(without):.2f}")
        await got_all(client, database)


def test_writer_does_not_wait_for_killed_bridge(start, database):
    """The lock of the bridge ends with its session; until then writers notify no one."""
    bridge = start(database)
    bridge.expected = -signal.SIGKILL
    os.kill(bridge.process.pid, signal.SIGKILL)
    with database.connect(options="-c statement_timeout=5s") as connection:
        connection.execute("insert into log(uid) values ('u1')")
