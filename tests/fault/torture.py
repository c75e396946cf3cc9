"""Injects faults of all kinds at once and compares the events at the clients with the journal.
Before that, strains (see strains.py) occur alone: others_p99_ms has the latency of others' events
during each, and loop_busy_max_ms the longest pass of that bridge's loop.

script/torture runs it; its options are in options(). It reports

    lost         events that were due to a client and never came
    untold       events that came, are not in the journal, and were not revoked by a later reset
    duplicated   events that came twice within one connection
    misordered   changes of a row that came out of order
    repeated     events that came again although the cursor of the resume was after them
    unknown      events that came and are not in the journal: only after commits were lost
    torn, stale  changes that do not fit the answer to init; rows that differ at the end
    silent       cursors that were invalid, without a reset
    unsettled    clients that did not receive the last event
    crashes      bridges that ended without being stopped
    forms        further texts of equal values, due to settings of writers' sessions: only reported
    reconnects   of the link to the database, caused by strains alone (see strains.py)
    stalled      strains after which others received nothing for 30 s
    unanswered   questions of clients, init, that were neither answered nor refused
    naive_lost   events that a reader of "id > last" would have lost: the run was hard enough
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg

from clients import Client, Naive, Plain
from harness import Bridge, Cluster, Database, Standby, eventually, free_port
from proxy import Proxy
from stories import backends, frozen
from strains import Alone, Strains
from verdict import Verdict
from writers import Writers

UIDS = [*(f"u{n}" for n in range(6)), "ü{\"NULL,\\", "o'dd %s;\t"]
SETTLE = 60  # seconds from the last fault until all clients must have everything


class Site:
    """A bridge that is restarted on the same port whenever it is killed, and its network."""

    def __init__(self, database, cluster=None, **settings):
        self.database, self.port, self.settings = database, free_port(), settings
        self.cluster = cluster or database.cluster
        self.crashes = 0  # ends without being stopped
        self.earlier_log = []  # of the previous processes

    async def start(self):
        directory = self.cluster.directory
        self.to_database = await Proxy(f"{directory}/.s.PGSQL.5432").start()
        self.to_clients = await Proxy(("127.0.0.1", self.port)).start()
        self.run()

    def run(self):
        self.bridge = Bridge(
            f"host=127.0.0.1 port={self.to_database.port} dbname={self.database.name} user=bridge",
            listen=f"127.0.0.1:{self.port}", send_buffer="32kB", slow_timeout="4s",
            ping_interval="2s",
            ping_timeout="6s", drain_time="300ms", **self.settings)

    async def again(self, number):
        """Ends the bridge and starts the next one."""
        self.bridge.signal(number)
        code = await asyncio.to_thread(self.bridge.wait)
        self.earlier_log += self.bridge.log
        self.crashes += code not in (0, -number)
        self.run()

    async def stop(self):
        await self.to_clients.stop()
        self.crashes += await asyncio.to_thread(self.bridge.stop) != 0
        await self.to_database.stop()

    @property
    def log(self):
        return self.earlier_log + self.bridge.log


class Faults:
    """Injects one fault after the other, in lanes: servers, the network of the clients, strains."""

    def __init__(self, database, sites, strains, random, mean, synchronous):
        self.strains = strains
        self.database, self.sites, self.random, self.mean = database, sites, random, mean
        self.synchronous = synchronous
        self.counts = Counter()
        self.stopping = False

    async def run(self):
        await asyncio.gather(
            self._lane(self.mean, [self.kill_bridge, self.restart_bridge, self.restart_database,
                                   self.crash_database, self.terminate_backend, self.freeze_backend,
                                   self.cut_database, self.reset_database, self.slow_database,
                                   self.slice_database, self.black_hole_database,
                                   *([] if self.synchronous else [self.crash_database] * 6)]),
            self._lane(self.mean, [self.cut_clients, self.reset_clients, self.slow_clients,
                                   self.slice_clients, self.black_hole_clients]),
            *([self._lane(self.mean, self.strains.all, self._strain)] if self.strains else []))

    async def _strain(self, strain):
        # The server may fail meanwhile, and the network may be silent.
        with contextlib.suppress(psycopg.Error, OSError, TimeoutError):
            async with asyncio.timeout(20):
                await strain()

    async def _fault(self, fault):
        await fault(self.random.choice(self.sites))

    async def _lane(self, mean, faults, inject=None):
        waiting = []
        while not self.stopping:
            await asyncio.sleep(self.random.uniform(0, 2 * mean))
            if not waiting:  # each once before any is repeated
                waiting = self.random.sample(faults, len(faults))
            fault = waiting.pop()
            self.counts[fault.__name__] += 1
            await (inject or self._fault)(fault)

    def _while(self):
        return asyncio.sleep(self.random.uniform(0.5, 4))

    async def kill_bridge(self, site):
        await site.again(signal.SIGKILL)

    async def restart_bridge(self, site):
        await site.again(signal.SIGTERM)

    async def restart_database(self, site):
        await asyncio.to_thread(self.database.cluster.down)
        await asyncio.to_thread(self.database.cluster.up)

    async def crash_database(self, site):
        writer = [] if self.synchronous else await asyncio.to_thread(
            backends, self.database, "backend_type = 'walwriter'")
        for pid in writer:  # keeps commits in memory
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(len(writer))
        crashing = asyncio.ensure_future(asyncio.to_thread(self.database.cluster.crash))
        await asyncio.sleep(0.1)
        for pid in writer:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await crashing
        await asyncio.to_thread(self.database.cluster.up)

    async def terminate_backend(self, site):
        for pid in await asyncio.to_thread(backends, self.database):
            await asyncio.to_thread(self.database.execute, f"select pg_terminate_backend({pid})")

    async def freeze_backend(self, site):
        with frozen(await asyncio.to_thread(backends, self.database)):
            await asyncio.sleep(self.random.choice([1, 3, 8]))

    async def cut_database(self, site):
        site.to_database.cut()

    async def reset_database(self, site):
        site.to_database.reset()

    async def slow_database(self, site):
        with site.to_database.slow(0.05):
            await self._while()

    async def slice_database(self, site):
        with site.to_database.sliced(37):
            await self._while()

    async def black_hole_database(self, site):
        with site.to_database.black_hole():
            await self._while()
        if self.random.random() < 0.5:
            site.to_database.reset()

    async def cut_clients(self, site):
        site.to_clients.cut()

    async def reset_clients(self, site):
        site.to_clients.reset()

    async def slow_clients(self, site):
        with site.to_clients.slow(0.05):
            await self._while()

    async def slice_clients(self, site):
        with site.to_clients.sliced(11):
            await self._while()

    async def black_hole_clients(self, site):
        with site.to_clients.black_hole():
            await self._while()
        if self.random.random() < 0.5:
            site.to_clients.reset()


class Torture:
    def __init__(self, options):
        self.options = options
        self.began = time.monotonic()

    def _random(self, part):
        """A random stream of its own for each part, independent of the others."""
        return random.Random(f"{self.options.seed} {part}")

    async def run(self):
        cluster = Cluster("max_prepared_transactions=50", "deadlock_timeout=200ms",
                          "wal_writer_delay=10s",
                          "wal_retrieve_retry_interval=200ms",
                          f"synchronous_commit={'off' if self.options.asynchronous else 'on'}")
        standby = None
        try:
            self.database = Database(cluster, options="template template0 locale 'C'"
                                     f" encoding '{self.options.encoding}'")
            self.database.install()
            self.writers = Writers(
                self.database.conninfo(), self._random("writers"), UIDS, rate=self.options.rate,
                synchronous=not self.options.asynchronous,
                settings=3 if self.options.size else 0)
            self.writers.prepare()
            if self.options.standby:
                standby = Standby(cluster)
            return await self._on_sites([
                Site(self.database),
                Site(self.database, source="poll" if self.options.poll else "auto"),
                *([Site(self.database, standby)] if standby else [])])
        finally:
            if standby:
                standby.remove()
            cluster.remove()

    async def _on_sites(self, sites):
        self.alone = None
        for site in sites:
            await site.start()
        try:
            report = await self._with_clients(sites)
        finally:
            for site in sites:
                await site.stop()
            if self.options.log:
                Path(self.options.log).write_text("\n".join(
                    f"{n}: {line}" for n, site in enumerate([*sites, self.alone]) if site
                    for line in site.log))
        return report | {"crashes": sum(one.crashes for one in [*sites, self.alone] if one)}

    def _clients(self, ports):
        mistakes = ["lose", "repeat", "alter", "swap"] if self.options.sabotage else []
        return [Client(ports, self._random(f"client {n}"), UIDS[n % len(UIDS)],
                       faultless=self.options.faultless,
                       types=("item", "chat") if n % 5 == 4 else None,
                       mistake=mistakes[n] if n < len(mistakes) else None,
                       latest=self.options.asynchronous, replays=n % 3 == 2 and not mistakes)
                for n in range(self.options.clients)]

    async def _with_clients(self, sites):
        def connect():
            return psycopg.AsyncConnection.connect(self.database.conninfo(), autocommit=True)

        ports = [site.to_clients.port for site in sites]
        self.clients = self._clients(ports)
        # Without control messages they cannot learn that commits were lost.
        self.plain = [] if self.options.asynchronous else [
            Plain(ports, self._random(f"plain {n}"), uid, connect) for n, uid in enumerate(UIDS)]
        # Their oldest cursors may be invalid, too.
        strains = None
        if self.options.size and not self.options.asynchronous:
            strains = Strains(self.database, self.clients, ports, self._random("strains"),
                              self.options.size, connect)
            await asyncio.to_thread(strains.prepare)
        self.alone = Alone(self.database, strains) if strains else None
        naive = Naive(connect, UIDS)
        faults = Faults(self.database, sites, strains, self._random("faults"), self.options.mean,
                        not self.options.asynchronous)
        running = [asyncio.ensure_future(one.run()) for one in [*self.clients, *self.plain, naive]]
        try:
            await asyncio.wait_for(asyncio.gather(*(client.began.wait()
                                                    for client in self.clients)), 60)
            writing = asyncio.ensure_future(self.writers.run())
            if self.alone:
                await self.alone.run()
            breaking = [] if self.options.faultless else [asyncio.ensure_future(faults.run())]
            await asyncio.wait([writing, *breaking], timeout=self.options.minutes * 60,
                               return_when=asyncio.FIRST_COMPLETED)
            faults.stopping = True
            await asyncio.gather(*breaking)
            self.writers.stopping = True
            await writing
            await self.writers.finish_prepared()
            unsettled = await self._settle(sites)
            await asyncio.sleep(0.1)
            naive.stopping = True
            return await asyncio.to_thread(self._report, faults, naive, unsettled)
        finally:
            for one in [*self.clients, *self.plain]:
                one.stopping = True
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _settle(self, sites):
        """Sends each client a last message; returns how many did not receive it in time."""
        for client in self.clients:
            client.faultless = True
        deadline = time.monotonic() + SETTLE
        while time.monotonic() < deadline and not all(client.ended for client in self.clients):
            # more than once, since a client that begins anew after a reset begins after it
            await asyncio.to_thread(self.database.publish, None, "end")
            with contextlib.suppress(AssertionError):
                await eventually(lambda: all(client.ended for client in self.clients), "all", 3)
        unsettled = sum(not client.ended for client in self.clients)
        if unsettled:
            for site in sites:
                site.bridge.log.append(f"torture: {await asyncio.to_thread(site.bridge.metrics)}")
            await asyncio.sleep(self.options.hold)
        return unsettled

    def _compared(self, verdict):
        for number, client in enumerate(self.clients):
            yield number, client.notes, verdict.compare(client.notes)
            if client.replica:
                yield number, client.notes, (0, verdict.compare_replica(client.uid, client.replica))
        for name, plain in [*((f"plain {n}", plain) for n, plain in enumerate(self.plain)),
                            *((f"far {n}", plain) for n, plain in enumerate(self.far))]:
            for notes, began, ended in [*plain.complete,
                                        *((notes, None, None) for notes in plain.broken)]:
                yield name, notes, verdict.compare_between(notes, began, ended)

    def _report(self, faults, naive, unsettled):
        self.far = self.alone.strains.far if self.alone else []
        with self.database.connect() as db:
            verdict = Verdict(db, UIDS)
        wrong, due, ids = Counter(), 0, {}
        for name, notes, (n, found) in self._compared(verdict):
            due += n
            for kind, bad in found.items():
                wrong[kind] += len(bad)
                if bad and kind in forbidden(not self.options.asynchronous):
                    ids.setdefault(kind, []).append({
                        "client": name, "uid": notes.uid, "ids": bad[:3] + bad[-1:],
                        "connections": notes.around(bad)})
        latencies = sorted(late for client in self.clients for late in client.notes.latencies)
        refusals = sum((Counter({str(k): n for k, n in client.refusals.items()})
                        for client in self.clients),
                       Counter())
        return {
            "seed": self.options.seed, "synchronous_commit": not self.options.asynchronous,
            "seconds": round(time.monotonic() - self.began), "events": verdict.events,
            "transactions": self.writers.transactions, "clients": len(self.clients),
            "plain": len(self.plain),
            "plain_connections": sum(len(plain.complete) for plain in self.plain),
            "plain_broken": sum(len(plain.broken) for plain in self.plain), "due": due,
            "resumes": sum(client.resumes for client in self.clients),
            "resets": dict(Counter(reason for client in [*self.clients, *self.far]
                                   for reason in client.resets)),
            "silent": sum(client.silent for client in self.clients),
            "ends": dict(refusals), "faults": dict(faults.counts), "unsettled": unsettled,
            **{kind: wrong[kind]
               for kind in ("lost", "duplicated", "misordered", "repeated", "unknown", "untold",
                                                "torn", "stale")},
            "inits": sum(client.replica.inits for client in self.clients if client.replica),
            "first": ids,
            "forms": max(0, verdict.forms - 1), **(self.alone.report() if self.alone else {}),
            "far": sum(len(far.complete) for far in self.far),
            "naive_lost": len(verdict.ids_by_uid - naive.ids),
            "latency_ms": {name: round(1000 * latencies[int(len(latencies) * share)], 1)
                           if latencies else None
                           for name, share in (("p50", 0.5), ("p99", 0.99))},
        }


def forbidden(synchronous):
    """The faults that must not occur. Without synchronous commits a crash revokes events that
    clients have seen, and their transaction ids are used again."""
    names = ["lost", "untold", "duplicated", "misordered", "torn", "stale", "unsettled", "silent",
             "crashes", "reconnects", "unanswered", "stalled"]
    return names + ["repeated", "resets", "unknown"] if synchronous else names


def failures(report):
    return {name: report[name] for name in forbidden(report["synchronous_commit"])
            if report.get(name)}


def options(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--rate", type=float, default=400, help="events per second, about")
    parser.add_argument("--mean", type=float, default=2, help="seconds between faults, on average")
    parser.add_argument("--size", type=float, default=1,
                        help="of strains: 1: bulk transactions of 100,000 rows; 0: no strains")
    parser.add_argument("--encoding", default="UTF8", help="of the database; UTF8, LATIN1")
    parser.add_argument("--asynchronous", action="store_true", help="synchronous_commit = off")
    parser.add_argument("--poll", action="store_true", help="the second bridge polls")
    parser.add_argument("--standby", action="store_true", help="one more bridge, on a standby")
    parser.add_argument("--faultless", action="store_true", help="no faults")
    parser.add_argument("--sabotage", action="store_true", help="clients make mistakes")
    parser.add_argument("--hold", type=float, default=0,
                        help="seconds to examine bridges that hang")
    parser.add_argument("--json", help="where to write the report, too")
    parser.add_argument("--log", help="where to write the bridges' log")
    return parser.parse_args(words)


async def until_sigterm(running):
    """Ends in order on SIGTERM."""
    task = asyncio.ensure_future(running)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main(words):
    chosen = options(words)
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    print(f"seed {chosen.seed}", flush=True)
    report = asyncio.run(until_sigterm(Torture(chosen).run()))
    for name, value in report.items():
        print(f"{name:20} {value}")
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(report) + "\n")
    return int(bool(failures(report)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
