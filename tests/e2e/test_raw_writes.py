"""What conn.h takes for granted about libwebsockets, looked at on real sockets, byte by byte: frames
of ours by raw writes, whatever the peer takes; lws's own frames between them; the end of a connection."""

import contextlib
import hashlib
import json
import socket
import time

import pytest

from harness import TIMEOUT, eventually, wait_for
from raw import CLOSE, PING, PONG, TEXT, Raw, close_frame

# So many times 32 characters: frames of each kind of length, and messages of several.
SIZES = [0, 2, 3, 4, 300, 2046, 2047, 2048, 7000, 20000]
MUCH = 60  # messages, more than kernels keep for a slow reader


def text_of(n):
    return f"{n} " + hashlib.md5(str(n).encode()).hexdigest() * SIZES[n % len(SIZES)]


def publish(database, numbers, uid="u1"):
    with database.connect() as connection:
        for n in numbers:
            connection.execute("select pgcast.publish(%s, 'big', to_json(%s || repeat(md5(%s), %s)))",
                               (uid, f"{n} ", str(n), SIZES[n % len(SIZES)]))


def check(messages, numbers):
    """Each of these, in order and as it was written."""
    got = [json.loads(message)["data"] for message in messages]
    assert [text.split(" ")[0] for text in got] == [str(n) for n in numbers]
    assert got == [text_of(n) for n in numbers]


def is_last(n):
    """For Raw.until: the frame that ends message n, which is a short one."""
    assert SIZES[n % len(SIZES)] == 0
    return lambda frame: frame.opcode == TEXT and f'"data":"{n} "'.encode() in frame.payload


@pytest.fixture
def bridge(start, database):
    """Nobody falls behind, so that all comes by writes from one run; and no pings."""
    return start(database, send_buffer="64MB", ping_interval="1h")


def slow(bridge, **options):
    """A reader for whom the server's kernel keeps little, too: it sees how slow it is."""
    return Raw(bridge, receive_buffer=4096, **options)


def kept(bridge, *clients):
    """Bytes that were handed to lws, and neither read nor in a kernel: lws keeps them."""
    return bridge.metrics()["pgcast_sent_bytes_total"] - sum(
        len(client.bytes) + client.in_kernel() for client in clients)


def fill(bridge, database, *clients):
    """Publishes until lws has to keep a rest for all who read nothing."""
    publish(database, range(MUCH))
    wait_for(lambda: kept(bridge, *clients) > 0, "the buffers to be full")


def test_what_the_kernel_does_not_take_comes_whole_and_in_order(bridge, database):
    with slow(bridge) as client:
        fill(bridge, database, client)
        publish(database, range(MUCH, MUCH + 11))
        messages, controls = client.until(is_last(MUCH + 10))
        check(messages, range(MUCH + 11))
        assert controls == []
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_one_run_serves_all_and_stays_as_it_was(bridge, database):
    """Were anything written into it, or before it, by the first one's write, the next would see."""
    with slow(bridge) as first, Raw(bridge) as second, slow(bridge) as third, Raw(bridge) as fourth:
        readers = [first, second, third, fourth]
        fill(bridge, database, *readers)
        publish(database, [MUCH])
        for client in second, fourth, third, first:
            messages, _ = client.until(is_last(MUCH))
            check(messages, range(MUCH + 1))
        assert all(client.bytes == first.bytes for client in readers)
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_pongs_go_between_our_frames(bridge, database):
    with slow(bridge) as client:
        fill(bridge, database, client)
        asked = [b"%d" % n for n in range(20)]
        messages, controls = [], []
        for n, payload in enumerate(asked):
            client.send(PING, payload)
            more = client.until(lambda frame: frame.last and frame.opcode != PONG)
            messages, controls = messages + more[0], controls + more[1]
        more = client.until(is_last(MUCH - 10))
        messages, controls = messages + more[0], controls + more[1]
        check(messages, range(MUCH - 9))
        assert len(controls) > 0 and {frame.opcode for frame in controls} == {PONG}
        answers = [frame.payload for frame in controls]
        assert answers == sorted(set(answers), key=asked.index)


def test_the_answer_to_a_close_goes_behind_whole_frames(bridge, database):
    with slow(bridge) as client:
        publish(database, range(9))
        wait_for(lambda: client.in_kernel() > 64 << 10 and kept(bridge, client) == 0, "the kernels to have it")
        client.send(CLOSE, close_frame(1000).payload)
        messages, controls = client.rest()
        check(messages, range(9))
        assert controls == [close_frame(1000)]
    wait_for(lambda: bridge.metrics()["pgcast_clients"] == 0, "it to be gone")


def test_who_closes_while_lws_keeps_a_rest_gets_that_and_an_answer(bridge, database):
    """And not all that is still behind it."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        handed = bridge.metrics()["pgcast_sent_bytes_total"]
        client.send(CLOSE, close_frame(1000).payload)
        messages, controls = client.rest()
        check(messages, range(len(messages)))
        assert controls == [close_frame(1000)]
        assert handed <= len(client.bytes) - 4 and len(messages) < MUCH
    wait_for(lambda: bridge.metrics()["pgcast_clients"] == 0, "it to be gone")


def test_who_reads_slowly_is_heard_between_two_writes(bridge, database):
    """And not when there is nothing left to be written."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        publish(database, range(MUCH, 2 * MUCH))
        for _ in range(10):
            client.send(TEXT, b'{"cmd":"nothing","padding":"%s"}' % (b"x" * 60))
        messages, _ = client.until(lambda frame: bridge.metrics()["pgcast_bad_messages_total"] == 10)
        assert len(messages) < MUCH
        check(messages + client.until(is_last(2 * MUCH - 10))[0], range(2 * MUCH - 9))


