"""Commit to message at one client, at rest: a row now and then, and nothing else going on.

The commit's time is PostgreSQL's own (track_commit_timestamp), the message's is read when the last
byte of it has come over a unix socket; both from the same clock. fsync is off and so left out.
"""

import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from harness import Bridge, Cluster, Database, wait_for  # noqa: E402

ROWS = 1000
PAUSE = 0.02  # seconds, so that the bridge has fallen asleep


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.sendall(b"GET /?uid=u1 HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return client


def take(client):
    """Waits for one short message; pings, which have another first byte, are passed over."""
    while True:
        got = client.recv(65536)
        now = time.time()
        if got[0] == 0x81:
            return now
        assert got, "the connection is closed"


def measure(database, path):
    client = connect(path)
    arrived = []
    with database.connect() as writer:
        for n in range(ROWS):
            time.sleep(PAUSE)
            writer.execute("insert into tick values ('u1', %s)", (n,), prepare=True)
            arrived.append(take(client))
        committed = writer.execute(
            "select extract(epoch from pg_xact_commit_timestamp(xmin)) from tick order by n").fetchall()
    return sorted((there - float(here[0])) * 1000 for there, here in zip(arrived, committed))


def main():
    cluster = Cluster("track_commit_timestamp=on")
    try:
        database = Database(cluster)
        database.install()
        database.execute("create table tick(uid text, n int)", "select pgcast.watch('tick')")
        with tempfile.TemporaryDirectory(prefix="pgcast-", dir="/tmp") as folder:
            path = os.path.join(folder, "socket")
            bridge = Bridge(database, listen=f"unix:{path}")
            try:
                wait_for(bridge.ready, "the bridge to be ready")
                late = measure(database, path)
            finally:
                bridge.stop()
        print(f"commit to message, {ROWS} rows at rest: p50 {statistics.median(late):.2f} ms, "
              f"p99 {late[int(ROWS * 0.99)]:.2f} ms, max {late[-1]:.2f} ms")
    finally:
        cluster.remove()


main()
