"""Blessing on the ESP: take the counter off the name of the loader entry that has just proved itself.

Decides: the order of the steps, so that a power cut between any two leaves a device that boots. The ESP is mounted
read-only but for this. The rename goes first, then the file's own fsync, then the folder's: vfat writes the size and
first cluster of a renamed file with its inode, and a folder that reaches the disk before it holds an empty entry
(docs/reference/boot-path.md). Only an entry on trial is ever renamed, never the one that the other slot depends on.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from imagekit.boot.entries import ENTRY_FOLDER, entry_name
from imagekit.boot.slotstate import Slot
from imagekit.boot.systemd_boot import parse_name, slot_of
from imagekit.device.machine import Programs
from imagekit.errors import TargetError


def trial_entry(folder: Path, slot: Slot) -> Path | None:
    """The counted entry of `slot`, the one with most tries left where there are several; None: it is blessed."""
    counted: list[tuple[int, int, Path]] = []
    for path in folder.iterdir():
        name = parse_name(path.name)
        if slot_of(path.name) is slot and name.left is not None:
            counted.append((name.left, -name.done, path))
    return max(counted)[2] if counted else None


def bless(slot: Slot, *, esp: Path, programs: Programs | None) -> bool:
    """Make the slot's entry a good one; True when there was something to do. Without `programs` the ESP is writable.

    Raises:
        TargetError: there is no entry of the slot, or the ESP cannot be written.
    """
    folder = esp / ENTRY_FOLDER
    try:
        trial = trial_entry(folder, slot)
        if trial is None:
            if not (folder / entry_name(slot)).is_file():
                raise TargetError(f"cannot bless slot {slot.value}: {folder} holds no entry of it")
            return False
        if programs:
            _remount(programs, esp, "rw")
        try:
            _rename(trial, folder / parse_name(trial.name).blessed.text)
        finally:
            if programs:
                with suppress(TargetError):  # still mounted writable: untidy, but the entry is blessed
                    _remount(programs, esp, "ro")
    except OSError as error:
        raise TargetError(f"cannot bless slot {slot.value}: {error.filename or esp}: {error.strerror}") from error
    return True


def _rename(old: Path, new: Path) -> None:
    old.rename(new)
    for path in (new, new.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remount(programs: Programs, esp: Path, mode: str) -> None:
    programs.run("mount", "-o", f"remount,{mode}", str(esp))


def tries_left(slot: Slot, *, esp: Path) -> int | None:
    """Boots that the loader still grants the slot, None for a blessed one or where the ESP cannot be read."""
    with suppress(OSError):
        trial = trial_entry(esp / ENTRY_FOLDER, slot)
        return parse_name(trial.name).left if trial else None
    return None
