"""The assumptions of conn.h about libwebsockets, checked byte by byte on real sockets: raw writes,
frames of lws between them, and the end of a connection."""

import contextlib
import hashlib
import json
import socket
import time

import pytest

from harness import TIMEOUT, eventually, wait_for
from raw import CLOSE, PING, PONG, TEXT, Raw, close_frame

# In units of 32 characters: each encoding of a length, and messages of several frames.
SIZES = [0, 2, 3, 4, 300, 2046, 2047, 2048, 7000, 20000]
MUCH = 60  # messages, more than the kernel buffers for a slow reader


def text_of(n):
    return f"{n} " + hashlib.md5(str(n).encode()).hexdigest() * SIZES[n % len(SIZES)]


def publish(database, numbers, uid="u1"):
    with database.connect() as connection:
        for n in numbers:
            connection.execute(
                "select pgcast.publish(%s, 'big', to_json(%s || repeat(md5(%s), %s)))",
                (uid, f"{n} ", str(n), SIZES[n % len(SIZES)]))


def check(messages, numbers):
    """Checks that the messages are these, in order and unchanged."""
    got = [json.loads(message)["data"] for message in messages]
    assert [text.split(" ")[0] for text in got] == [str(n) for n in numbers]
    assert got == [text_of(n) for n in numbers]


def is_last(n):
    """For Raw.until: the frame of message n, which is a short one."""
    assert SIZES[n % len(SIZES)] == 0
    return lambda frame: frame.opcode == TEXT and f'"data":"{n} "'.encode() in frame.payload


@pytest.fixture
def bridge(start, database):
    """No client falls behind, so all bytes are written from one stream; and no pings."""
    return start(database, send_buffer="64MB", ping_interval="1h")


def slow(bridge, **options):
    """A reader for which the server's kernel buffers little, too."""
    return Raw(bridge, receive_buffer=4096, **options)


def buffered(bridge, *clients):
    """Bytes that were given to lws and are neither read nor in a kernel."""
    return bridge.metrics()["pgcast_sent_bytes_total"] - sum(
        len(client.bytes) + client.in_kernel() for client in clients)


def fill(bridge, database, *clients):
    """Publishes until lws has to buffer data for all these clients."""
    publish(database, range(MUCH))
    wait_for(lambda: buffered(bridge, *clients) > 0, "the buffers to be full")


def test_partial_write_arrives_whole_and_in_order(bridge, database):
    with slow(bridge) as client:
        fill(bridge, database, client)
        publish(database, range(MUCH, MUCH + 11))
        messages, controls = client.until(is_last(MUCH + 10))
        check(messages, range(MUCH + 11))
        assert controls == []
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_shared_blocks_are_not_modified(bridge, database):
    """A write into or before the blocks for one client would change the bytes of the next."""
    with slow(bridge) as first, Raw(bridge) as second, slow(bridge) as third, Raw(bridge) as fourth:
        readers = [first, second, third, fourth]
        fill(bridge, database, *readers)
        publish(database, [MUCH])
        for client in second, fourth, third, first:
            messages, _ = client.until(is_last(MUCH))
            check(messages, range(MUCH + 1))
        assert all(client.bytes == first.bytes for client in readers)
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_pongs_come_between_frames(bridge, database):
    with slow(bridge) as client:
        fill(bridge, database, client)
        pings = [b"%d" % n for n in range(20)]
        messages, controls = [], []
        for payload in pings:
            client.send(PING, payload)
            more = client.until(lambda frame: frame.last and frame.opcode != PONG)
            messages, controls = messages + more[0], controls + more[1]
        more = client.until(is_last(MUCH - 10))
        messages, controls = messages + more[0], controls + more[1]
        check(messages, range(MUCH - 9))
        assert len(controls) > 0 and {frame.opcode for frame in controls} == {PONG}
        pongs = [frame.payload for frame in controls]
        assert pongs == sorted(set(pongs), key=pings.index)


def test_close_answer_follows_whole_frame(bridge, database):
    with slow(bridge) as client:
        publish(database, range(9))
        wait_for(lambda: client.in_kernel() > 32 * sum(SIZES[:9]) and buffered(bridge, client) == 0,
                 "the kernels to have everything")
        client.send(CLOSE, close_frame(1000).payload)
        messages, controls = client.rest()
        check(messages, range(9))
        assert controls == [close_frame(1000)]
    wait_for(lambda: bridge.metrics()["pgcast_clients"] == 0, "the client to be removed")


def test_close_during_partial_write_is_answered(bridge, database):
    """The client receives the buffered data, but not everything after it."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        written = bridge.metrics()["pgcast_sent_bytes_total"]
        client.send(CLOSE, close_frame(1000).payload)
        messages, controls = client.rest()
        check(messages, range(len(messages)))
        assert controls == [close_frame(1000)]
        assert written <= len(client.bytes) - 4 and len(messages) < MUCH
    wait_for(lambda: bridge.metrics()["pgcast_clients"] == 0, "the client to be removed")


def test_slow_reader_is_read_between_writes(bridge, database):
    """And not only after the last write."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        publish(database, range(MUCH, 2 * MUCH))
        for _ in range(10):
            client.send(TEXT, b'{"cmd":"nothing","padding":"%s"}' % (b"x" * 60))
        messages, _ = client.until(
            lambda _: bridge.metrics()["pgcast_bad_messages_total"] == 10)
        assert len(messages) < MUCH
        check(messages + client.until(is_last(2 * MUCH - 10))[0], range(2 * MUCH - 9))


