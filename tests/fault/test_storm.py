"""Many clients reconnect at once; script/torture storm measures more of them."""

from storm import storm

CLIENTS = 2_000


def test_storm_of_reconnects_loses_nothing():
    *times, end = storm(CLIENTS, CLIENTS, rounds=2)
    print(times, end)
    assert [(time["resumed"], time["resets"]) for time in times] == [(CLIENTS, 0)] * 2
    assert end["received"] > 0 and end["gaps"] == 0