def test_who_reads_slowly_may_have_sent_as_much_as_others(start, database):
    """What waited to be heard was not sent all at once."""
    bridge = start(database, send_buffer="64MB", ping_interval="1h", message_rate="10/s")
    with slow(bridge) as client:
        fill(bridge, database, client)
        for _ in range(25):
            client.send(TEXT, b"{}")
            time.sleep(0.11)
        messages, controls = client.until(is_last(MUCH - 10))
        check(messages, range(MUCH - 9))
        assert controls == []
        wait_for(lambda: bridge.metrics()["pgcast_bad_messages_total"] == 25, "all to be heard")


def test_who_vanishes_while_lws_keeps_a_rest_is_gone(bridge, database):
    """Though not read from."""
    with slow(bridge) as client:
        fill(bridge, database, client)
        assert bridge.connections() == 1
    wait_for(lambda: bridge.connections() == 0, "it to be gone")


def test_our_close_goes_behind_what_is_kept_and_nothing_follows(start, database):
    bridge = start(database, send_buffer="64MB", ping_interval="1h", slow_timeout="200ms")
    with slow(bridge) as client:
        fill(bridge, database, client)
        wait_for(lambda: bridge.metrics()["pgcast_too_slow_total"] == 1, "it to be too slow")
        publish(database, range(MUCH, MUCH + 11))
        bridge.settle(database)
        messages, controls = client.until(lambda frame: frame.opcode == CLOSE)
        check(messages, range(len(messages)))
        assert controls == [close_frame(4508, "too slow")]
        client.send(CLOSE, controls[0].payload)
        assert client.rest() == ([], [])
    assert len(messages) < MUCH


def test_pings_go_between_our_frames(start, database):
    """To one who takes nothing, and cannot come to a ping, for some rounds of them; and who then takes
    all, has always much before it, and answers when it comes to the ping."""
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
            more = client.until(lambda frame: True)
            assert not client.ended, "dropped"
            messages, controls = messages + more[0], controls + more[1]
            if more[1]:
                client.send(PONG, more[1][0].payload)
        publish(database, [n])
        messages += client.until(is_last(n))[0]
        check(messages, range(n + 1))
        assert {frame.opcode for frame in controls} == {PING}
    assert bridge.metrics()["pgcast_fallen_behind_total"] == 0


def test_a_close_that_is_not_answered_is_followed_by_the_end(bridge):
    """It is the refusal of a uid; lws's timeout stands behind it."""
    with Raw(bridge, "") as client:
        messages, controls = client.rest()
        assert messages == [] and [frame.payload[:2] for frame in controls] == [close_frame(4400).payload]
    assert bridge.connections() == 0


def test_a_close_that_is_answered_is_followed_by_the_end_at_once(bridge):
    with Raw(bridge, "") as client:
        answer = client.frame()
        client.socket.settimeout(3)  # seconds; without the answer it would take 5
        client.send(CLOSE, answer.payload)
        assert client.rest() == ([], [])


# What follows looks for the end without asking the bridge anything: a request would wake lws.


def test_a_close_from_a_timer_of_ours_is_followed_by_the_end(start, database):
    bridge = start(database, send_buffer="64MB", ping_interval="1h", slow_timeout="1s", log_level="debug")
    with slow(bridge) as client:
        fill(bridge, database, client)
        bridge.wait_line("connection: closed with 4508")
        wait_for(lambda: bridge.connections() == 0, "the connection to end", timeout=8)


def test_a_drop_from_a_timer_of_ours_is_the_end_at_once(start, database):
    bridge = start(database, ping_interval="1s", ping_timeout="1s", log_level="debug")
    with Raw(bridge) as client:
        bridge.wait_line("connection: dropped: ping not answered")
        wait_for(lambda: bridge.connections() == 0, "the connection to end", timeout=5)
        assert {frame.opcode for frame in client.rest()[1]} == {PING}


def test_there_are_no_extensions_and_no_http2(bridge):
    offered = "permessage-deflate; client_max_window_bits"
    with Raw(bridge, Sec_WebSocket_Extensions=offered) as client:
        assert "extensions" not in client.answer
    host, port = bridge.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        with contextlib.suppress(ConnectionResetError):
            said = connection.recv(9)
            assert not said or said.startswith(b"HTTP/1."), "that is a SETTINGS frame"


async def test_ends_of_all_kinds_are_ends(bridge, database):
    """Some come before the connection was one."""
    before = bridge.descriptors()
    host, port = bridge.address.rsplit(":", 1)
    asked = f"GET /?uid=u1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n".encode()
    for part in b"", asked[:9], asked, asked + b"Connection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n":
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(part)
    async with bridge.client() as gone, bridge.client(v1=True), bridge.client() as left:
        await left.send(b"binary")
        assert (await left.closed())[0] == 1003
        gone.socket.transport.abort()
        await eventually(lambda: bridge.metrics()["pgcast_clients"] == 1, "two to be gone")
    await eventually(lambda: bridge.metrics()["pgcast_clients"] == 0, "all to be gone")
    await eventually(lambda: bridge.connections() == 0, "the connections to be closed")
    # One more may be the end of a request for the metrics.
    await eventually(lambda: bridge.descriptors() <= before + 1, "the descriptors to be closed")
    assert bridge.metrics()["pgcast_joins_total"] == 3
