"""The log held to the disk that it is of, and a state of it as a file again.

Decides nothing: a state says what is there. A log from which the disk does not follow proves nothing, so it is refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from imagekit.disk.writelog import Kind, LogEntry, decode_log
from imagekit.errors import DocumentError, HostError
from imagekit.host.files import reason
from imagekit.powercut.disk import DISCARDED, CutDisk
from imagekit.powercut.sweep import State
from imagekit.units import SECTOR


@contextmanager
def open_recording(image: Path, log: Path, *, size: int) -> Iterator[tuple[CutDisk, tuple[LogEntry, ...]]]:
    """The disk of `size` bytes before the first write, and what was written.

    Raises:
        HostError: a file cannot be read, or is empty.
        DocumentError: the log is none.
    """
    with ExitStack() as stack:
        base, raw = (stack.enter_context(_mapped(path)) for path in (image, log))
        requests = decode_log(raw, disk_size=size, name=str(log))
        yield stack.enter_context(CutDisk(base, raw, size=size)), requests


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as stream:
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file
        why = reason(error) if isinstance(error, OSError) else "it is empty"
        raise HostError(f"cannot read {path}: {why}") from error


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
