"""Blessing: one rename, flushed, of the entry on trial and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.device.esp import bless, tries_left
from imagekit.errors import TargetError
from tests.unit.device.conftest import FakePrograms


@pytest.fixture
def entries(tmp_path: Path) -> Path:
    folder = tmp_path / "loader/entries"
    folder.mkdir(parents=True)
    (folder / "imagekit-a.conf").write_text("good\n")
    return folder


def names(entries: Path) -> list[str]:
    return sorted(path.name for path in entries.iterdir())


@pytest.mark.parametrize("trial", ["imagekit-b+3.conf", "imagekit-b+2-1.conf", "imagekit-b+0-3.conf"])
def test_counter_comes_off_the_entry_on_trial(entries: Path, trial: str) -> None:
    (entries / trial).write_text("new\n")
    assert bless(Slot.B, esp=entries.parents[1], programs=None)
    assert names(entries) == ["imagekit-a.conf", "imagekit-b.conf"]
    assert (entries / "imagekit-b.conf").read_text() == "new\n"


def test_entry_counts_as_blessed_only_when_its_file_was_flushed(entries: Path) -> None:
    """A null device takes no flush; the folder's alone would leave a file without a size on vfat."""
    (entries / "imagekit-b+2-1.conf").symlink_to("/dev/null")
    with pytest.raises(TargetError, match=r"cannot bless slot b: .*: Invalid argument"):
        bless(Slot.B, esp=entries.parents[1], programs=None)


def test_stale_blessed_entry_of_the_slot_is_replaced(entries: Path) -> None:
    (entries / "imagekit-b.conf").write_text("old\n")
    (entries / "imagekit-b+2-1.conf").write_text("new\n")
    assert bless(Slot.B, esp=entries.parents[1], programs=None)
    assert (entries / "imagekit-b.conf").read_text() == "new\n"


def test_blessed_slot_is_left_alone_and_the_esp_stays_read_only(entries: Path) -> None:
    programs = FakePrograms()
    assert not bless(Slot.A, esp=entries.parents[1], programs=programs)
    assert programs.ran == []


def test_slot_without_an_entry_cannot_be_blessed(entries: Path) -> None:
    with pytest.raises(TargetError, match="holds no entry"):
        bless(Slot.B, esp=entries.parents[1], programs=None)


def test_missing_esp_cannot_be_blessed(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot bless slot a"):
        bless(Slot.A, esp=tmp_path / "absent", programs=None)


def test_esp_that_stays_writable_is_no_failure(entries: Path) -> None:
    class OnlyWritable(FakePrograms):
        def run(self, *command: str) -> str:
            if "remount,ro" in command:
                raise TargetError("cannot run mount: busy")
            return super().run(*command)

    (entries / "imagekit-b+1-2.conf").write_text("new\n")
    assert bless(Slot.B, esp=entries.parents[1], programs=OnlyWritable())
    assert (entries / "imagekit-b.conf").is_file()


def test_tries_left_are_read_from_the_name(entries: Path) -> None:
    (entries / "imagekit-b+2-1.conf").write_text("new\n")
    assert tries_left(Slot.B, esp=entries.parents[1]) == 2
    assert tries_left(Slot.A, esp=entries.parents[1]) is None
    assert tries_left(Slot.A, esp=entries / "absent") is None
