"""The competitors: how each is started, supplied with rows, and measured, in its own process."""

import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from harness import BUILD, Bridge, free_port, wait_for
from load import Load

HERE = Path(__file__).resolve().parent
PAD = "x" * 50  # messages come to 200 bytes


def now_us():
    return time.time_ns() // 1000


def frame(text):
    """As a server sends it: not masked."""
    length = len(text)
    head = bytes([0x81, length]) if length < 126 else bytes([0x81, 126]) + length.to_bytes(2, "big")
    return head + text


class Rows:
    """Writes rows to a competitor's table. A batch is one statement: of each uid so many rows."""

    def __init__(self, database, table):
        self.table = table
        self.connection = database.connect()
        self.statement = f"""insert into {table} select 'u' || u, n,
            (extract(epoch from clock_timestamp()) * 1000000)::bigint, '{PAD}'
            from generate_series(%s::int, %s::int) n, generate_series(%s::int, %s::int) u
            order by n"""

    def _insert(self, batch):
        uid, uids, n, ns = batch
        self.connection.execute(self.statement, (n, n + ns - 1, uid, uid + uids - 1), prepare=True)

    def burst(self, batches):
        """Writes all in one transaction; returns the time at which the commit was sent."""
        with self.connection.transaction():
            for batch in batches:
                self._insert(batch)
            return now_us()  # the commit follows

    def stream(self, batches):
        """Writes one transaction per batch; returns the time at which the first was sent."""
        began = now_us()
        for batch in batches:
            self._insert(batch)
        return began

    def committed(self, since):
        """When each row that was written since then was committed, in microseconds."""
        return [float(at) for at, in self.connection.execute(
            f"select extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000 from {self.table}"
            " where t >= %s order by n", (since,))]

    def readers(self):
        """The server's backends."""
        return [pid for pid, in self.connection.execute(
            "select pid from pg_stat_activity where datname = current_database()"
            " and backend_type = 'client backend' and pid <> pg_backend_pid()")]

    def close(self):
        self.connection.close()


