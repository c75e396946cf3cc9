"""The handshake, plain clients and pgcast.v1, refusals and close codes."""

import asyncio
import contextlib
import json
import selectors
import time

import pytest
import websockets

from harness import TIMEOUT, eventually, wait_for
from raw import PING, Frame, Raw


async def test_plain_client_receives_only_data(bridge, database):
    async with bridge.client("u1") as client:
        for junk in "{", "[]", "1", '{"cmd":5}', '{"cmd":"nonsense"}', '{"cmd":"init"}', \
                '{"cmd":"init","type":"no such table"}', '{"type":"log"}', "x" * 1000, "":
            await client.send(junk)
        await client.init()
        database.execute("insert into log(uid) values ('u1')", "delete from log", "truncate log")
        database.publish("u1", "the end")
        messages = await client.until(lambda message: message.get("data") == "the end")
    assert messages and all("data" in message for message in messages)
    assert {message["type"] for message in messages} <= {"log", "marker"}


async def test_v1_starts_with_hello(bridge):
    async with bridge.client("u1", v1=True) as client:
        assert client.socket.subprotocol == "pgcast.v1"
        hello = client.hello
    assert (hello["type"], hello["op"], hello["uid"]) == ("pgcast", "hello", "u1")
    assert hello["resumed"] is False
    assert 0 < len(hello["cursor"]) <= 512
    assert hello["version"]


async def test_v1_sends_cursor_after_each_batch(bridge, database):
    async with bridge.client("u1", v1=True) as client:
        cursors = {client.hello["cursor"]}
        for _ in range(3):
            database.execute("insert into log(uid) values ('u1')")
            messages = await client.until(lambda message: message["op"] == "cursor")
            assert "insert" in [message["op"] for message in messages] or messages[-1]["cursor"]
            assert 0 < len(messages[-1]["cursor"]) <= 512
            cursors.add(messages[-1]["cursor"])
        assert len(cursors) > 1


async def test_v1_reports_invalid_messages(bridge):
    async with bridge.client("u1", v1=True) as client:
        for text, ref in (("{", None), ('{"cmd":"nonsense","ref":7}', 7),
                          ('{"cmd":"init","ref":"a"}', "a"),
                          ('{"cmd":"init","type":"no such table","ref":{"b":[1]}}', {"b": [1]})):
            await client.send(text)
            error = (await client.until(lambda message: message["op"] != "cursor"))[-1]
            assert (error["type"], error["op"]) == ("pgcast", "error")
            assert error["code"] and error["message"] and error.get("ref") == ref


async def test_v1_acknowledges_ref(bridge):
    async with bridge.client("u1", v1=True) as client:
        await client.send({"cmd": "init", "type": "log", "ref": 1, "unknown": True})
        messages = await client.until(lambda message: message["op"] == "ack")
    assert messages[-1]["ref"] == 1
    assert [message["data"] for message in messages if message["op"] == "init"] == [[]]


async def test_v1_hello_names_the_types(bridge):
    for types, named in (None, None), ("log,chat", ["log", "chat"]), ("", []):
        async with bridge.client("u1", v1=True, types=types) as client:
            assert client.hello["types"] == named


async def test_ping_is_answered_in_kind(bridge):
    for v1 in False, True:
        async with bridge.client(v1=v1) as client:
            await client.send("ping")
            while (text := await asyncio.wait_for(client.socket.recv(), TIMEOUT)) != "pong":
                assert json.loads(text)["op"] == "cursor"
            await client.send({"cmd": "ping", "ref": 1})
            pong = (await client.until(lambda message: message["op"] != "cursor"))[-1]
            assert pong == {"type": "pgcast", "op": "pong", "ref": 1}
    assert bridge.metrics()["pgcast_bad_messages_total"] == 0


async def test_subprotocol_pgcast_v1_is_selected(bridge):
    offered = ["bearer.abc", "pgcast.v1", "other"]
    async with websockets.connect(bridge.url("u1"), subprotocols=offered) as socket:
        assert socket.subprotocol == "pgcast.v1"


async def test_handshake_on_any_path(bridge, database):
    address = bridge.url("u1").replace("/?", "/some/where/ws?")
    async with websockets.connect(address) as socket:
        database.publish("u1", 1)
        assert json.loads(await asyncio.wait_for(socket.recv(), TIMEOUT))["data"] == 1


@pytest.mark.parametrize("query", ["", "?uid=", "?other=1", "?uid=" + "x" * 256, "?uid=%ff"])
async def test_uid_missing_or_invalid_closes_with_4400(bridge, query):
    async with websockets.connect(f"ws://{bridge.address}/{query}") as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), TIMEOUT)
        assert socket.close_code == 4400
        assert socket.close_reason


async def test_uid_with_nul_is_refused(bridge):
    """libwebsockets 4.1.6 closes the connection, 4.3 lets pgcast send a close code."""
    with contextlib.suppress(websockets.InvalidMessage, websockets.ConnectionClosed):
        async with websockets.connect(f"ws://{bridge.address}/?uid=a%00b") as socket:
            with contextlib.suppress(websockets.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), TIMEOUT)
            assert socket.close_code == 4400
    assert bridge.metrics()["pgcast_joins_total"] == 0


def test_origin_of_other_host_is_refused(bridge):
    with Raw(bridge, status=403, Origin="http://evil.example"):
        pass


