"""Thousands of clients: each gets every event of its uid once and in order."""

import pytest

from load import Load

EVENTS = 50_000
CLIENTS = 2_000
# With the default of megabytes per client, a ping would wait in the kernel for minutes.
RECEIVE_BUFFER = 64 << 10


@pytest.mark.timeout(300)
@pytest.mark.parametrize("uids", [1, CLIENTS], ids=["one_uid", "a_uid_each"])
def test_crowd_receives_every_event_once(start, database, uids):
    database.execute("create table tick(uid text, n int)", "select pgcast.watch('tick')")
    bridge = start(database, max_clients_per_uid=CLIENTS, ping_timeout="1min",
                   through=["/usr/bin/prlimit", "--nofile=8192:"])
    each = EVENTS // uids
    step = max(1, 1000 // uids)
    load = Load(bridge.address.rsplit(":", 1)[1], CLIENTS, uids, RECEIVE_BUFFER)
    try:
        load.expect(each, 240)
        with database.connect() as connection:
            for first in range(1, each + 1, step):
                connection.execute("""insert into tick select 'u' || uid, n
                    from generate_series(%s::int, %s) n, generate_series(0, %s) uid
                    order by n""", (first, first + step - 1, uids - 1))
        seen = load.result()
    finally:
        load.stop()
    assert seen["received"] == CLIENTS * each
