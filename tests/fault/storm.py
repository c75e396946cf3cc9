"""Thousands of clients resume at once after the bridge was killed, while rows are written: the time
until all are live, the number of catch-up queries, and lost rows.

    storm.py [CLIENTS [UIDS [ROUNDS]]]
"""

import json
import random
import signal
import subprocess
import sys
import threading
import time

from harness import BUILD, Bridge, wait_for
from stories import own_database

RATE = 500  # rows per second


def write(database, uids, stop):
    """Writes rows that are numbered per uid, ten at a time."""
    last = [0] * uids
    with database.connect() as connection:
        while not stop.is_set():
            rows = []
            for uid in random.choices(range(uids), k=10):
                last[uid] += 1
                rows.append(f"('u{uid}', {last[uid]})")
            connection.execute("insert into tick values " + ", ".join(rows))
            stop.wait(10 / RATE)


def bridge_at(database, address="127.0.0.1:0"):
    bridge = Bridge(database, listen=address, max_clients_per_uid=0,
                    through=["/usr/bin/prlimit", "--nofile=20000"])
    bridge.wait_line("admin listening on")
    return bridge


def storm(clients=10_000, uids=10_000, rounds=3):
    """Returns a report for each time that all were live, and one of the end."""
    with own_database() as database:
        database.execute("create table tick(uid text, n int)", "select pgcast.watch('tick')")
        bridge = bridge_at(database)
        wait_for(bridge.ready, "the bridge to be ready")
        host, port = bridge.address.rsplit(":", 1)
        swarm = subprocess.Popen(
            [BUILD / "tests/fault/storm", host, port, str(clients), str(uids)], text=True,
            stdout=subprocess.PIPE)
        stop = threading.Event()
        writer = threading.Thread(target=write, args=(database, uids, stop))
        reports = []
        try:
            json.loads(swarm.stdout.readline())
            writer.start()
            for _ in range(rounds):
                time.sleep(1)
                bridge.signal(signal.SIGKILL)
                bridge.wait()
                bridge = bridge_at(database, f"{host}:{port}")
                live = json.loads(swarm.stdout.readline())
                metrics = bridge.metrics()
                reports.append(live | {"pages": int(metrics["pgcast_pages_total"]),
                                       "resets": int(metrics["pgcast_resets_total"])})
                print(reports[-1], flush=True)
            stop.set()
            writer.join()
            database.publish(None, None, "end")
            reports.append(json.loads(swarm.stdout.readline()))
            return reports
        finally:
            stop.set()
            swarm.kill()
            swarm.wait()
            bridge.process.kill()
            bridge.wait()


if __name__ == "__main__":
    last = storm(*map(int, sys.argv[1:]))[-1]
    print(last)
    sys.exit(int(last["gaps"] > 0))
