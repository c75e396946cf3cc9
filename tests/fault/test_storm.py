"""A crowd comes back at once; script/torture storm measures a larger one."""

from storm import storm

CLIENTS = 2_000


def test_a_crowd_that_comes_back_at_once_loses_nothing():
    *times, end = storm(CLIENTS, CLIENTS, rounds=2)
    print(times, end)
    assert [(time["resumed"], time["resets"]) for time in times] == [(CLIENTS, 0)] * 2
    assert end["received"] > 0 and end["gaps"] == 0
