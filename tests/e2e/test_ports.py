"""Several processes on one port: the kernel assigns each client to one of them."""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import websockets

from harness import BUILD, eventually, run
from stream import data, publishing


@pytest.fixture
def pair(start, database):
    first = start(database, reuse_port="on")
    return first, start(database, reuse_port="on", listen=first.address)


async def several(stack, bridge, n, **options):
    """Clients of four uids."""
    return [await stack.enter_async_context(bridge.client(f"u{k % 4}", **options))
            for k in range(n)]


def held_by(bridge, clients):
    peers = bridge.peers()
    return [client for client in clients if client.socket.local_address[1] in peers]


def is_end(message):
    return message.get("data") == "the end"


async def check_delivery(database, clients):
    """Every client gets every event of its uid once and in order."""
    for k in range(20):
        for uid in range(4):
            database.publish(f"u{uid}", f"{k} for u{uid}")
    database.publish(None, "the end")
    for client in clients:
        received = data(await client.until(is_end))
        assert received == [f"{k} for {client.uid}" for k in range(20)] + ["the end"]


async def test_shared_port_spreads_clients(pair, database):
    async with contextlib.AsyncExitStack() as stack:
        clients = await several(stack, pair[0], 32)
        first, second = (held_by(bridge, clients) for bridge in pair)
        assert first and second and len(first) + len(second) == 32
        await check_delivery(database, clients)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 1012), (signal.SIGKILL, 1006)])
async def test_shared_port_clients_resume_on_other_process(pair, database, number, code):
    first, second = pair
    first.expected = 0 if number == signal.SIGTERM else -number
    clients, received, codes = [], [], []
    live, down = asyncio.Semaphore(0), asyncio.Event()

    async def follow(uid):
        async with first.client(uid, v1=True) as client:
            clients.append(client)
            live.release()
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.until(is_end)
        seen = client.seen
        if not is_end(seen[-1]):
            codes.append(client.socket.close_code)
            if number == signal.SIGKILL:
                await down.wait()  # until then the kernel may still assign it new clients
            cursor = [message["cursor"] for message in seen if "cursor" in message][-1]
            async with second.client(uid, v1=True, since=cursor) as again:
                assert again.hello["resumed"] is True
                seen = seen + await again.until(is_end)
            # Events after the latest cursor come again.
            seen = list({message["id"]: message for message in seen if "id" in message}.values())
        received.append(data(seen)[:-1])

    with publishing(database, uid=None) as count:
        tasks = [asyncio.create_task(follow(f"u{k % 4}")) for k in range(24)]
        for _ in tasks:
            await live.acquire()
        start_count = count[0] + 1  # one may be committed that is not counted yet
        left = len(held_by(first, clients))
        assert 0 < left < 24
        first.signal(number)
        await asyncio.to_thread(first.wait)
        down.set()
        last = count[0]
        await eventually(lambda: count[0] > last + 10, "more events")
    database.publish(None, "the end")
    await asyncio.gather(*tasks)

    assert codes == [code] * left
    for got in received:
        assert got == list(range(got[0], count[0])) and got[0] <= start_count


def check_exit(bridge, code, *words):
    """The bridge exits, and the one error that it logs has these words."""
    bridge.expected = code
    assert bridge.wait() == code
    lines = bridge.lines("in use")
    assert len(lines) == 1 and all(word in lines[0] for word in words), bridge.log


def test_service_instances_share_only_the_port():
    unit = (BUILD / "systemd/pgcast@.service").read_text()
    values = []
    for instance in "1", "2":
        words = re.search("^Environment=(.*)", unit, re.M)[1].replace("%i", instance).split()
        code, text, error = run("--print-config", env=dict(word.split("=") for word in words))
        assert code == 0, error
        values.append(dict(re.findall(r"^(\w+) = '?([^'\s#]*)", text, re.M)))
    assert all(value["reuse_port"] == "on" for value in values)
    different = {key for key in values[0] if values[0][key] != values[1][key]}
    assert different == {"admin_listen"}


@pytest.mark.parametrize(("first", "second"), [("off", "off"), ("on", "off"), ("off", "on")])
def test_shared_port_needs_setting_in_both_processes(start, database, first, second):
    bridge = start(database, reuse_port=first)
    other = start(database, wait=False, reuse_port=second, listen=bridge.address)
    check_exit(other, 1, bridge.address, "`listen`", "reuse_port" if second == "off" else "share")


async def test_admin_port_in_use_accepts_no_clients(start, database):
    bridge = start(database, reuse_port="on")
    other = start(database, wait=False, reuse_port="on", listen=bridge.address,
                  admin_listen=bridge.admin)
    check_exit(other, 1, bridge.admin, "`admin_listen`")
    assert not other.lines("listening on")


def test_unix_socket_with_reuse_port_is_refused(folder):
    listen = f"listen=127.0.0.1:0,unix:{folder}/pgcast.sock"
    code, _, error = run("--set", listen, "--set", "reuse_port=on")
    assert code == 78
    assert "listen" in error and "reuse_port" in error and len(error.strip().splitlines()) == 1


