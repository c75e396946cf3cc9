"""Brings rows to nchan, which has no database access: LISTEN, and a pipelined POST for each row.

usage: nchan_feed.py CONNINFO PORT
"""

import json
import socket
import sys
import threading

import psycopg


def drop_responses(connection):
    while connection.recv(1 << 20):
        pass


def main():
    with psycopg.connect(sys.argv[1], autocommit=True) as database, \
            socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as nginx:
        threading.Thread(target=drop_responses, args=(nginx,), daemon=True).start()
        database.execute("listen tick")
        print("listening", flush=True)
        for notify in database.notifies():
            text = notify.payload.encode()
            nginx.sendall(b"POST /pub?uid=%s HTTP/1.1\r\nHost: bench\r\n"
                          b"Content-Length: %d\r\n\r\n%s" % (
                json.loads(notify.payload)["data"]["uid"].encode(), len(text), text))


main()