def test_origin_of_same_host_is_accepted(bridge):
    with Raw(bridge, Origin="http://127.0.0.1:3000"):
        pass


def test_origin_in_allowed_origins_is_accepted(start, database):
    bridge = start(database, allowed_origins="https://*.example.com")
    with Raw(bridge, Origin="https://app.example.com"):
        pass
    with Raw(bridge, Origin="https://example.org", status=403):
        pass


@pytest.mark.parametrize("headers", [
    {"method": "POST"}, {"Upgrade": "h2c"}, {"Sec_WebSocket_Version": "8"},
    {"Sec_WebSocket_Version": "99"}])
def test_handshake_with_invalid_headers_is_refused(bridge, headers):
    with Raw(bridge, status=None, **headers) as client:
        assert client.status != 101


def test_max_clients_refuses_before_upgrade(start, database):
    bridge = start(database, max_clients=2)
    with Raw(bridge):
        with Raw(bridge), Raw(bridge, status=503):
            pass
        wait_for(lambda: Raw(bridge, status=None).status == 101, "room for another client")


async def test_max_clients_per_uid_closes_with_4409(start, database):
    bridge = start(database, max_clients_per_uid=2)
    async with bridge.client(), bridge.client(), bridge.client("u2"), bridge.client() as third:
        assert (await third.closed())[0] == 4409


async def test_max_clients_per_uid_of_zero_is_unlimited(start, database):
    bridge = start(database, max_clients_per_uid=0)
    async with bridge.client() as one, bridge.client() as two:
        database.publish("u1", 1)
        assert (await one.next())["data"] == (await two.next())["data"] == 1


async def test_binary_message_closes_with_1003(bridge):
    async with bridge.client() as client:
        await client.send(b"\x00\x01")
        assert (await client.closed())[0] == 1003


async def test_message_over_limit_closes_with_1009(start, database):
    bridge = start(database, max_message="1kB")
    async with bridge.client() as client:
        await client.send('{"cmd":"init","type":"log","more":"' + "x" * 2000 + '"}')
        assert (await client.closed())[0] == 1009


async def test_message_at_limit_is_read(start, database):
    bridge = start(database, max_message="1kB")
    async with bridge.client() as client:
        text = '{"cmd":"init","type":"log","more":""}'
        await client.send(text[:-2] + "x" * (1024 - len(text)) + '"}')
        assert (await client.next())["op"] == "init"


async def test_message_rate_exceeded_closes_with_4429(start, database):
    bridge = start(database, message_rate="5/s")
    async with bridge.client() as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(100):
                await client.init()
        assert (await client.closed())[0] == 4429


def test_pings_are_spread_over_the_interval(start, database):
    bridge = start(database, ping_interval="2s")
    silent, pinged_after = selectors.DefaultSelector(), []
    for _ in range(20):
        client = Raw(bridge)
        silent.register(client.socket, selectors.EVENT_READ, (client, time.monotonic()))
    while silent.get_map():
        ready = silent.select(TIMEOUT)
        assert ready, "a client is not pinged"
        for key, _ in ready:
            client, connected = key.data
            assert client.frame() == Frame(PING, True, b".")
            pinged_after.append(time.monotonic() - connected)
            silent.unregister(client.socket)
            client.socket.close()
    assert max(pinged_after) - min(pinged_after) > 0.5


async def test_channels_forward_notifications(start, database):
    bridge = start(database, channels="chat,other")
    async with bridge.client() as one, bridge.client("42") as two, bridge.client(v1=True) as three:
        database.execute("""select pg_notify('chat', '{"uid": "u1", "text": "hi"}')""",
                         """select pg_notify('chat', 'not json')""",
                         """select pg_notify('chat', '{"text": "no uid"}')""",
                         """select pg_notify('unconfigured', '{"uid": "u1"}')""",
                         """select pg_notify('other', '{"uid": 42}')""")
        assert await one.next() == {"type": "chat", "op": "publish",
                                    "data": {"uid": "u1", "text": "hi"}}
        assert await two.next() == {"type": "other", "op": "publish", "data": {"uid": 42}}
        assert (await three.until(lambda m: m["op"] == "publish"))[-1]["data"]["text"] == "hi"
        assert await one.before_marker(database) == []


async def test_closed_clients_release_resources(start, database):
    bridge = start(database, query_connections=1)

    def gauges():
        metrics = bridge.metrics()
        return metrics["pgcast_clients"], metrics["pgcast_uids"]

    # The query connection opens with the first init, and stays.
    async with bridge.client() as client:
        await client.init()
        assert (await client.next())["op"] == "init"
    await eventually(lambda: bridge.connections() == 0, "the connection to be closed")
    before = bridge.descriptors()
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(bridge.client(f"u{n % 10}", v1=bool(n % 2)))
                   for n in range(50)]
        assert gauges() == (50, 10)
        assert bridge.connections() == 50
        for n, client in enumerate(clients):
            await client.init()
            if n % 3 == 0:
                client.socket.transport.abort()
        database.execute("""insert into log(uid)
            select 'u' || n % 10 from generate_series(1, 1000) n""")
    await eventually(lambda: gauges() == (0, 0), "the gauges to be zero")
    await eventually(lambda: bridge.connections() == 0, "the connections to be closed")
    # One more may belong to a request for the metrics.
    await eventually(lambda: bridge.descriptors() <= before + 1, "the descriptors to be closed")
