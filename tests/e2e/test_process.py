"""The program beside its sockets: command line, settings, pages, signals, the service manager."""

import contextlib
import os
import re
import signal
import socket

import pytest

from harness import TIMEOUT, ROOT, eventually, run, wait_for


def test_a_wrong_key_names_the_nearest():
    code, _, error = run("--set", "max_client=5")
    assert code == 78
    assert "max_client" in error and "max_clients" in error
    assert len(error.strip().splitlines()) == 1


def test_a_wrong_value_is_refused_with_file_and_line(folder):
    file = folder / "pgcast.conf"
    file.write_text("# a comment\n\nping_interval = soon\n")
    code, _, error = run("-c", str(file))
    assert code == 78
    assert f"{file}:3" in error or (str(file) in error and "line 3" in error)
    assert "ping_interval" in error and len(error.strip().splitlines()) == 1


def test_a_missing_file_is_said():
    code, _, error = run("-c", "/no/such/file")
    assert code == 78 and "/no/such/file" in error


def test_a_wrong_option_is_a_usage_error():
    code, _, error = run("--nonsense")
    assert code == 64 and error


def test_trust_on_a_public_address_is_refused():
    code, _, error = run("--set", "listen=0.0.0.0:0")
    assert code == 78 and "trust_remote" in error


def test_the_version_and_the_help():
    assert re.fullmatch(r"pgcast \d+\.\d+\.\d+\S*\n", run("--version")[1])
    code, text, _ = run("--help")
    assert code == 0 and "--set" in text


def test_settings_come_from_file_environment_and_command_line(folder):
    file = folder / "pgcast.conf"
    file.write_text("max_clients = 1\nsend_buffer = '1MB'\nping_interval = 7s\n")
    code, text, _ = run("-c", str(file), "--set", "ping_interval=9s", "--print-config",
                        env={"PGCAST_PING_INTERVAL": "8s", "PGCAST_SEND_BUFFER": "2MB"})
    assert code == 0
    values = dict(re.findall(r"^(\w+) = '?([^'\s#]*)", text, re.M))
    assert (values["max_clients"], values["send_buffer"], values["ping_interval"]) == ("1", "2MB", "9s")


def test_passwords_are_not_printed():
    for conninfo in "host=/tmp password=hush", "postgresql://me:hush@db/app":
        code, text, _ = run("--set", f"database={conninfo}", "--print-config")
        assert code == 0 and "hush" not in text


def test_the_example_configuration_is_readable_by_the_program(folder):
    file = folder / "pgcast.conf"
    file.write_text(run("--example-config")[1])
    assert run("-c", str(file), "--print-config")[0] == 0
    assert run("-c", str(ROOT / "systemd/pgcast.conf"), "--print-config")[0] == 0


def test_the_check_tells_a_good_database_from_a_bad_one(database):
    code, _, error = run("--check", "--set", f"database={database.conninfo('bridge')}")
    assert code == 0, error
    code, _, error = run("--check", "--set", f"database={database.cluster.conninfo('postgres')}")
    assert code == 1 and "pgcast.sql" in error


def test_a_busy_port_is_said(start, bridge, database):
    second = start(database, wait=False, listen=bridge.address)
    second.expected = 1
    assert second.wait() == 1
    lines = second.lines(re.escape(bridge.address))
    assert len(lines) == 1 and "in use" in lines[0]


def test_health_readiness_and_metrics(bridge):
    assert bridge.get("/healthz") == (200, "ok\n")
    assert bridge.get("/readyz")[0] == 200
    status, text = bridge.get("/metrics")
    assert status == 200
    for line in text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) pgcast_\w+ .+|pgcast_\w+ [\d.]+", line), line
    assert bridge.get("/nothing")[0] == 404
    assert bridge.get("/healthz", method="POST")[0] in (404, 405)


def test_pages_are_served_beside_the_sockets(start, database):
    bridge = start(database, www=str(ROOT / "www"))
    status, text = bridge.get("/", admin=False)
    assert status == 200 and text == (ROOT / "www/index.html").read_text()
    assert bridge.get("/app.js", admin=False)[0] == 200
    assert bridge.get("/nothing.html", admin=False)[0] == 404
    assert bridge.get("/../README.md", admin=False)[0] in (400, 403, 404)
    assert bridge.get("/%2e%2e/README.md", admin=False)[0] in (400, 403, 404)


def test_without_pages_there_are_none(bridge):
    assert bridge.get("/", admin=False)[0] == 404


def test_the_metrics_count(bridge, database):
    before = bridge.metrics()
    database.execute("insert into log(uid) select 'u1' from generate_series(1, 10)")
    wait_for(lambda: bridge.metrics()["pgcast_events_total"] == before["pgcast_events_total"] + 10,
             "the events to be counted")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ending_tells_the_clients_to_come_again(bridge, number):
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n}")) for n in range(10)]
        bridge.signal(number)
        for client in clients:
            code, _ = await client.closed()
            assert code in (1001, 1012)
    assert bridge.wait() == 0


async def test_a_second_signal_ends_at_once(start, database):
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
        self.told = []

    def until(self, word):
        while not any(word in line for line in self.told):
            self.told += self.socket.recv(4096).decode().splitlines()
        return self.told


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(start, database, folder, abstract):
    path = f"\0pgcast-test-{os.getpid()}" if abstract else str(folder / "notify")
    manager = Manager(path)
    bridge = start(database, env={"NOTIFY_SOCKET": path.replace("\0", "@")})
    manager.until("READY=1")
    manager.until("STATUS=")
    bridge.signal()
    manager.until("STOPPING=1")
    assert bridge.wait() == 0


def test_the_watchdog_is_fed(start, database, folder):
    manager = Manager(str(folder / "notify"))
    start(database, env={"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "200000"})
    manager.until("WATCHDOG=1")
    manager.told.clear()
    manager.until("WATCHDOG=1")


def test_a_unix_socket_is_listened_on(start, database, folder):
    path = folder / "pgcast.sock"
    for _ in range(2):  # the second one finds what the first one left
        bridge = start(database, listen=f"unix:{path}")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 404"
        bridge.process.kill()
        bridge.expected = -signal.SIGKILL
        bridge.wait()


def test_inherited_sockets_win(start, database):
    """As by systemd: descriptor 3, and the environment says whose it is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        # A shell in between, since LISTEN_PID has to be the program's own.
        script = f'exec 3<&{server.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
        bridge = start(database, through=["/bin/bash", "-c", script], descriptors=[server.fileno()])
        assert bridge.address == "{}:{}".format(*server.getsockname())
        assert bridge.get("/", admin=False)[0] == 404
