"""Measures all competitors in one run on one machine: script/bench calls this.

Competitors take turns, A B C A B C, so that other load on the machine affects all of them alike;
the median of the rounds is printed. No figure has a limit, but a lost, repeated or misplaced row of
pgcast ends the run.
"""

import argparse
import contextlib
import functools
import time
from pathlib import Path

import large
import measures
import report
from harness import Cluster, Database, slow_flushes
from load import Lost
from servers import BUILD, HERE, Floor, Nchan, Node, Pgcast, Websockets

DELIVERY = ["burst", "paced", "unicast", "latency", "endtoend", "loop"]
WRITING = ["writers", "bulk"]
ALONE = ["broadcast", "large", "far", "questions", "instructions"]  # of pgcast alone
ALL = [*DELIVERY, "idle", *WRITING, *ALONE]
WAYS = {"none": None, "notify": Node, "pgcast": Pgcast}  # of publishing, and the listener


class Bench:
    def __init__(self, options):
        self.options = options
        self.results = {}
        self.lost = {}  # by measure and competitor, in how many rounds
        self.competitors = [one for one in (Pgcast, Floor, Node, Nchan, Websockets)
                            if one.name not in options.without and self.available(one)]

    @staticmethod
    def available(competitor):
        there = competitor.prepare()
        if not there:
            print(f"without {competitor.name}: not installed, or not available", flush=True)
        return there

    def size(self, real, small):
        return small if self.options.small else real

    def note(self, who, figures):
        for name, value in figures.items():
            self.results.setdefault(name, {}).setdefault(who, []).append(value)
        text = "  ".join(f"{name} {report.number(value)}" for name, value in figures.items())
        print(f"{time.strftime('%H:%M:%S')}  {who}: {text}", flush=True)

    def note_lost(self, name, competitor, error):
        """Competitors may lose rows, which is reported; pgcast and the floor may not."""
        if competitor in (Pgcast, Floor):
            raise error
        print(f"{name}: {competitor.name}: {error}", flush=True)
        times = self.lost.setdefault(name, {})
        times[competitor.name] = times.get(competitor.name, 0) + 1

    def database(self):
        """A new database, so that the journal is equally short for all competitors."""
        if not self.template:
            self.template = Database(self.cluster)
            self.template.install()
            self.template.execute((HERE / "bench.sql").read_text())
        return Database(self.cluster, template=self.template.name)

    def deliver(self, name):
        for _ in range(self.options.rounds):
            for competitor in self.competitors:
                database = self.database()
                measure = getattr(measures, name)
                try:
                    self.note(competitor.name,
                              measure(self, functools.partial(competitor, database)))
                except Lost as error:
                    self.note_lost(name, competitor, error)
                database.drop()

    def idle(self):
        for _ in range(self.options.rounds):
            databases = {competitor: self.database() for competitor in self.competitors}
            figures = measures.idle(self, {competitor.name: functools.partial(competitor, database)
                                           for competitor, database in databases.items()})
            for who, found in figures.items():
                self.note(who, found)
            for database in databases.values():
                database.drop()

    def write(self, name, flush):
        for _ in range(self.options.rounds):
            for way, listener in WAYS.items():
                if listener not in (None, *self.competitors):
                    continue
                database = self.database()
                server = listener(database) if listener else None
                try:
                    figures = getattr(measures, name)(self, database, way, flush)
                finally:
                    if server:
                        server.stop()
                self.note(way, figures)
                database.drop()

    def on_cluster(self, run, *settings, disk=None):
        with disk or contextlib.nullcontext():
            self.cluster = Cluster("track_commit_timestamp=on", "max_wal_size=4GB",
                                   "shared_buffers=256MB", *settings)
        self.template = None
        try:
            run()
        finally:
            self.cluster.remove()

    def run(self, names):
        deliveries = [name for name in DELIVERY if name in names]
        if deliveries:
            self.on_cluster(lambda: [self.deliver(name) for name in deliveries])
        if "idle" in names:
            self.on_cluster(self.idle)
        for name in ALONE:
            if name in names:
                measure = getattr(measures if hasattr(measures, name) else large, name)
                self.on_cluster(lambda: self.note("pgcast", measure(self)))
        writing = [name for name in WRITING if name in names]
        if writing:
            self.on_cluster(lambda: [self.write(name, "disk") for name in writing], "fsync=on")
        if "writers" in names:
            for ms in 2, 10:
                self.on_cluster(lambda: self.write("writers", f"{ms}ms"), "fsync=on",
                                disk=slow_flushes(ms))


def main():
    parser = argparse.ArgumentParser(prog="script/bench", epilog="measures: " + " ".join(ALL))
    parser.add_argument("measure", nargs="*", choices=[[], *ALL], metavar="MEASURE",
                        help="what to measure; all when none is named")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (5)")
    parser.add_argument("--without", action="append", default=[], metavar="NAME",
                        help="leave out floor, node, nchan or python")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the bench itself")
    parser.add_argument("--out", type=Path, default=BUILD,
                        help="folder of bench.json, .md and .svg")
    options = parser.parse_args()
    bench = Bench(options)
    try:
        bench.run(options.measure or ALL)
    finally:
        report.write(bench, options.out)


main()
