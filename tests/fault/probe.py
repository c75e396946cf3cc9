"""Publishes a message every 20 ms and prints for each one the time of its commit (seconds since
1970) and how many milliseconds later it was received. A process of its own, since the torture's
clients would delay it.

    probe.py CONNINFO PORT
"""

import asyncio
import json
import sys
import time

import psycopg
import websockets

UID = "probe"


async def write(conninfo, commits):
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as db:
        while True:
            number = len(commits)
            await db.execute("select pgcast.publish(%s, 'probe', to_json(%s::int))", (UID, number))
            commits.append(time.time())
            await asyncio.sleep(0.02)


async def main(conninfo, port):
    commits = []
    async with websockets.connect(f"ws://127.0.0.1:{port}/?uid={UID}", compression=None,
                                  ping_interval=None, max_size=None) as socket:
        writing = asyncio.ensure_future(write(conninfo, commits))
        async for text in socket:
            received, message = time.time(), json.loads(text)
            if message["type"] != "probe":
                continue
            while len(commits) <= message["data"]:  # the message may be faster than the reply
                assert not writing.done(), writing.exception()
                await asyncio.sleep(0)
            at = commits[message["data"]]
            print(at, max(0, 1000 * (received - at)), flush=True)


asyncio.run(main(*sys.argv[1:]))
