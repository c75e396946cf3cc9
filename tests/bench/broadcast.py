"""The usual solution in Python: psycopg with LISTEN, a dict of sockets, websockets.broadcast."""

import asyncio
import collections
import json
import sys
import urllib.parse

import psycopg
import websockets

sockets = collections.defaultdict(set)


async def serve(socket, path):
    uid = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)["uid"][0]
    sockets[uid].add(socket)
    try:
        await socket.wait_closed()
    finally:
        sockets[uid].discard(socket)


async def main():
    database = await psycopg.AsyncConnection.connect(sys.argv[1], autocommit=True)
    await database.execute("listen tick")
    # The same ping interval as pgcast's.
    async with websockets.serve(serve, "127.0.0.1", 0, backlog=4096, compression=None,
                                ping_interval=25, ping_timeout=10) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        async for notify in database.notifies():
            websockets.broadcast(sockets.get(json.loads(notify.payload)["data"]["uid"], ()),
                                 notify.payload)


asyncio.run(main())
