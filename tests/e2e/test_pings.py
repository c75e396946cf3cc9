"""When clients that say nothing are pinged."""

import selectors
import time

from harness import PATIENCE
from test_protocol import handshake


def test_clients_that_come_together_are_not_pinged_together(start, database):
    bridge = start(database, ping_interval="2s")
    silent, pinged_after = selectors.DefaultSelector(), []
    for _ in range(20):
        silent.register(handshake(bridge.address)[2], selectors.EVENT_READ, time.monotonic())
    while silent.get_map():
        ready = silent.select(PATIENCE)
        assert ready, "somebody is not pinged"
        for key, _ in ready:
            assert key.fileobj.recv(100) == b"\x89\x01."
            pinged_after.append(time.monotonic() - key.data)
            silent.unregister(key.fileobj)
            key.fileobj.close()
    assert max(pinged_after) - min(pinged_after) > 0.5
