"""Several processes on one port, each a bridge of its own: the kernel says who gets which client."""

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
    """Clients of four uids, told apart by nothing else."""
    return [await stack.enter_async_context(bridge.client(f"u{k % 4}", **options)) for k in range(n)]


def on(bridge, clients):
    peers = bridge.peers()
    return [client for client in clients if client.socket.local_address[1] in peers]


def is_the_end(message):
    return message.get("data") == "the end"


async def all_get_all(database, clients):
    """Every client gets every event of its uid once and in order."""
    for k in range(20):
        for uid in range(4):
            database.publish(f"u{uid}", f"{k} for u{uid}")
    database.publish(None, "the end")
    for client in clients:
        told = data(await client.until(is_the_end))
        assert told == [f"{k} for {client.uid}" for k in range(20)] + ["the end"]


async def test_clients_are_spread_and_each_gets_all_of_its_events_once(pair, database):
    async with contextlib.AsyncExitStack() as stack:
        clients = await several(stack, pair[0], 32)
        first, second = (on(bridge, clients) for bridge in pair)
        assert first and second and len(first) + len(second) == 32
        await all_get_all(database, clients)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 1012), (signal.SIGKILL, 1006)])
async def test_when_one_goes_its_clients_resume_at_the_other_and_nobody_misses_anything(
        pair, database, number, code):
    gone, stays = pair
    gone.expected = 0 if number == signal.SIGTERM else -number
    clients, told, codes, live, down = [], [], [], asyncio.Semaphore(0), asyncio.Event()

    async def follow(uid):
        async with gone.client(uid, v1=True) as client:
            clients.append(client)
            live.release()
            with contextlib.suppress(websockets.ConnectionClosed):
                await client.until(is_the_end)
        seen = client.seen
        if not is_the_end(seen[-1]):
            codes.append(client.socket.close_code)
            if number == signal.SIGKILL:
                await down.wait()  # while it dies, it resets those that the kernel still gives it
            cursor = [message["cursor"] for message in seen if "cursor" in message][-1]
            async with stays.client(uid, v1=True, since=cursor) as again:
                assert again.hello["resumed"] is True
                seen = seen + await again.until(is_the_end)
            # What came behind the latest cursor comes again.
            seen = list({message["id"]: message for message in seen if "id" in message}.values())
        told.append(data(seen)[:-1])

    with publishing(database, uid=None) as count:
        tasks = [asyncio.create_task(follow(f"u{k % 4}")) for k in range(24)]
        for _ in tasks:
            await live.acquire()
        first = count[0] + 1  # one may be committed that is not counted yet
        left = len(on(gone, clients))
        assert 0 < left < 24
        gone.signal(number)
        await asyncio.to_thread(gone.wait)
        down.set()
        last = count[0]
        await eventually(lambda: count[0] > last + 10, "more to be told")
    database.publish(None, "the end")
    await asyncio.gather(*tasks)

    assert codes == [code] * left
    for got in told:
        assert got == list(range(got[0], count[0])) and got[0] <= first


def ends_with(bridge, code, *words):
    """It ends, and the one error that it logs has those words."""
    bridge.expected = code
    assert bridge.wait() == code
    lines = bridge.lines("in use")
    assert len(lines) == 1 and all(word in lines[0] for word in words), bridge.log


def test_the_instances_of_the_service_share_the_port_and_nothing_else():
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


@pytest.mark.parametrize("first, second", [("off", "off"), ("on", "off"), ("off", "on")])
def test_a_port_is_shared_only_if_both_ask_for_it(start, database, first, second):
    bridge = start(database, reuse_port=first)
    other = start(database, wait=False, reuse_port=second, listen=bridge.address)
    ends_with(other, 1, bridge.address, "`listen`", "reuse_port" if second == "off" else "share")


async def test_who_finds_its_admin_port_taken_takes_no_clients_with_it(start, database):
    bridge = start(database, reuse_port="on")
    other = start(database, wait=False, reuse_port="on", listen=bridge.address, admin_listen=bridge.admin)
    ends_with(other, 1, bridge.admin, "`admin_listen`")
    assert not other.lines("listening on")


def test_a_unix_socket_is_not_shared(folder):
    code, _, error = run("--set", f"listen=127.0.0.1:0,unix:{folder}/pgcast.sock", "--set", "reuse_port=on")
    assert code == 78
    assert "listen" in error and "reuse_port" in error and len(error.strip().splitlines()) == 1


