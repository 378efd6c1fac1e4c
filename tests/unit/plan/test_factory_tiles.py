"""Tiles: how far, how fast, how long still."""

from __future__ import annotations

import pytest

from imagekit.plan.factory_job import Port
from imagekit.plan.factory_tiles import State, Tile, begun, clock_text, counted, emptied, ended, moved, tile_json
from imagekit.plan.flash_events import Phase

TILE = begun(Tile(port=Port(name="A", usb="1-1")), device="card", amount=1000)


def test_writing_and_reading_back_are_half_of_the_way_each() -> None:
    assert moved(TILE, Phase.WRITE, 500, 1000, now_s=0).share == 0.25
    assert moved(TILE, Phase.VERIFY, 500, 1000, now_s=0).share == 0.75
    assert ended(TILE, problem="", serial="A1").share == 1.0
    assert emptied(TILE).share == 0.0


def test_speed_is_that_of_the_last_seconds_and_time_left_counts_reading_back_too() -> None:
    tile = TILE
    for second in range(20):
        tile = moved(tile, Phase.WRITE, 10 * second if second < 10 else 90 + 20 * (second - 9), 1000, now_s=second)
    assert tile.speed == pytest.approx(20)
    assert tile.left_s == pytest.approx((1000 - 290 + 1000) / 20)
    tile = moved(tile, Phase.VERIFY, 0, 1000, now_s=20)
    assert (tile.state, len(tile.marks)) == (State.VERIFYING, 1)


def test_counts_go_on_and_the_last_serial_stays() -> None:
    tile = ended(ended(TILE, problem="", serial="A1"), problem="pulled out", serial="")
    assert (tile.good, tile.bad, tile.serial, tile.state) == (1, 1, "A1", State.FAILED)
    assert counted([tile, tile]) == (2, 2)
    assert tile_json(tile)["problem"] == "pulled out"


def test_times_are_told_as_clocks_do() -> None:
    assert [clock_text(value) for value in (0.4, 42, 725, 3723)] == ["0:00", "0:42", "12:05", "1:02:03"]