def test_slow_reader_keeps_its_message_rate(start, database):
    """Messages that waited to be read were not sent all at once."""
    bridge = start(database, send_buffer="64MB", ping_interval="1h", message_rate="10/s")
    with slow(bridge) as client:
        fill(bridge, database, client)
        for _ in range(25):
            client.send(TEXT, b"{}")
            time.sleep(0.11)
        messages, controls = client.until(is_last(MUCH - 10))
        check(messages, range(MUCH - 9))
        assert controls == []
        wait_for(lambda: bridge.metrics()["pgcast_bad_messages_total"] == 25,
                 "all messages to be read")


def test_disconnect_during_partial_write_is_noticed(bridge, database):
    """Although the bridge does not read from the client at that time."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        assert bridge.connections() == 1
    wait_for(lambda: bridge.connections() == 0, "the client to be removed")


def test_close_frame_follows_partial_write(start, database):
    bridge = start(database, send_buffer="64MB", ping_interval="1h", slow_timeout="200ms")
    with slow(bridge) as client:
        fill(bridge, database, client)
        wait_for(lambda: bridge.metrics()["pgcast_too_slow_total"] == 1, "the timeout")
        publish(database, range(MUCH, MUCH + 11))
        bridge.settle(database)
        messages, controls = client.until(lambda frame: frame.opcode == CLOSE)
        check(messages, range(len(messages)))
        assert controls == [close_frame(4508, "too slow")]
        client.send(CLOSE, controls[0].payload)
        assert client.rest() == ([], [])
    assert len(messages) < MUCH


def test_pings_come_between_frames(start, database):
    """The client first reads nothing for several ping intervals. Then it reads everything, always
    with much data before the ping, and answers when it reaches the ping."""
    bridge = start(database, send_buffer="64MB", ping_interval="1s", ping_timeout="1s")
    with slow(bridge) as client, Raw(bridge, "uid=u2") as other:
        fill(bridge, database, client, other)
        for _ in range(4):
            assert other.frame().opcode == PING
            other.send(PONG, b".")
        n, messages, controls = MUCH, [], []
        while len(controls) < 3:
            if client.in_kernel() < 256 << 10:
                publish(database, range(n, n + 10))
                n += 10
            more = client.until(lambda _: True)
            assert not client.ended, "the connection was dropped"
            messages, controls = messages + more[0], controls + more[1]
            if more[1]:
                client.send(PONG, more[1][0].payload)
        publish(database, [n])
        messages += client.until(is_last(n))[0]
        check(messages, range(n + 1))
        assert {frame.opcode for frame in controls} == {PING}
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_close_without_answer_ends_connection(bridge):
    """The refusal of a missing uid; the timeout of lws ends the connection."""
    with Raw(bridge, "") as client:
        messages, controls = client.rest()
        assert messages == []
        assert [frame.payload[:2] for frame in controls] == [close_frame(4400).payload]
    assert bridge.connections() == 0


def test_close_with_answer_ends_connection_at_once(bridge):
    with Raw(bridge, "") as client:
        answer = client.frame()
        client.socket.settimeout(3)  # seconds; without the answer it takes 5
        client.send(CLOSE, answer.payload)
        assert client.rest() == ([], [])


# The next two tests send no request to the bridge while they wait, since that would wake lws.


def test_close_from_timer_ends_connection(start, database):
    bridge = start(database, send_buffer="64MB", ping_interval="1h", slow_timeout="1s",
                   log_level="debug")
    with slow(bridge) as client:
        fill(bridge, database, client)
        bridge.wait_line("connection closed: 4508")
        wait_for(lambda: bridge.connections() == 0, "the connection to end", timeout=8)


def test_drop_from_timer_ends_connection_at_once(start, database):
    bridge = start(database, ping_interval="1s", ping_timeout="1s", log_level="debug")
    with Raw(bridge) as client:
        bridge.wait_line("connection: dropped: ping not answered")
        wait_for(lambda: bridge.connections() == 0, "the connection to end", timeout=5)
        assert {frame.opcode for frame in client.rest()[1]} == {PING}


def test_handshake_without_extensions_or_http2(bridge):
    offered = "permessage-deflate; client_max_window_bits"
    with Raw(bridge, Sec_WebSocket_Extensions=offered) as client:
        assert "extensions" not in client.answer
    host, port = bridge.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(9)
            assert not answer or answer.startswith(b"HTTP/1."), "a SETTINGS frame"


async def test_disconnect_at_any_stage_releases_connection(bridge):
    """Also before the handshake is complete."""
    before = bridge.descriptors()
    host, port = bridge.address.rsplit(":", 1)
    request = f"GET /?uid=u1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n".encode()
    whole = request + b"Connection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n"
    for part in b"", request[:9], request, whole:
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(part)
    async with bridge.client() as aborted, bridge.client(v1=True), bridge.client() as refused:
        await refused.send(b"binary")
        assert (await refused.closed())[0] == 1003
        aborted.socket.transport.abort()
        await eventually(lambda: bridge.metrics()["pgcast_clients"] == 1,
                         "two clients to be removed")
    await eventually(lambda: bridge.metrics()["pgcast_clients"] == 0, "all clients to be removed")
    await eventually(lambda: bridge.connections() == 0, "the connections to be closed")
    # One more may belong to a request for the metrics.
    await eventually(lambda: bridge.descriptors() <= before + 1, "the descriptors to be closed")
    assert bridge.metrics()["pgcast_joins_total"] == 3
