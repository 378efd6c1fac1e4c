"""Writing to a board's disk through its U-Boot, cut after each write: it does not boot, and is gone on with."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imagekit.disk import gpt
from imagekit.errors import DocumentError
from imagekit.flash.board import begin, compare, find_journal, left_of, new_journal, pack, send_all
from imagekit.flash.wanted import Wanted
from imagekit.plan.board_flash import SentPiece, needs_mark, ordered, pieces_of, wanted_extents
from imagekit.testing.blocks import card
from imagekit.units import BLOCK, MIB

from .conftest import SIZE, Bench

DISK = SIZE + MIB


class CutError(Exception):
    """The power went."""


@dataclass(slots=True)
class Board:
    """U-Boot's part in it, in memory: `UBoot`, `Road` and `Watcher` at once. `cut`: the write after which it ends."""

    disk: bytearray
    cut: int = 0
    writes: list[tuple[int, int]] = field(default_factory=list)
    memory: bytes = b""
    board: Any = field(default_factory=lambda: SimpleNamespace(disk="mmc 0", address=0, room=9 * MIB))

    def bring(self, content: bytes, _sent: Callable[[int], None]) -> None:
        self.memory = content

    def write_packed(self, start: int, size: int, packed: int) -> None:
        content = gzip.decompress(self.memory[:packed])
        assert len(content) == size
        self.disk[start:start + size] = content
        self.writes.append((start, start + size))
        if len(self.writes) == self.cut:
            raise CutError

    def disk_holds(self, start: int, content: bytes) -> bool:
        self.memory = bytes(self.disk[start:start + len(content)])
        return self.memory == content

    def crcs(self, runs: Sequence[tuple[int, int]]) -> list[int]:
        return [zlib.crc32(self.memory[address:address + size]) for address, size in runs]

    def compared(self, _amount: int) -> None:
        pass

    sent = compared

    def wrote(self, _piece: SentPiece) -> None:
        pass


def flash(bench: Bench, board: Board, folder: Path) -> None:
    """As `imagekit board flash` does it."""
    plan = bench.plan(card(size=DISK))
    uboot = cast(Any, board)
    wanted = Wanted(plan.image, bench.source(), plan.targets[0].patches)
    extents, journal = wanted_extents(plan.image, plan.targets[0]), find_journal(folder, plan.image.digest, uboot)
    good: list[tuple[int, int]] = []
    different = compare(uboot, wanted, left_of(extents, journal, DISK), board, good.append)
    marking = journal is None and needs_mark(different, extents)
    pieces = pieces_of(ordered(different, extents, DISK, marking=marking), board.board.room,
                       lambda start, end: len(pack(wanted.read(start, end))))
    if marking:
        journal = new_journal(folder, plan.image.digest)
        journal.good = good
        begin(uboot, board, journal, DISK)
    send_all(uboot, board, wanted, pieces, board, journal=journal)


def right(bench: Bench) -> bytearray:
    """A disk with this image, its backup table where it belongs."""
    disk = bytearray(bench.content().ljust(DISK, b"\0"))
    for offset, content in bench.plan(card(size=DISK)).targets[0].patches:
        disk[offset:offset + len(content)] = content
    return disk


def release_before(bench: Bench) -> bytearray:
    """A disk with another release: the same table, the same first block, another content of a partition."""
    disk = right(bench)
    disk[12 * MIB:13 * MIB] = random.Random(99).randbytes(MIB)
    return disk


def older(bench: Bench) -> bytearray:
    """A disk with this very table at both ends, other boot code, and nothing right behind it."""
    plan = bench.plan(card(size=DISK))
    disk = bytearray(b"\x5a" * DISK)
    head = bytearray(bench.content()[:MIB])
    for offset, content in ((0, head), *plan.targets[0].patches):
        disk[offset:offset + len(content)] = content
    disk[0] ^= 1
    assert gpt.decode(io.BytesIO(disk)).problems == ()
    return disk


@pytest.mark.parametrize("before", [release_before, older])
@pytest.mark.parametrize("cut", [1, 2, 3, 4, 7, -2, -1])
def test_board_that_is_cut_after_a_write_does_not_boot_and_is_gone_on_with(bench: Bench, tmp_path: Path, cut: int,
                                                                           before: Callable[[Bench], bytearray],
                                                                           ) -> None:
    whole = Board(before(bench))
    flash(bench, whole, tmp_path / "whole")
    count = len(whole.writes)
    board = Board(before(bench), cut=cut if cut > 0 else count + cut)
    with pytest.raises(CutError):
        flash(bench, board, tmp_path / "journals")
    if 1 < board.cut < count - 1:  # the backup table goes with the second write, and comes with the last but one
        with pytest.raises(DocumentError):
            gpt.decode(io.BytesIO(board.disk))
    assert board.disk[:BLOCK].startswith(b"imagekit: this disk is being written")
    flash(bench, board, tmp_path / "journals")
    assert board.disk == whole.disk
    assert gpt.decode(io.BytesIO(board.disk)).problems == ()
    assert board.writes[-1] == (0, BLOCK)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_disk_with_a_few_wounds_is_as_good_or_better_after_each_write(bench: Bench, tmp_path: Path, cut: int) -> None:
    whole, board = right(bench), Board(right(bench), cut=cut)
    wounds = [(at, at + 100) for at in (MIB + 70_000, 9 * MIB, 14 * MIB + 5)]
    for start, end in wounds:
        board.disk[start:end] = bytes(end - start)
    with pytest.raises(CutError):
        flash(bench, board, tmp_path)
    assert [board.disk[start:end] == whole[start:end] for start, end in wounds] == [index < cut for index in range(3)]
    assert gpt.decode(io.BytesIO(board.disk)).problems == ()
    assert not list(tmp_path.glob("board-*"))
    flash(bench, board, tmp_path)
    assert board.disk == whole


def test_disk_that_was_begun_keeps_its_mark_until_the_end_however_little_is_left(bench: Bench, tmp_path: Path) -> None:
    """Cut before the last write, which is the first block's: no other differs any more."""
    count = Board(release_before(bench))
    flash(bench, count, tmp_path / "whole")
    board = Board(release_before(bench), cut=len(count.writes) - 1)
    with pytest.raises(CutError):
        flash(bench, board, tmp_path)
    assert len(list(tmp_path.glob("board-*"))) == 1
    board.writes.clear()
    flash(bench, board, tmp_path)
    assert board.disk == right(bench)
    assert board.writes == [(0, BLOCK)]
    assert not list(tmp_path.glob("board-*"))


def test_disk_that_is_right_is_not_written(bench: Bench, tmp_path: Path) -> None:
    board = Board(older(bench))
    flash(bench, board, tmp_path)
    board.writes.clear()
    flash(bench, board, tmp_path)
    assert board.writes == []
    assert not list(tmp_path.glob("board-*"))
