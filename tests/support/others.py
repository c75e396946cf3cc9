"""The events of one uid stay in time while another client, writer or table has trouble."""

import asyncio
import contextlib
import threading
import time

from raw import PING, PONG, Raw

LIMIT = 1  # seconds from commit to arrival
PROBES = 10  # at least


class Probes:
    """A thread that publishes to a uid and notes how long each event takes. It has a plain socket,
    since the event loop of the test is busy with other clients."""

    def __init__(self, bridge, database):
        self.bridge, self.database = bridge, database
        self.delays, self.error, self.stop = [], None, threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        try:
            with Raw(self.bridge, "uid=probe&types=probe") as client, \
                    self.database.connect() as connection:
                while len(self.delays) < PROBES or not self.stop.wait(0.01):
                    self._probe(client, connection)
        except Exception as error:
            self.error = error

    def _probe(self, client, connection):
        number = f'"number {len(self.delays)}"'
        connection.execute("select pgcast.publish('probe', 'probe', %s::json)", (number,))
        committed = time.monotonic()
        frame = client.frame()
        while frame and number.encode() not in frame.payload:
            if frame.opcode == PING:
                client.send(PONG, frame.payload)
            frame = client.frame()
        assert frame, "the client was closed"
        self.delays.append(time.monotonic() - committed)


@contextlib.asynccontextmanager
async def others_live(bridge, database, limit=LIMIT):
    """To the end of the block, each event of the uid "probe" arrives within the limit, and the
    bridge keeps its connection to the database."""
    connects = await metric(bridge, "database_connects_total")
    probes = Probes(bridge, database)
    try:
        yield
    finally:
        probes.stop.set()
        await asyncio.to_thread(probes.thread.join)
    if probes.error:
        raise probes.error
    slowest = max(probes.delays)
    print(f"{len(probes.delays)} probes, max {1000 * slowest:.0f} ms")
    assert slowest < limit
    assert await metric(bridge, "database_connects_total") == connects


async def metric(bridge, name):
    return (await asyncio.to_thread(bridge.metrics))[f"pgcast_{name}"]


async def execute(database, *commands):
    """In a thread, so that the clients go on."""
    await asyncio.to_thread(database.execute, *commands)
