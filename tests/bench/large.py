"""Large transactions and long catching up, and the latency of another client meanwhile."""

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import websockets

from load import Load
from servers import Pgcast, Rows, reset_peak, rss_bytes, session
from stream import cursor_now

PROBE = Path(__file__).parents[1] / "fault/probe.py"
TIMEOUT = 1800  # seconds
REST = 5  # seconds


class Probe:
    """A client with a message of its own every 20 ms, in a process of its own."""

    def __init__(self, database, port):
        self.late = []  # time of a commit, milliseconds until its message was received
        self.process = subprocess.Popen(
            [sys.executable, PROBE, database.conninfo(), str(port)],
            stdout=subprocess.PIPE, text=True)
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.late.append([float(word) for word in line.split()])

    def between(self, began, ended):
        """In ascending order."""
        return sorted(late for at, late in self.late if began <= at < ended)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reading.join()


@contextlib.contextmanager
def probing(database, server):
    """Yields figures, and adds the latency of another client: at rest, and during the block."""
    probe, figures = Probe(database, server.port), {}
    try:
        rested = time.time()
        time.sleep(REST)
        began = time.time()
        yield figures
        at_rest, meanwhile = probe.between(rested, began), probe.between(began, time.time())
    finally:
        probe.stop()
    figures |= {"rest_p99": at_rest[int(len(at_rest) * 0.99)],
                "others_p99": meanwhile[int(len(meanwhile) * 0.99)], "others_max": meanwhile[-1]}


def large(bench):
    """The client is live, and receives the rows by catching up, since they exceed a pull."""
    database, rows = bench.database(), bench.size(10000000, 50000)
    with session(lambda: Pgcast(database), 1, 1) as (server, load, writer):
        backends = SimpleNamespace(pids=writer.readers())
        with probing(database, server) as figures:
            reset_peak(server)
            before = rss_bytes(server)
            load.expect(rows, TIMEOUT)
            committed = writer.burst([(0, 1, 1, rows)])
            last = load.result()["last_us"]
        return {"large_rate": rows / (last - committed) * 1e6,
                "large_memory": (rss_bytes(server, "VmHWM") - before) / 2 ** 20,
                "large_reader_memory": rss_bytes(backends, "VmHWM") / 2 ** 20,
                **{f"large_{name}": value for name, value in figures.items()}}


def resume(database, server, clients, cursor, events):
    """Seconds until clients that resume have all events, and the latency of another one."""
    with probing(database, server) as figures:
        began = time.monotonic()
        load = Load(server.port, clients, clients, cursor=cursor)
        load.expect(events, TIMEOUT)
        load.result()
        took = time.monotonic() - began
        load.stop()
    return {"time": took} | figures


def far(bench):
    """Clients that resume after many events of their own, and after many broadcasts."""
    database, figures = bench.database(), {}
    server = Pgcast(database)
    own, news = Rows(database, "tick_pgcast"), Rows(database, "news_pgcast")
    try:
        news.burst([(0, 1, 1, bench.size(20000, 200))])
        for clients in 3000, 10000:
            clients = bench.size(clients, clients // 100)
            cursor = asyncio.run(cursor_now(server.bridge, database))
            own.stream([(0, clients, n, 1) for n in range(1, 11)])
            got = resume(database, server, clients, cursor, 10)
            figures |= {f"far_{name}_{clients}": value for name, value in got.items()}
        cursor = asyncio.run(cursor_now(server.bridge, database))
        events = bench.size(2000000, 5000)
        news.stream([(0, 1, n, 1000) for n in range(1, events, 1000)])
        got = resume(database, server, 20, cursor, events)
        return figures | {f"far_{name}_news": value for name, value in got.items()}
    finally:
        own.close()
        news.close()
        server.stop()


SLOW = """create table slow (id int, uid text, primary key (uid, id));
    alter table slow enable row level security;
    create policy slowly on slow for select to pgcast_owner using (pg_sleep(2) is not null);
    select pgcast.watch('slow');
    insert into slow select n, 'u' || n from generate_series(0, 1999) n"""


async def ask(port, uid, seconds):
    """One init after the other, of two seconds each."""
    async with websockets.connect(f"ws://127.0.0.1:{port}/?uid={uid}&init=slow",
                                  compression=None, ping_interval=None) as socket:
        ends = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(socket.recv(), 1)
                await socket.send('{"cmd":"init","type":"slow"}')


async def ask_all(port, clients, seconds):
    await asyncio.gather(*(ask(port, f"u{n}", seconds) for n in range(clients)))


def questions(bench):
    """The latency of another client while one, and 2,000, ask for rows that take two seconds."""
    database, figures = bench.database(), {}
    for command in SLOW.split(";"):
        database.execute("set client_min_messages = error", command)
    server = Pgcast(database)
    try:
        for clients in 1, bench.size(2000, 20):
            with probing(database, server) as got:
                asyncio.run(ask_all(server.port, clients, bench.size(20, 4)))
            figures |= {f"questions_{name}_{clients}": value for name, value in got.items()}
    finally:
        server.stop()
    return figures
