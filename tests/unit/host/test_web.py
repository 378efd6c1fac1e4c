"""How long a server is waited for; what of it is held against a real one is in tests/attacks."""

from __future__ import annotations

import pytest
from tuf.api.exceptions import DownloadError

from imagekit.host.web import Pace, Patience


def taken(patience: Patience, size: int, *, body: bool = True) -> int:
    """A hundred reads of `size` bytes, ten seconds for each, and as long again to do something with it."""
    passed, total = [0.0], 0

    def read() -> int:
        passed[0] += 10
        return size

    pace = Pace(patience, seconds=lambda: passed[0])
    for _ in range(100):
        came = pace.wait(read) or 0
        if body:
            pace.count(came)
        total += came
        passed[0] += 10
    return total


SLOW = Patience(window_s=60, least_rate=100)


def test_pace_is_held_against_the_time_of_waiting_alone() -> None:
    assert taken(SLOW, 1000) == 100_000
    with pytest.raises(DownloadError, match="too slowly, 5994 bytes in 60 s, after 5994 bytes"):
        taken(SLOW, 999)


def test_what_is_no_body_counts_for_nothing() -> None:
    with pytest.raises(DownloadError, match="too slowly, 0 bytes in 60 s, after 0 bytes"):
        taken(SLOW, 1000, body=False)
    with pytest.raises(DownloadError, match="sent 2000 bytes beside what it was asked for, after 0 bytes"):
        taken(Patience(window_s=60, least_rate=100, beside=1999), 1000, body=False)


def test_file_that_ends_within_the_first_window_may_come_slowly() -> None:
    pace = Pace(SLOW, seconds=lambda: 0.0)
    assert (pace.wait(lambda: 1), pace.wait(lambda: 0)) == (1, 0)


def test_each_request_begins_with_all_patience() -> None:
    pace = Pace(Patience(beside=10), seconds=lambda: 0.0)
    for _ in range(3):
        pace.begin()
        pace.wait(lambda: 11)
    with pytest.raises(DownloadError):
        pace.wait(lambda: 1)
