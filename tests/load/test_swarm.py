"""Thousands of clients: each gets every event of its uid once and in order."""

import json
import subprocess
from pathlib import Path

from harness import program

EVENTS = 50_000
CLIENTS = 2_000
LIMIT = 300  # seconds


def swarm(bridge, uids, write):
    """Connects the clients, lets the rows be written, and returns what the swarm saw."""
    host, port = bridge.address.rsplit(":", 1)
    command = [Path(program()).parent / "tests/bench/swarm", host, port, CLIENTS, uids,
               EVENTS // uids, LIMIT]
    with subprocess.Popen([str(word) for word in command], text=True, stdout=subprocess.PIPE) as process:
        try:
            assert json.loads(process.stdout.readline()) == {"connected": CLIENTS}
            write()
            return json.loads(process.stdout.readline())
        finally:
            process.kill()


def all_got_all(start, database, uids):
    database.execute("create table tick(uid text, n int)", "select pgcast.watch('tick')")

    def write():
        with database.connect() as connection:
            for first in range(1, EVENTS // uids + 1, max(1, 1000 // uids)):
                connection.execute("""insert into tick select 'u' || uid, n
                    from generate_series(%s::int, %s) n, generate_series(0, %s) uid order by n""",
                    (first, first + max(1, 1000 // uids) - 1, uids - 1))

    bridge = start(database, max_clients_per_uid=CLIENTS,
                   through=["/usr/bin/prlimit", "--nofile=8192:"])
    saw = swarm(bridge, uids, write)
    print(saw, bridge.metrics(), *bridge.log[-5:], sep="\n")
    wrong = {key: saw[key] for key in ("missing", "gaps", "repeats", "disorder", "closed")}
    assert wrong == dict.fromkeys(wrong, 0)
    assert saw["received"] == CLIENTS * EVENTS // uids


def test_two_thousand_clients_of_one_uid_get_50000_events_each(start, database):
    all_got_all(start, database, uids=1)


def test_two_thousand_clients_of_as_many_uids_get_50000_events_in_all(start, database):
    all_got_all(start, database, uids=CLIENTS)
