"""What a device makes of its data partition in some state of its disk: the initrd's rules, on the disk's bytes.

Decides whether it can be mounted, is repaired or emptied before, and grows afterwards (`imagekit/build/initrd/init`,
open_data and has_room). Only the superblock is read here, so that every state can be judged; what the file system holds
is `imagekit.powercut.filesystem`'s, for some states of each class. A file system that ends behind its partition is
lost: the kernel refuses it, and e2fsck does not touch it.
"""

from __future__ import annotations

from imagekit.boot.numbers import NUMBER_SIZE, REPAIR, RESET, Place
from imagekit.disk import gpt
from imagekit.disk.ext4 import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Condition, decode_condition
from imagekit.errors import DocumentError
from imagekit.powercut.disk import CutDisk
from imagekit.units import MIB

ROOM = 2 * MIB  # behind partition or file system, from which on the initrd asks for growing


def data_partition(table: gpt.Table) -> gpt.Partition:
    """Raises: DocumentError: it is gone."""
    found = table.find("data")
    if found is None:
        raise DocumentError("the data partition is gone")
    return found


def wants_reset(disk: CutDisk, table: gpt.Table) -> bool:
    """Whether the next boot empties the data partition."""
    return _number(disk, table, RESET) == 1


def wants_repair(disk: CutDisk, table: gpt.Table) -> bool:
    """Whether the next boot repairs the file system before it mounts it: it cannot be mounted, has noted errors, or a
    repair was cut short."""
    condition = condition_of(disk, data_partition(table))
    return condition is None or condition.errors or _number(disk, table, REPAIR) != 0


def _number(disk: CutDisk, table: gpt.Table, place: Place) -> int:
    state = table.find("slot-state")
    return 0 if state is None else place.decode(disk.read(state.start + place.offset, NUMBER_SIZE))


def condition_of(disk: CutDisk, found: gpt.Partition) -> Condition | None:
    """How the file system was left, by its first superblock; None: that one is damaged, as a torn one is."""
    try:
        return decode_condition(disk.read(found.start + SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE))
    except DocumentError:
        return None


def data_way(disk: CutDisk, table: gpt.Table, *, start: int) -> str:
    """What the next boot does with the data partition, in words.

    `start`: the byte where it began before anything was written.

    Raises:
        DocumentError: it cannot use it, and no rule of its own makes it usable again.
    """
    found = data_partition(table)
    if found.start != start:
        raise DocumentError(f"the data partition begins at {found.start}, and was at {start}")
    condition = condition_of(disk, found)
    if condition is not None and not condition.errors and condition.size > found.size:
        raise DocumentError(f"the file system of the data partition has {condition.size} bytes, the partition"
                            f" {found.size}")
    if condition is None or wants_repair(disk, table):
        words = ["is repaired"]
    else:
        words = ["mounts after its journal is replayed" if condition.replay else "mounts"]
    if wants_reset(disk, table):
        words.append("is emptied")
    if disk.size - found.end > ROOM or (condition is not None and found.size - condition.size > ROOM):
        words.append("grows")
    return ", ".join(words)