class Frames:
    """Writes the same rows to the floor: messages of pgcast, framed and joined by uid and batch."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.times = []

    def _bytes(self, batch):
        uid, uids, n, ns = batch
        at = now_us()
        self.times.append(at)
        rows = []
        for u in range(uid, uid + uids):
            run = b"".join(frame(
                b'{"type":"tick","op":"insert","id":%d,"at":"2026-11-23T10:00:00.123456Z","data":'
                b'{"uid":"u%d","n":%d,"t":%d,"pad":"%s"}}' % (1000000 + i, u, i, at, PAD.encode()))
                for i in range(n, n + ns))
            rows.append(b"u%d %d\n" % (u, len(run)) + run)
        return b"".join(rows)

    def _write(self, batches):
        began = now_us()
        for batch in batches:
            self.pipe.write(batch)
            self.pipe.flush()
        return began

    def burst(self, batches):
        return self._write([self._bytes(batch) for batch in batches])

    stream = burst

    def committed(self, since):
        return [at for at in self.times if at >= since]

    def readers(self):
        return []

    def close(self):
        pass


class Process:
    """A server that prints its port. Its table is where rows reach it from."""

    table = "tick_notify"

    def __init__(self, database, command, **options):
        self.database = database
        self.process = subprocess.Popen(
            [str(word) for word in command], stdout=subprocess.PIPE,
            preexec_fn=raise_files, **{"stdin": subprocess.DEVNULL, **options})
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{command[0]} did not start")
        self.port = int(line)

    @staticmethod
    def prepare():
        """Says whether it can be had here."""
        return True

    def writer(self):
        return Rows(self.database, self.table)

    @property
    def pids(self):
        return [self.process.pid]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def raise_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Pgcast:
    name, table = "pgcast", "tick_pgcast"

    def __init__(self, database, through=(), **settings):
        self.database = database
        self.bridge = Bridge(database, through=through, max_clients_per_uid=0, **settings)
        wait_for(self.bridge.ready, "pgcast to be ready")
        self.port = int(self.bridge.address.rsplit(":", 1)[1])

    @staticmethod
    def prepare():
        return True

    def writer(self):
        return Rows(self.database, self.table)

    @property
    def pids(self):
        return [self.bridge.process.pid]

    def stop(self):
        self.bridge.stop()


class Floor(Process):
    name = "floor"

    def __init__(self, database):
        super().__init__(database, [BUILD / "tests/bench/floor"], stdin=subprocess.PIPE)

    def writer(self):
        return Frames(self.process.stdin)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Node(Process):
    name = "node"

    def __init__(self, database):
        uri = (f"postgresql:///{database.name}?host={database.cluster.directory}&port=5432"
               "&user=postgres")
        super().__init__(database, ["node", BUILD / "node/server.mjs", uri])

    @staticmethod
    def prepare():
        """Fetches ws and pg."""
        if not (shutil.which("node") and shutil.which("npm")):
            return False
        folder = BUILD / "node"
        folder.mkdir(exist_ok=True)
        for file in (HERE / "node").iterdir():
            shutil.copy(file, folder)
        return subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"],
                              cwd=folder).returncode == 0


class Websockets(Process):
    name = "python"

    def __init__(self, database):
        super().__init__(database, ["/usr/bin/python3", HERE / "broadcast.py", database.conninfo()])


class Nchan:
    """nginx with nchan; the program between it and PostgreSQL is not measured."""

    name, table = "nchan", "tick_notify"

    def __init__(self, database):
        self.database = database
        self.port = free_port()
        self.folder = tempfile.TemporaryDirectory(prefix="pgcast-")
        config = Path(self.folder.name) / "nginx.conf"
        config.write_text(NGINX.format(folder=self.folder.name, module=self.module(),
                                       port=self.port,
                                       user="user root;" if os.getuid() == 0 else ""))
        self.process = subprocess.Popen([self.nginx(), "-e", "stderr", "-c", config],
                                        stdin=subprocess.DEVNULL, preexec_fn=raise_files)
        wait_for(lambda: accepts(self.port), "nginx")
        self.feed = subprocess.Popen(
            ["/usr/bin/python3", HERE / "nchan_feed.py", database.conninfo(), str(self.port)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.feed.stdout.readline()

    @staticmethod
    def nginx():
        return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")

    @classmethod
    def module(cls):
        return Path(cls.nginx()).parents[1] / "lib/nginx/modules/ngx_nchan_module.so"

    @classmethod
    def prepare(cls):
        return bool(cls.nginx()) and cls.module().exists()

    @property
    def pids(self):
        """The worker is the only child of the master."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def writer(self):
        return Rows(self.database, self.table)

    def stop(self):
        for process in (self.feed, self.process):
            process.terminate()
            process.wait()
        self.folder.cleanup()


NGINX = """
load_module {module};
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/pid;
events {{ worker_connections 19000; }}
http {{
	access_log off;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	keepalive_requests 100000000;
	nchan_shared_memory_size 512M;
	nchan_message_buffer_length 100000;
	nchan_message_timeout 30s;
	server {{
		listen 127.0.0.1:{port} backlog=4096;
		location = / {{
			nchan_subscriber websocket;
			nchan_subscriber_first_message newest;
			nchan_websocket_ping_interval 25;
			nchan_channel_id $arg_uid;
		}}
		location = /pub {{
			nchan_publisher;
			nchan_channel_id $arg_uid;
		}}
	}}
}}
"""


def accepts(port):
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


# ---- measuring ----


def cpu_us(pids):
    """Processor time of all threads, the kernel's work for them included."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def rss_bytes(server, field="VmRSS"):
    return sum(int(re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
               for pid in server.pids) * 1024


def reset_peak(server):
    """Makes VmHWM the maximum from now on."""
    for pid in server.pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def descriptors(server):
    """How many are open. A connection that was reset is gone from the kernel's tables at once, but
    holds its descriptor until the server has noticed."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.pids)


def settle(server, seconds):
    """Waits until the server only pings its clients."""

    def is_idle():
        before = cpu_us(server.pids)
        time.sleep(0.1)
        return cpu_us(server.pids) - before < 5000

    wait_for(is_idle, "the server to come to rest", seconds)


@contextlib.contextmanager
def session(start, clients, uids):
    """A server with its clients, and a writer for it."""
    server = start()
    try:
        empty = rss_bytes(server)
        load = Load(server.port, clients, uids)
        load.connected["rss"] = rss_bytes(server) - empty
        writer = server.writer()
        try:
            yield server, load, writer
        finally:
            writer.close()
            load.stop()
    finally:
        server.stop()
