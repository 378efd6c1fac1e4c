"""The log held to the disk that it is of, and a state of it as a file again.

Decides nothing: a state says what is there. A log from which the disk does not follow proves nothing, so it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from imagekit.disk.writelog import Kind, LogEntry
from imagekit.errors import DocumentError
from imagekit.powercut.disk import DISCARDED, CutDisk
from imagekit.powercut.sweep import State
from imagekit.units import SECTOR


def check_log(disk: CutDisk, log: Sequence[LogEntry], written: BinaryIO) -> None:
    """Hold the log's last word on every sector to what the disk has. `disk` is used up.

    Raises:
        DocumentError: the log does not lead to this disk. What was discarded may read as anything.
    """
    touched: set[int] = set()
    for entry in log:
        disk.apply(entry)
        touched.update(range(entry.first, entry.first + entry.count))
    for sector in sorted(touched):
        version = disk.versions[sector]
        written.seek(sector * SECTOR)
        if version != DISCARDED and written.read(SECTOR) != disk.content(sector, version):
            raise DocumentError(f"cannot use the log of writes: sector {sector} of the disk is not what was logged",
                                hint="record it again")


def write_state(out: BinaryIO, disk: CutDisk, log: Sequence[LogEntry], state: State) -> None:
    """Make a copy of the image in `out` the disk of this state; `disk` knows the contents of its torn sectors."""
    for number in range(state.entries + 1):
        if number < len(log):
            entry = log[number]
            count = entry.count if number < state.entries else state.sectors
            _put(out, disk, entry, count)
    for sector, version in state.chosen:
        out.seek(sector * SECTOR)
        out.write(disk.content(sector, version))


def _put(out: BinaryIO, disk: CutDisk, entry: LogEntry, count: int) -> None:
    if entry.kind is not Kind.FLUSH and count:
        out.seek(entry.first * SECTOR)
        out.write(bytes(count * SECTOR) if entry.kind is Kind.DISCARD else disk.logged(entry.at, count))
