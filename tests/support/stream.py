"""Helpers for a stream of messages: collect it, replay it, write to it."""

import contextlib
import threading


def data(messages):
    """The data of all messages except control messages."""
    return [message["data"] for message in messages if message["type"] != "pgcast"]


def ids(messages):
    return [message["id"] for message in messages if "id" in message]


def resets(client):
    """The reasons of the resets that the client received."""
    return [message["reason"] for message in client.seen if message["op"] == "reset"]


async def current_cursor(bridge, uid="u1"):
    """The cursor at which a new client begins."""
    async with bridge.client(uid, v1=True) as client:
        return client.hello["cursor"]


async def cursor_now(bridge, database, uid="u1"):
    """The cursor after a marker that is published here."""
    async with bridge.client(uid, v1=True) as client:
        await client.before_marker(database)
        return await client.latest_cursor()


def replay(messages):
    """The rows of a client that applies an init's answer and then every change."""
    answer, *changes = messages
    rows = {row["id"]: row["detail"] for row in answer["data"]}
    for message in changes:
        row = message["data"]
        if message["op"] == "insert":
            assert row["id"] not in rows, f"row {row['id']} came twice"
        else:
            assert row["id"] in rows, f"row {row['id']} was never sent"
        if message["op"] == "delete":
            del rows[row["id"]]
        else:
            assert message["op"] != "update" or message["old"]["detail"] == rows[row["id"]]
            rows[row["id"]] = row["detail"]
    return rows


def table(database, uid="u1"):
    with database.connect() as connection:
        return dict(connection.execute("select id, detail from log where uid = %s",
                                       (uid,)).fetchall())


@contextlib.contextmanager
def in_threads(work, threads):
    """Runs work(stop, count) in threads until the end of the block; yields the count."""
    stop, count = threading.Event(), [0]
    running = [threading.Thread(target=work, args=(stop, count)) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield count
    finally:
        stop.set()
        for thread in running:
            thread.join()


def writing(database, uid="u1", threads=3):
    """Writers that insert, update and delete rows of the uid and roll some work back."""
    def write(stop, count):
        with database.connect() as connection:
            while not stop.is_set():
                with connection.transaction():
                    new = connection.execute(
                        "insert into log(uid, detail) values (%s, '0') returning id",
                        (uid,)).fetchone()[0]
                    connection.execute("update log set detail = '1' where id = %s", (new,))
                with connection.transaction(force_rollback=True):
                    connection.execute("insert into log(uid) values (%s)", (uid,))
                if new % 3 == 0:
                    connection.execute("delete from log where id = %s", (new,))
                count[0] += 1

    return in_threads(write, threads)


def publishing(database, uid="u1"):
    """Publishes 0, 1, 2 and so on to the uid; yields how many."""
    def publish(stop, count):
        with database.connect() as connection:
            while not stop.is_set():
                connection.execute("select pgcast.publish(%s, 'count', to_json(%s::int))",
                                   (uid, count[0]))
                count[0] += 1

    return in_threads(publish, 1)
