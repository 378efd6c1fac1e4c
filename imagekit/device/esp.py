"""Loader entries on the ESP: read, blessed (the counter comes off the name of one that has proved itself), ranked.

Decides: the order of the steps, so that a power cut between any two leaves a device that boots. The ESP is mounted
read-only but for this. The rename goes first, then the file's own fsync, then the folder's: vfat writes the size and
first cluster of a renamed file with its inode, and a folder that reaches the disk before it holds an empty entry
(docs/reference/boot-path.md). Only an entry on trial is ever renamed, never the one that the other slot depends on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagekit.boot.entries import (
    ENTRY_FOLDER,
    SECTOR,
    VERSION_MAX,
    LoaderEntry,
    entry_name,
    parse_entry,
    sector_with_version,
)
from imagekit.boot.slotstate import Slot
from imagekit.boot.systemd_boot import parse_name, slot_of
from imagekit.device.machine import Programs
from imagekit.errors import DocumentError, TargetError
from imagekit.units import KIB

RENUMBERED_FROM = VERSION_MAX // 2  # each update and hand-over adds one: no device comes so far by itself
ENTRY_MOST = 64 * KIB  # what is longer is none of ours: a folder of a FAT that is damaged may speak of 4 GiB


def read_entries(esp: Path) -> dict[Path, LoaderEntry]:
    """Every entry of ours on the ESP that can be read."""
    found = {}
    with suppress(OSError):
        for path in sorted((esp / ENTRY_FOLDER).iterdir()):
            with suppress(DocumentError, OSError):
                if slot_of(path.name) is not None:
                    found[path] = parse_entry(entry_bytes(path), name=path.name)
    return found


def entry_bytes(path: Path) -> bytes:
    """What an entry may have at most, of a file of any size. Raises: OSError."""
    with path.open("rb") as stream:
        return stream.read(ENTRY_MOST)


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
        with _writable(esp, programs):
            _rename(trial, folder / parse_name(trial.name).blessed.text)
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


def renumber(slot: Slot, *, esp: Path, programs: Programs | None) -> bool:
    """Rank the entries from 1 on where a version is so high that none could soon be above it; True: that was done.

    `slot` is healthy and comes first afterwards. The others are written before it, a sector each: at a cut either it
    comes first, or what came first before.

    Raises:
        TargetError: the ESP cannot be written.
    """
    entries = read_entries(esp)
    if all(item.version < RENUMBERED_FROM for item in entries.values()):
        return False
    own_last = sorted(entries, key=lambda path: entries[path].slot is slot)
    with _writable(esp, programs):
        for path in own_last:
            rank(path, 2 if entries[path].slot is slot else 1)
    return True


def rank(path: Path, version: int) -> None:
    """Overwrite the version of an entry, one sector in place, on the disk when this returns. Raises: TargetError."""
    try:
        sector = sector_with_version(entry_bytes(path), version)
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(handle, sector[:SECTOR], 0)
            os.fsync(handle)
        finally:
            os.close(handle)
    except (OSError, DocumentError) as error:
        raise TargetError(f"cannot rank {path}: {error}") from error


@contextmanager
def _writable(esp: Path, programs: Programs | None) -> Iterator[None]:
    if programs:
        _remount(programs, esp, "rw")
    try:
        yield
    finally:
        if programs:
            with suppress(TargetError):  # still mounted writable: untidy, but what was to be done is done
                _remount(programs, esp, "ro")


def _remount(programs: Programs, esp: Path, mode: str) -> None:
    programs.run("mount", "-o", f"remount,{mode}", str(esp))


def tries_left(slot: Slot, *, esp: Path) -> int | None:
    """Boots that the loader still grants the slot, None for a blessed one or where the ESP cannot be read."""
    with suppress(OSError):
        trial = trial_entry(esp / ENTRY_FOLDER, slot)
        return parse_name(trial.name).left if trial else None
    return None
