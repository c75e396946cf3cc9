"""Transactions end in another order than they began; who is connected gets each when it ends."""

import contextlib


async def test_what_commits_late_arrives_when_it_does(bridge, database):
    # More than the pull cuts its range at; those that began before and after the last position; and
    # in the end none is in progress, which is a pull of its own.
    ends = [5, 12, 0, 3, 7, 6, 10, 1, 13, 2, 4, 9, 8, 11]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(database.connect()) for _ in ends]

        def begin(n):
            writers[n].execute("begin")
            writers[n].execute("select pgcast.publish('u1', 'open', to_json(%s::int))", (n,))

        async with bridge.client() as client:
            for n in range(7):
                begin(n)
            for n in ends:
                writers[n].execute("rollback" if n == 9 else "commit")
                if n < 7:
                    begin(n + 7)
                database.publish("u1", "between")
                await client.until(lambda m: m["data"] == "between")
            for _ in range(2):
                database.publish("u1", "alone")
                await client.until(lambda m: m["data"] == "alone")
            got = [message["data"] for message in client.seen if message["data"] not in ("between", "alone")]
    assert got == [n for n in ends if n != 9]