@pytest.fixture
def silent():
    """A database that never answers: until it does, a bridge accepts no clients."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "host={} port={} user=bridge".format(*server.getsockname())


@pytest.mark.parametrize("shared", [True, False])
async def test_stop_closes_queued_clients_with_1012(
        start, database, silent, shared):
    """The kernel has completed their TCP handshakes, so the process can no longer refuse them."""
    bridge = start(silent, wait=False, reuse_port="on" if shared else "off")
    if shared:
        await asyncio.to_thread(start, database, reuse_port="on", listen=bridge.address)
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(stack.enter_async_context(bridge.client())) for _ in range(32)]
        await eventually(lambda: queued(bridge) + sum(task.done() for task in tasks) == 32,
                         "all clients to be queued or connected")
        waiting = [task for task in tasks if not task.done()]
        assert waiting and (not shared or len(waiting) < 32)
        bridge.signal()
        for task in waiting:
            assert await (await task).closed() == (1012, "restart")
        assert await asyncio.to_thread(bridge.wait) == 0
        assert all(task.result().socket.open for task in tasks if task not in waiting)


def queued(bridge):
    """The number of connections in the queues of the process's listening sockets (rx_queue)."""
    with open("/proc/net/tcp") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    own = bridge.open_files()
    return sum(int(line[4].split(":")[1], 16) for line in lines
               if line[3] == "0A" and f"socket:[{line[9]}]" in own)


async def test_stop_leaves_new_clients_to_other_process(pair):
    first, second = pair
    async with contextlib.AsyncExitStack() as stack:
        first.signal()
        await eventually(lambda: first.lines("stopping"), "the end to begin")
        clients = await asyncio.gather(*[stack.enter_async_context(first.client())
                                         for _ in range(32)])
        assert await asyncio.to_thread(first.wait) == 0
        assert len(held_by(second, clients)) == 32


def answer_to_half_handshake(start, database):
    """The answer to a client that is halfway through the TCP handshake when the process stops."""
    bridge = start(database, wait=False, reuse_port="on", listen="0.0.0.0:8081", trust_remote="on",
                   through=["unshare", "--net", "/bin/sh", "-c",
                            'ip link set lo up; exec "$0" "$@"'])
    bridge.wait_line(r"(?<!admin )listening on")
    bridge.wait_line("database")  # from here on it accepts
    far = ["nsenter", f"--net=/proc/{bridge.process.pid}/ns/net", sys.executable,
           Path(__file__).with_name("far.py")]
    with subprocess.Popen([*far, "8081"], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as client:
        try:
            assert client.stdout.readline() == "halfway\n"
            bridge.signal()
            bridge.wait_line("stopping")
            client.stdin.write("\n")
            client.stdin.flush()
            answer = client.stdout.readline().strip()
            assert bridge.wait() == 0
            return answer
        finally:
            client.kill()


def can_create_network():
    """Needs root, and is forbidden in some containers."""
    try:
        words = "unshare --net ip tuntap add dev far mode tun".split()
        return not subprocess.run(words, capture_output=True).returncode
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_create_network(),
                    reason="needs a network of its own, with a tun device")
def test_stop_answers_unfinished_handshake(start, database):
    # A busy machine may miss the quarter of a second in which this is possible.
    answers = []
    while len(answers) < 5 and "HTTP/1.1 404 Not Found" not in answers:
        answers.append(answer_to_half_handshake(start, database))
    assert answers[-1] == "HTTP/1.1 404 Not Found", answers


def inheriting(start, server, *arguments, **options):
    """A process that inherits the socket, as from systemd; see test_process.py."""
    script = f'exec 3<&{server.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
    return start(*arguments, through=["/bin/bash", "-c", script], descriptors=[server.fileno()],
                 **options)


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as made:
        yield made


async def test_inherited_socket_is_shared(start, database, server):
    processes = [inheriting(start, server, database) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for running, stopped in (processes, processes[::-1]):
            stopped.signal(signal.SIGSTOP)
            new = await several(stack, running, 8)
            assert len(held_by(running, new)) == 8
            clients += new
            stopped.signal(signal.SIGCONT)
        # Now each connection wakes both, and one of them accepts it.
        clients += await asyncio.gather(*[
            stack.enter_async_context(processes[0].client(f"u{k % 4}")) for k in range(100)])
        assert sum(len(held_by(bridge, clients)) for bridge in processes) == 116
        await check_delivery(database, clients)
    for bridge in processes:
        assert bridge.metrics()["pgcast_accept_pauses_total"] == 0
        assert not bridge.lines("(?i)warning|error")


async def test_inherited_socket_keeps_queued_clients(start, database, silent, server):
    first = inheriting(start, server, silent, wait=False)
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(stack.enter_async_context(first.client())) for _ in range(8)]
        await eventually(lambda: queued(first) == 8, "all to be connected")
        first.signal()
        assert await asyncio.to_thread(first.wait) == 0
        second = await asyncio.to_thread(inheriting, start, server, database)
        assert len(held_by(second, await asyncio.gather(*tasks))) == 8


async def test_stop_does_not_wait_for_silent_connection(start, database):
    bridge = start(database, drain_time="1h")
    _, writer = await asyncio.open_connection(*bridge.address.split(":"))
    await eventually(bridge.connections, "the connection")
    bridge.signal()
    assert await asyncio.to_thread(bridge.wait) == 0
    writer.close()


async def test_clients_beyond_the_limit_of_descriptors_are_refused(start, database):
    bridge = start(database, through=("prlimit", "--nofile=80:80"), max_clients_per_uid=0)
    bridge.wait_line("info: open files: the limit of 80 allows 60 clients")
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client()) for _ in range(60)]
        for _ in range(30):
            with pytest.raises(websockets.InvalidStatusCode) as refused:
                async with bridge.client():
                    pass
            assert refused.value.status_code == 503
        assert bridge.get("/readyz")[0] == 200
        assert await clients[0].before_marker(database) == []
