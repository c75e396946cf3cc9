"""Command line, settings, pages, signals, and the service manager."""

import contextlib
import os
import re
import signal
import socket

import pytest

from harness import ROOT, TIMEOUT, eventually, run


def test_unknown_key_names_nearest_key():
    code, _, error = run("--set", "max_client=5")
    assert code == 78
    assert "max_client" in error and "max_clients" in error
    assert len(error.strip().splitlines()) == 1


def test_invalid_value_names_file_and_line(folder):
    file = folder / "pgcast.conf"
    file.write_text("# a comment\n\nping_interval = soon\n")
    code, _, error = run("-c", str(file))
    assert code == 78
    assert f"{file}:3" in error or (str(file) in error and "line 3" in error)
    assert "ping_interval" in error and len(error.strip().splitlines()) == 1


def test_missing_file_is_reported():
    code, _, error = run("-c", "/no/such/file")
    assert code == 78 and "/no/such/file" in error


def test_unknown_option_is_usage_error():
    code, _, error = run("--nonsense")
    assert code == 64 and error


def test_trust_on_public_address_is_refused():
    code, _, error = run("--set", "listen=0.0.0.0:0")
    assert code == 78 and "trust_remote" in error


def test_version_and_help():
    assert re.fullmatch(r"pgcast \d+\.\d+\.\d+\S*\n", run("--version")[1])
    code, text, _ = run("--help")
    assert code == 0 and "--set" in text


def test_settings_precedence(folder):
    file = folder / "pgcast.conf"
    file.write_text("max_clients = 1\nsend_buffer = '1MB'\nping_interval = 7s\n")
    code, text, _ = run("-c", str(file), "--set", "ping_interval=9s", "--print-config",
                        env={"PGCAST_PING_INTERVAL": "8s", "PGCAST_SEND_BUFFER": "2MB"})
    assert code == 0
    values = dict(re.findall(r"^(\w+) = '?([^'\s#]*)", text, re.M))
    assert [values[key] for key in ("max_clients", "send_buffer", "ping_interval")] == \
        ["1", "2MB", "9s"]


def test_print_config_masks_passwords():
    for conninfo in "host=/tmp password=hush", "postgresql://me:hush@db/app":
        code, text, _ = run("--set", f"database={conninfo}", "--print-config")
        assert code == 0 and "hush" not in text


def test_example_config_is_valid(folder):
    file = folder / "pgcast.conf"
    file.write_text(run("--example-config")[1])
    assert run("-c", str(file), "--print-config")[0] == 0
    assert run("-c", str(ROOT / "systemd/pgcast.conf"), "--print-config")[0] == 0


def test_check_examines_database(database):
    code, _, error = run("--check", "--set", f"database={database.conninfo('bridge')}")
    assert code == 0, error
    code, _, error = run("--check", "--set", f"database={database.cluster.conninfo('postgres')}")
    assert code == 1 and "pgcast.sql" in error


def test_port_in_use_is_reported(start, bridge, database):
    second = start(database, wait=False, listen=bridge.address)
    second.expected = 1
    assert second.wait() == 1
    lines = second.lines(re.escape(bridge.address))
    assert len(lines) == 1 and "in use" in lines[0]


def test_admin_pages(bridge):
    assert bridge.get("/healthz") == (200, "ok\n")
    assert bridge.get("/readyz")[0] == 200
    status, text = bridge.get("/metrics")
    assert status == 200
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) pgcast_\w+ .+|pgcast_\w+ [\d.]+", line), line
    assert bridge.get("/nothing")[0] == 404
    assert bridge.get("/healthz", method="POST")[0] in (404, 405)


def test_www_serves_files(start, database):
    bridge = start(database, www=str(ROOT / "www"))
    status, text = bridge.get("/", admin=False)
    assert status == 200 and text == (ROOT / "www/index.html").read_text()
    assert bridge.get("/app.js", admin=False)[0] == 200
    assert bridge.get("/nothing.html", admin=False)[0] == 404
    assert bridge.get("/../README.md", admin=False)[0] in (400, 403, 404)
    assert bridge.get("/%2e%2e/README.md", admin=False)[0] in (400, 403, 404)


def test_www_empty_serves_nothing(bridge):
    assert bridge.get("/", admin=False)[0] == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_closes_clients(bridge, number):
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}")) for n in range(10)]
        bridge.signal(number)
        for client in clients:
            code, _ = await client.closed()
            assert code in (1001, 1012)
    assert bridge.wait() == 0


async def test_second_signal_ends_drain(start, database):
    bridge = start(database, drain_time="1h")
    bridge.expected = None
    async with bridge.client():
        bridge.signal()
        await eventually(lambda: bridge.get("/readyz")[0] == 503, "the drain to begin")
        bridge.signal()
        bridge.expected = bridge.wait()


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(TIMEOUT)
        self.lines = []

    def until(self, word):
        while not any(word in line for line in self.lines):
            self.lines += self.socket.recv(4096).decode().splitlines()
        return self.lines


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_socket_receives_states(start, database, folder, abstract):
    path = f"\0pgcast-test-{os.getpid()}" if abstract else str(folder / "notify")
    manager = Manager(path)
    bridge = start(database, env={"NOTIFY_SOCKET": path.replace("\0", "@")})
    manager.until("READY=1")
    manager.until("STATUS=")
    bridge.signal()
    manager.until("STOPPING=1")
    assert bridge.wait() == 0


def test_notify_socket_receives_watchdog(start, database, folder):
    manager = Manager(str(folder / "notify"))
    start(database, env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"})
    manager.until("WATCHDOG=1")
    manager.lines.clear()
    manager.until("WATCHDOG=1")


def test_unix_socket_replaces_stale_one(start, database, folder):
    path = folder / "pgcast.sock"
    for _ in range(2):  # the second one finds the socket of the first
        bridge = start(database, listen=f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 404"
        bridge.process.kill()
        bridge.expected = -signal.SIGKILL
        bridge.wait()


def test_inherited_socket_replaces_listen(start, database):
    """As from systemd: descriptor 3, and the process id in the environment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        # A shell sets LISTEN_PID, which has to be the program's own.
        script = f'exec 3<&{server.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
        bridge = start(database, through=["/bin/bash", "-c", script], descriptors=[server.fileno()])
        assert bridge.address == "{}:{}".format(*server.getsockname())
        assert bridge.get("/", admin=False)[0] == 404
