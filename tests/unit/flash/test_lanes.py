"""Pieces on several lanes: each taken once, and what is complete when they end out of order."""

from __future__ import annotations

import queue
import threading

import pytest

from imagekit.errors import TargetError
from imagekit.flash.buffers import Buffer
from imagekit.flash.lanes import Item, Lanes
from imagekit.plan.flash import Piece


def pieces(count: int) -> list[Piece]:
    """Two for each range, of 4096 bytes."""
    return [Piece(start=index * 4096, end=(index + 1) * 4096, range=index // 2, held=False) for index in range(count)]


def filled(items: list[Piece], *, end: Item = None) -> queue.SimpleQueue[Item]:
    found: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for piece in items:
        found.put((piece, Buffer(4096)))
    found.put(end)
    return found


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_piece_is_taken_once(count: int) -> None:
    taken: list[Piece] = []
    lanes = Lanes(filled(pieces(40)).get, lambda piece, buffer: taken.append(piece))
    lanes.run(count, lambda: None)
    assert sorted(taken, key=lambda piece: piece.start) == pieces(40)
    assert lanes.done == 40 * 4096


def test_range_of_a_piece_that_is_still_on_its_way_is_not_complete() -> None:
    hold, snapshots = threading.Event(), []

    def take(piece: Piece, buffer: Buffer) -> None:
        if piece.start == 4 * 4096:
            hold.wait(30)

    def pulse() -> None:
        snapshots.append(lanes.snapshot())
        if len(snapshots) == 9:
            hold.set()

    lanes = Lanes(filled(pieces(10)).get, take)
    lanes.run(2, pulse)
    assert max(complete for _, complete in snapshots[4:8]) == 2
    assert snapshots[-1] == (10 * 4096, 4)


def test_failure_of_a_piece_ends_all_lanes_and_is_raised() -> None:
    def take(piece: Piece, buffer: Buffer) -> None:
        if piece.range == 3:
            raise TargetError("broken")

    lanes = Lanes(filled(pieces(400)).get, take)
    with pytest.raises(TargetError, match="broken"):
        lanes.run(2, lambda: None)
    assert lanes.done < 400 * 4096


def test_error_in_the_queue_is_raised() -> None:
    lanes = Lanes(filled(pieces(3), end=TargetError("the image is wrong")).get, lambda piece, buffer: None)
    with pytest.raises(TargetError, match="the image is wrong"):
        lanes.run(2, lambda: None)
