"""The power is cut after every sector of an update, by the same sweep that judges a recording of QEMU.

The installer itself makes the log, over a model of the page cache and of vfat, so that bugs can be planted in it: with
one the sweep finds states that are lost, without any it finds none.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from imagekit.boot.slotstate import TRIES
from imagekit.disk import gpt
from imagekit.disk.writelog import LogEntry
from imagekit.powercut.disk import CutDisk, span_of
from imagekit.powercut.examine import Examiner
from imagekit.powercut.sweep import Found, Limits, Medium, Sweep, drawn_losses
from tests.tools.update_bugs import BUGS, NONE, Planted
from tests.tools.update_cut import carry_out, makers_in, prepared
from tests.tools.update_log import LoggedDisk, disk_of
from tests.tools.update_rig import LOADERS, Maker

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Maker]:
    return makers_in(tmp_path_factory.mktemp("makers"))


def recorded(maker: Maker, folder: Path, bug: Planted, *, lived: bool) -> tuple[CutDisk, tuple[LogEntry, ...]]:
    """The disk before an update with a bug, and the log of it."""
    rig, stick = prepared(maker, folder, lived=lived)
    image = disk_of(rig, maker.image, folder / "before.img")
    logged = LoggedDisk(image, folder / "now.img")
    carry_out(rig, stick, logged, bug)
    logged.finish()
    return CutDisk(image.read_bytes(), logged.log, size=image.stat().st_size), logged.requests()


def swept(maker: Maker, folder: Path, bug: Planted, *, lived: bool, medium: Medium = Medium.EPOCHS) -> Found:
    """An update with a bug, recorded and judged."""
    disk, log = recorded(maker, folder, bug, lived=lived)
    return Sweep(disk, log, Examiner(disk), Limits(medium=medium, lost=1)).run()


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
@pytest.mark.parametrize("loader", LOADERS)
def test_cut_after_every_sector_boots_a_whole_slot(makers: dict[str, Maker], tmp_path: Path, loader: str,
                                                   lived: bool) -> None:
    found = swept(makers[loader], tmp_path, NONE[loader], lived=lived)
    assert not found.unbootable, found.problems
    assert {item.verdict.slot for item in found.classes} == {"a", "b"}
    assert found.sampled == 0
    assert found.prefixes == found.written + 1
    assert found.reorderings > found.epochs


@pytest.mark.parametrize("loader", LOADERS)
def test_cut_after_every_sector_in_order_boots_a_whole_slot(makers: dict[str, Maker], tmp_path: Path,
                                                            loader: str) -> None:
    found = swept(makers[loader], tmp_path, NONE[loader], lived=True, medium=Medium.IN_ORDER)
    assert not found.unbootable, found.problems
    assert found.reorderings == 0


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(makers: dict[str, Maker], tmp_path: Path, bug: str) -> None:
    found = swept(makers[BUGS[bug].loader], tmp_path, BUGS[bug], lived=True)
    assert found.unbootable
    assert found.problems


@pytest.mark.parametrize("loader", LOADERS)
def test_way_back_from_a_slot_that_was_never_flushed_is_told(makers: dict[str, Maker], tmp_path: Path,
                                                             loader: str) -> None:
    disk, log = recorded(makers[loader], tmp_path, NONE[loader], lived=False)
    examine = Examiner(disk)
    table = gpt.decode(disk.stream())
    spans = [span_of(found.start, found.end) for name in ("base-b", "kernel-b") if (found := table.find(name))]
    ways = set()
    for state in islice(drawn_losses(log, spans, seed="7"), 60):
        with disk.as_written(log, state.entries, state.sectors, state.chosen):
            found = examine()
            back = examine.going_back()
        assert back is None or (back.problem == found.problem and back.slot == "a")
        if back is not None:
            assert "slot b is started" in back.problem
            ways.add(back.way)
    assert all(way[0].endswith("slot b") and way[-1].endswith("slot a") for way in ways)
    assert max(len(way) for way in ways) > TRIES
    assert examine.going_back() is None, "nothing is wrong with the image"
