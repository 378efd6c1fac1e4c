"""The data partition of a state as a file, put in order as the device would do it, and looked at: e2fsck and debugfs.

Decides what has to be in it. A device mounts a file system that has noted no errors, so its journal has to leave it
whole; another one is repaired first. What tells who the device is, and what keeps older software away from it, is there
in every state; what a reset takes away is there only as long as the mark is that asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imagekit.disk import gpt
from imagekit.disk.writelog import LogEntry
from imagekit.errors import HostError, TargetError
from imagekit.host.ports import Tools
from imagekit.powercut.data import data_partition, wants_repair, wants_reset
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.sweep import State
from imagekit.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Files of the data partition by path: what they hold, or None where that may change; what a reset takes."""

    stays: Mapping[str, bytes | None] = field(default_factory=dict)
    goes: tuple[str, ...] = ()


MACHINE_ID = "lib/imagekit/etc/machine-id"
MEMORY = tuple(f"lib/imagekit/updates/{name}" for name in ("state.json", "keys.assert", "store.assert", "model.assert"))


def kept_on(tools: Tools, disk: CutDisk, scratch: Path, *, goes: Iterable[str] = ()) -> Kept:
    """What the data partition of the disk as it is now has of all that stays, and of these paths. Raises: HostError."""
    image = scratch / "data.img"
    _put_in_order(tools, disk, gpt.decode(disk.stream()), image)
    identity = read_file(tools, image, MACHINE_ID)
    return Kept(stays={**({MACHINE_ID: identity} if identity else {}),
                       **dict.fromkeys(there_of(tools, image, MEMORY))}, goes=tuple(there_of(tools, image, goes)))


def check_states(tools: Tools, disk: CutDisk, log: Sequence[LogEntry], states: Iterable[State], kept: Kept,
                 scratch: Path) -> tuple[tuple[State, str], ...]:
    """The states whose data partition is not what it has to be, and why. Raises: HostError."""
    found = []
    for state in states:
        with disk.as_written(log, state.entries, state.sectors, state.chosen):
            try:
                check_data(tools, disk, kept, scratch)
            except TargetError as error:
                found.append((state, error.message))
    return tuple(found)


def check_data(tools: Tools, disk: CutDisk, kept: Kept, scratch: Path) -> None:
    """Raises: TargetError: the data partition of the disk as it is now is not what it has to be. HostError."""
    table, image = gpt.decode(disk.stream()), scratch / "data.img"
    repaired = _put_in_order(tools, disk, table, image)
    if not _ends_well(tools, "e2fsck", "-f", "-n", image):
        raise TargetError("e2fsck cannot repair the data partition" if repaired else
                          "the data partition is mounted, and its file system is not whole")
    for path, wanted in kept.stays.items():
        there = read_file(tools, image, path)
        if there is None or (wanted is not None and there != wanted) or not there:
            raise TargetError(f"{path} of the data partition is {'lost' if not there else 'not what it was'}")
    if not wants_reset(disk, table) and (left := there_of(tools, image, kept.goes)):
        raise TargetError(f"{left[0]} is still there, and nothing asks for a reset any more")


def _put_in_order(tools: Tools, disk: CutDisk, table: gpt.Table, image: Path) -> bool:
    """The data partition as the device has it once it is mounted; whether it was repaired before. Raises: HostError."""
    extract(disk, data_partition(table), image)
    repaired = wants_repair(disk, table)
    if not repaired:
        _ends_well(tools, "e2fsck", "-f", "-p", image)  # its journal, and what the kernel does at a mount
    elif not _ends_well(tools, "e2fsck", "-f", "-y", image):  # as in the initrd: what it repaired, or gave up
        _ends_well(tools, "e2fsck", "-f", "-y", image)
    return repaired


def extract(disk: CutDisk, found: gpt.Partition, target: Path) -> None:
    """The bytes of a partition as a file, sparse."""
    with target.open("wb") as out:
        for offset in range(0, found.size, MIB):
            chunk = disk.read(found.start + offset, min(MIB, found.size - offset))
            if chunk != bytes(len(chunk)):
                out.seek(offset)
                out.write(chunk)
        out.truncate(found.size)


def there_of(tools: Tools, image: Path, paths: Iterable[str]) -> list[str]:
    """Those of the paths that are files there."""
    return [path for path in paths if read_file(tools, image, path) is not None]


def read_file(tools: Tools, image: Path, path: str) -> bytes | None:
    """A file of an ext4; None: there is none. Quotes and line ends have no place in `path`."""
    told = tools.run("debugfs", "-R", f'stat "/{path}"', image).stdout
    if b"Type: regular" not in told:
        return None
    return tools.run("debugfs", "-R", f'cat "/{path}"', image).stdout


def _ends_well(tools: Tools, program: str, *args: str | Path) -> bool:
    """Whether it ends with 0. Raises: HostError: it is missing."""
    tools.find(program)
    try:
        tools.run(program, *args)
    except HostError:
        return False
    return True
