"""A private PostgreSQL, a bridge on it, and clients of the bridge.

Nothing in here sleeps for luck. To show that something did not arrive, a test publishes a marker
after it and examines the messages before the marker.
"""

import asyncio
import contextlib
import copy
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import psycopg
import websockets

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("PGCAST_BIN", ROOT / "build/pgcast"))
BUILD = PROGRAM.parent
TIMEOUT = 20  # seconds for a condition that should come true at once


def wait_for(condition, description, timeout=TIMEOUT):
    """Returns the condition's first true value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {description}"
        time.sleep(0.01)
    return value


async def eventually(condition, description, timeout=TIMEOUT):
    """The same for a test whose clients go on meanwhile."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {timeout} s for {description}"
        await asyncio.sleep(0.01)
    return value


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def slow_flushes(ms):
    """Clusters that are created inside have a disk that needs so many milliseconds per flush."""
    with tempfile.TemporaryDirectory(prefix="pgcast-") as folder:
        os.chmod(folder, 0o755)  # for the server's user
        library = shutil.copy(BUILD / "tests/support/flush.so", folder)
        os.environ |= {"LD_PRELOAD": library, "FLUSH_MS": str(ms)}
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["FLUSH_MS"]


class Cluster:
    """A context manager, too. script/cluster removes it at the latest when this process ends."""

    def __init__(self, *settings):
        self._hold("create", *settings)

    def _hold(self, *words):
        # In a session of its own, which outlives the process group of a test that is killed.
        self.holder = subprocess.Popen(
            [ROOT / "script/cluster", "hold", *words], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True)
        self.directory = self.holder.stdout.readline().strip()
        assert self.directory, f"script/cluster {words[0]} failed"

    def _run(self, verb):
        subprocess.run([ROOT / "script/cluster", verb, self.directory], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    up = functools.partialmethod(_run, "up")
    down = functools.partialmethod(_run, "down")
    crash = functools.partialmethod(_run, "crash")

    def remove(self):
        self.holder.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()

    def conninfo(self, database, user="postgres"):
        return f"host={self.directory} port=5432 dbname={database} user={user}"


class Standby(Cluster):
    """A hot standby of a cluster, with all of its databases."""

    def __init__(self, primary):
        self._hold("standby", primary.directory)

    def promote(self):
        with psycopg.connect(self.conninfo("postgres"), autocommit=True) as admin:
            admin.execute("select pg_promote()")


class Pooler:
    """pgbouncer in front of a cluster; each transaction uses the next of three sessions."""

    port = 6432

    def __init__(self, cluster, mode="transaction"):
        self.cluster = cluster
        folder = Path(cluster.directory)
        users = folder / "users.txt"
        users.write_text('"bridge" ""\n"postgres" ""\n')
        file = folder / "pgbouncer.ini"
        file.write_text(f"""[databases]
            * = host={folder} port=5432
            [pgbouncer]
            listen_addr =
            listen_port = {self.port}
            unix_socket_dir = {folder}
            auth_type = trust
            auth_file = {users}
            pool_mode = {mode}
            min_pool_size = 3
            server_round_robin = 1
            """.replace(" " * 12, ""))
        # It refuses to run as root.
        owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        self.process = subprocess.Popen(
            [*(owner if os.getuid() == 0 else []),
             shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin"), "-q", str(file)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for((folder / f".s.PGSQL.{self.port}").exists, "pgbouncer to listen")

    def conninfo(self, database, user="bridge"):
        return f"{self.cluster.conninfo(database.name, user)} port={self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(TIMEOUT)


class Database:
    """One database of the cluster, a copy of `template`."""

    count = 0

    def __init__(self, cluster, template=None, options=""):
        Database.count += 1
        self.name = f"d{Database.count}"
        self.cluster = cluster
        source = f"template {template}" if template else ""
        self._admin(f"create database {self.name} {source} {options}")

    def on(self, cluster):
        """The database of the same name in another cluster."""
        other = copy.copy(self)
        other.cluster = cluster
        return other

    def _admin(self, command):
        with psycopg.connect(self.cluster.conninfo("postgres"), autocommit=True) as admin:
            admin.execute(command)

    def conninfo(self, user="postgres"):
        return self.cluster.conninfo(self.name, user)

    def connect(self, user="postgres", **options):
        return psycopg.connect(self.conninfo(user), autocommit=True, **options)

    def execute(self, *commands):
        with self.connect() as connection:
            for command in commands:
                connection.execute(command)

    def value(self, command, *parameters):
        with self.connect() as connection:
            return connection.execute(command, parameters).fetchone()[0]

    def file(self, *names):
        for name in names:
            subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", ROOT / "sql" / name,
                            self.conninfo()], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, text=True)

    def install(self):
        self.file("pgcast.sql", "log.sql")
        self.role("bridge")
        self.execute("select pgcast.grant_bridge('bridge')")

    def role(self, name):
        """Creates a role unless it exists: roles are shared by all databases of the cluster."""
        self.execute(f"do $$ begin create role {name} login;"
                     " exception when duplicate_object then end $$")

    def publish(self, uid, data, type="marker"):
        self.execute(psycopg.sql.SQL("select pgcast.publish({}, {}, {}::json)").format(
            uid, type, json.dumps(data)))

    def drop(self):
        self._admin(f"drop database if exists {self.name} with (force)")


class Client:
    """A WebSocket client of a uid; `seen` has every message that it has received."""

    def __init__(self, socket, uid):
        self.socket, self.uid, self.seen = socket, uid, []

    async def next(self):
        message = json.loads(await asyncio.wait_for(self.socket.recv(), TIMEOUT))
        self.seen.append(message)
        return message

    async def take(self, n):
        return [await self.next() for _ in range(n)]

    async def until(self, wanted):
        """All messages up to and including the first for which wanted() is true."""
        got = [await self.next()]
        while not wanted(got[-1]):
            got.append(await self.next())
        return got

    async def before_marker(self, database):
        """All messages, except control messages, before a marker that is published here."""
        name = os.urandom(8).hex()
        database.publish(self.uid, name)
        got = await self.until(lambda message: message.get("data") == name)
        return [message for message in got[:-1] if message["type"] != "pgcast"]

    async def latest_cursor(self):
        """The cursor after all received messages: the next one, unless it was the last message."""
        while "cursor" not in self.seen[-1]:
            await self.next()
        return self.seen[-1]["cursor"]

    async def send(self, message):
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        await self.socket.send(text)

    async def init(self, type="log"):
        await self.send({"cmd": "init", "type": type})

    async def closed(self):
        """Waits for the end of the connection; returns the close code and the reason."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await self.next()
        return self.socket.close_code, self.socket.close_reason

    async def close(self):
        await self.socket.close()


class Bridge:
    """A running daemon."""

    expected = 0  # exit code at the end of the test
    stopping = False  # it has had a signal to stop; another one would end it at once

    def __init__(self, database, *, user="bridge", env=None, through=(), descriptors=(),
                 **settings):
        conninfo = database if isinstance(database, str) else database.conninfo(user)
        settings = {"database": conninfo, "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0",
                    "www": "", "drain_time": "100ms", "message_rate": "10000/s"} | settings
        self.command = [*through, PROGRAM]
        for key, value in settings.items():
            self.command += ["--set", f"{key}={value}"]
        self.log = []
        self.process = subprocess.Popen(
            self.command, env=environment() | (env or {}), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
            pass_fds=descriptors)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def lines(self, pattern):
        return [line for line in list(self.log) if re.search(pattern, line)]

    def wait_line(self, pattern, timeout=TIMEOUT):
        def search():
            found = self.lines(pattern)
            assert found or self.alive(), f"ended with {self.process.returncode}: {self.log}"
            return found
        return wait_for(search, f"{pattern!r} in {self.log}", timeout)[0]

    def alive(self):
        if self.process.poll() is None:
            return True
        self.reader.join(TIMEOUT)
        return False

    def _address(self, pattern):
        return re.search(pattern + r" (\S+)", self.wait_line(pattern))[1]

    @property
    def address(self):
        return self._address(r"(?<!admin )listening on")

    @property
    def admin(self):
        return self._address(r"admin listening on")

    def get(self, path, admin=True, **request):
        """The status and the body of a page."""
        address = self.admin if admin else self.address
        request = urllib.request.Request(f"http://{address}{path}", **request)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ready(self):
        assert self.alive(), f"ended with {self.process.returncode}: {self.log}"
        return bool(self.lines("admin listening on")) and self.get("/readyz")[0] == 200

    def metrics(self):
        _, text = self.get("/metrics")
        return {name: float(value)
                for name, value in re.findall(r"^(pgcast_\w+) (\S+)$", text, re.M)}

    def labelled(self, name):
        """The values of a metric with a label, by the label's value."""
        _, text = self.get("/metrics")
        return {label: float(value) for label, value in re.findall(
            rf'^pgcast_{name}{{\w+="(.*)"}} (\S+)$', text, re.M)}

    def settle(self, database):
        """Waits until the bridge has read the whole journal: later clients get none of it."""
        journal = database.value("select count(*) from pgcast.event where op <> 'canary'")
        wait_for(lambda: self.metrics()["pgcast_events_total"] >= journal,
                 "the bridge to read the journal")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def peers(self):
        """The ports of the clients whose connections the daemon holds."""
        port = int(self.address.rsplit(":", 1)[1])
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        accepted = {f"socket:[{line[9]}]": int(line[2].split(":")[1], 16) for line in lines
                    if int(line[1].split(":")[1], 16) == port and line[2] != "00000000:0000"}
        held = self.open_files()
        return {peer for socket, peer in accepted.items() if socket in held}

    def open_files(self):
        """The targets of the daemon's descriptors."""
        held = set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                held.add(os.readlink(descriptor))
        return held

    def connections(self):
        """The number of sockets of clients that the daemon holds."""
        return len(self.peers())

    def url(self, uid, **query):
        query = {"uid": uid} | query
        words = {key: value for key, value in query.items() if value is not None}
        return f"ws://{self.address}/?{urllib.parse.urlencode(words)}"

    @contextlib.asynccontextmanager
    async def client(self, uid="u1", v1=False, types=None, since=None, init=None, **options):
        """A connected client; on pgcast.v1 it has received its hello."""
        options = {"max_size": None, "max_queue": None, "compression": None,
                   "ping_interval": None} | options
        if v1:
            options["subprotocols"] = ["pgcast.v1"]
        url = self.url(uid, types=types, since=since, init=init)
        async with websockets.connect(url, **options) as socket:
            client = Client(socket, uid)
            if v1:
                client.hello = await client.next()
            yield client

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.stopping |= number in (signal.SIGTERM, signal.SIGINT)

    def wait(self):
        code = self.process.wait(TIMEOUT)
        self.reader.join(TIMEOUT)
        return code

    def stop(self):
        if self.process.poll() is None and not self.stopping:
            self.signal()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()
            raise


def environment():
    """The environment without variables that change the behaviour of the daemon or of libpq."""
    kept = {key: value for key, value in os.environ.items()
            if not re.match("PG|NOTIFY_|LISTEN_|JOURNAL_|WATCHDOG_", key)}
    return kept | {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}


def run(*words, env=None):
    """Runs the program; returns the exit code, standard output and standard error."""
    done = subprocess.run([PROGRAM, *words], env=environment() | (env or {}), text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT)
    return done.returncode, done.stdout, done.stderr
