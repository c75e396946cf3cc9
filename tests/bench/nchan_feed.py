"""What brings rows to nchan, which knows no database: LISTEN, and a POST for each row, pipelined.

usage: nchan_feed.py CONNINFO PORT
"""

import json
import socket
import sys
import threading

import psycopg


def drop_answers(connection):
    while connection.recv(1 << 20):
        pass


def main():
    with psycopg.connect(sys.argv[1], autocommit=True) as database, \
            socket.create_connection(("127.0.0.1", int(sys.argv[2]))) as nginx:
        threading.Thread(target=drop_answers, args=(nginx,), daemon=True).start()
        database.execute("listen tick")
        print("listening", flush=True)
        for notify in database.notifies():
            text = notify.payload.encode()
            nginx.sendall(b"POST /pub?uid=%s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (
                json.loads(notify.payload)["data"]["uid"].encode(), len(text), text))


main()