@pytest.fixture
def silent():
    """A database that never answers: a process accepts nobody until it knows where the stream stands."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "host={} port={} user=bridge".format(*server.getsockname())


@pytest.mark.parametrize("shared", [True, False])
async def test_who_waits_to_be_accepted_when_a_process_stops_is_told_to_come_again(
        start, database, silent, shared):
    """The kernel has shaken their hands, so they can't be refused any more, only cut off or told."""
    gone = start(silent, wait=False, reuse_port="on" if shared else "off")
    if shared:
        await asyncio.to_thread(start, database, reuse_port="on", listen=gone.address)
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(stack.enter_async_context(gone.client())) for _ in range(32)]
        await eventually(lambda: queued(gone) + sum(task.done() for task in tasks) == 32,
                         "those who don't wait to be at the other")
        waiting = [task for task in tasks if not task.done()]
        assert waiting and (not shared or len(waiting) < 32)
        gone.signal()
        for task in waiting:
            assert await (await task).closed() == (1012, "restart")
        assert await asyncio.to_thread(gone.wait) == 0
        assert all(task.result().socket.open for task in tasks if task not in waiting)


def queued(bridge):
    """How many connections wait at a process's listening sockets: what the kernel calls their rx_queue."""
    with open("/proc/net/tcp") as file:
        lines = [line.split() for line in file.readlines()[1:]]
    own = bridge.open_files()
    return sum(int(line[4].split(":")[1], 16) for line in lines
               if line[3] == "0A" and f"socket:[{line[9]}]" in own)


async def test_who_comes_while_a_process_gives_up_its_port_gets_to_the_other(pair):
    gone, stays = pair
    async with contextlib.AsyncExitStack() as stack:
        gone.signal()
        await eventually(lambda: gone.lines("stopping"), "the end to begin")
        clients = await asyncio.gather(*[stack.enter_async_context(gone.client()) for _ in range(32)])
        assert await asyncio.to_thread(gone.wait) == 0
        assert len(on(stays, clients)) == 32


def halfway_when_it_stops(start, database):
    """What a client is answered that has half a handshake behind it when the process is told to stop."""
    bridge = start(database, wait=False, reuse_port="on", listen="0.0.0.0:8081", trust_remote="on",
                   through=["unshare", "--net", "/bin/sh", "-c", 'ip link set lo up; exec "$0" "$@"'])
    bridge.wait_line(r"(?<!admin )listening on")
    bridge.wait_line("database")  # it accepts from here on
    far = ["nsenter", f"--net=/proc/{bridge.process.pid}/ns/net", sys.executable, Path(__file__).with_name("far.py")]
    with subprocess.Popen([*far, "8081"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
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


def can_make_a_network():
    """Not where one is not root, or in a container that forbids it."""
    try:
        return not subprocess.run(["unshare", "--net", "ip", "tuntap", "add", "dev", "far", "mode", "tun"],
                                  capture_output=True).returncode
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_make_a_network(), reason="needs a network of its own, with a tun device")
def test_who_is_about_to_connect_when_a_process_gives_up_its_port_arrives(start, database):
    # There is a quarter of a second for it, which a busy machine may sleep through.
    answers = []
    while len(answers) < 5 and "HTTP/1.1 404 Not Found" not in answers:
        answers.append(halfway_when_it_stops(start, database))
    assert answers[-1] == "HTTP/1.1 404 Not Found", answers


def inheriting(start, server, *arguments, **options):
    """A process that is given the socket, as by systemd; see test_process."""
    script = f'exec 3<&{server.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$0" "$@"'
    return start(*arguments, through=["/bin/bash", "-c", script], descriptors=[server.fileno()], **options)


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as made:
        yield made


async def test_a_socket_that_is_handed_over_may_be_shared(start, database, server):
    heirs = [inheriting(start, server, database) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for works, rests in (heirs, heirs[::-1]):
            rests.signal(signal.SIGSTOP)
            new = await several(stack, works, 8)
            assert len(on(works, new)) == 8
            clients += new
            rests.signal(signal.SIGCONT)
        # Now both are woken by each, and one of them has it.
        clients += await asyncio.gather(*[
            stack.enter_async_context(heirs[0].client(f"u{k % 4}")) for k in range(100)])
        assert sum(len(on(bridge, clients)) for bridge in heirs) == 116
        await all_get_all(database, clients)
    for bridge in heirs:
        assert bridge.metrics()["pgcast_accept_pauses_total"] == 0
        assert not bridge.lines("(?i)warning|error")


async def test_who_waits_at_a_socket_that_was_handed_over_is_left_to_others(start, database, silent, server):
    goes = inheriting(start, server, silent, wait=False)
    async with contextlib.AsyncExitStack() as stack:
        tasks = [asyncio.create_task(stack.enter_async_context(goes.client())) for _ in range(8)]
        await eventually(lambda: queued(goes) == 8, "all to be connected")
        goes.signal()
        assert await asyncio.to_thread(goes.wait) == 0
        stays = await asyncio.to_thread(inheriting, start, server, database)
        assert len(on(stays, await asyncio.gather(*tasks))) == 8


async def test_a_connection_that_asks_for_nothing_does_not_hold_up_the_end(start, database):
    bridge = start(database, drain_time="1h")
    _, writer = await asyncio.open_connection(*bridge.address.split(":"))
    await eventually(bridge.connections, "the connection")
    bridge.signal()
    assert await asyncio.to_thread(bridge.wait) == 0
    writer.close()
