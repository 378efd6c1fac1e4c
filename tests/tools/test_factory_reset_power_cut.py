"""The power is cut at every sector of a factory reset that the initrd does on an ext4 of the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.cli.powercut_record import During
from imagekit.device.state import StatePartition
from imagekit.errors import ExitCode
from imagekit.host.tools import LocalTools
from imagekit.powercut.filesystem import MACHINE_ID, MEMORY, Kept, kept_on
from imagekit.qemu.recording import SECRET
from tests.tools.conftest import Shell, require
from tests.tools.device_life import DATA, Judged, Life, booted, by_command, live
from tests.tools.recorded_disk import Recorded, need_recorder
from tests.tools.update_rig import SYSTEMD_BOOT, Maker, make

pytestmark = pytest.mark.tools

GOES = (SECRET, "lib/app/rows", "lib/imagekit/updates/wishes.json")  # the last is removed last
AGAIN = 2  # classes of states from which the recovery is recorded


def fill_and_mark(shell: Shell, on: Recorded, folder: Path) -> None:
    """A device lives, and somebody asks for a reset."""
    with booted(shell, folder, on) as up:
        for number, name in enumerate((*MEMORY, *GOES, *(f"log/{number}" for number in range(40)))):
            path = up.var / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode() * (1 + 100 * number))
    StatePartition(device=on.partitions["slot-state"]).want_reset(True)


def reset(shell: Shell, on: Recorded, folder: Path, *, bug: str = "") -> None:
    with booted(shell, folder, on, bug=bug) as up:
        (up.var / "log/journal/new").write_bytes(bytes(5000))


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    need_recorder()
    require("mke2fs", "e2fsck", "debugfs")
    made = make(tmp_path_factory.mktemp("maker"), SYSTEMD_BOOT, data=DATA)
    made.build()
    return made


@pytest.fixture(scope="module")
def lived(shell: Shell, maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a device that has lived, and is asked to forget it."""
    folder = tmp_path_factory.mktemp("lived")
    return live(maker.image, folder / "life", lambda on, at: fill_and_mark(shell, on, at)).after


def kept_of(life: Life, scratch: Path) -> Kept:
    scratch.mkdir()
    with life.opened() as (disk, _):
        kept = kept_on(LocalTools(), disk, scratch, goes=GOES)
    assert set(kept.stays) == {MACHINE_ID, *MEMORY}
    assert kept.goes == GOES
    return kept


def test_cut_at_every_sector_ends_in_a_reset_that_keeps_who_the_device_is(shell: Shell, lived: Path, tmp_path: Path
                                                                          ) -> None:
    life = live(lived, tmp_path / "reset", lambda on, at: reset(shell, on, at))
    kept = kept_of(life, tmp_path / "kept")
    with life.judged() as judged:
        assert not judged.found.unbootable, judged.found.problems
        assert not judged.found.sampled
        assert any(way.endswith("is emptied") for way in judged.ways)
        assert any("is emptied" not in way for way in judged.ways)
        assert not judged.lost(kept, tmp_path / "checked", drawn=20)
        rarest = list(reversed(judged.found.classes))[:AGAIN]
        disks = [judged.put(item.first, tmp_path / f"cut-{number}.img") for number, item in enumerate(rarest)]
    for disk in disks:
        second = live(disk, disk.with_suffix(""), lambda on, at: reset(shell, on, at))
        with second.judged() as judged:
            assert not judged.found.unbootable, judged.found.problems
            assert not judged.lost(kept, disk.with_suffix(".checked"), drawn=6)
            assert ends_reset(judged, kept, disk.with_suffix(".ended"))


def ends_reset(judged: Judged, kept: Kept, scratch: Path) -> bool:
    """Whether nothing asks for a reset at the end, and what goes is gone."""
    return any("is emptied" not in way for way in judged.ways) and not judged.lost(kept, scratch, drawn=0)


MARK_FIRST = 'reset_data() { number_write "$state_device" 24 IKR1 0 0; mount_data && empty_var $NEW/var && sync; }'


@pytest.mark.parametrize(("bug", "why"), [
    (MARK_FIRST, "is still there, and nothing asks for a reset any more"),
    ("sync() { :; }", "is still there, and nothing asks for a reset any more"),
    ("empty_var() { return 1; }", "of the data partition is lost"),
], ids=["the mark goes first", "nothing is flushed before the mark goes", "what could be emptied is made anew"])
def test_planted_bug_is_found(shell: Shell, lived: Path, tmp_path: Path, bug: str, why: str) -> None:
    life = live(lived, tmp_path / "reset", lambda on, at: reset(shell, on, at, bug=bug))
    kept = kept_of(life, tmp_path / "kept")
    with life.judged() as judged:
        lost = judged.lost(kept, tmp_path / "checked", drawn=0)
    assert any(why in problem for _, problem in lost), lost


def test_command_finds_what_is_left_and_what_is_lost(shell: Shell, maker: Maker, lived: Path, tmp_path: Path) -> None:
    life = live(lived, tmp_path / "reset", lambda on, at: reset(shell, on, at, bug=MARK_FIRST))
    result = by_command(maker, life, During.RESET, tmp_path / "kept", "--data", "0", "--lost", "1")
    assert result.exit_code == ExitCode.TARGET, result.output
    assert f"{SECRET} is still there, and nothing asks for a reset any more" in result.stderr
