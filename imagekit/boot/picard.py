"""A card as a Raspberry Pi's firmware sees it: which partitions are FAT, and what lies in their roots.

Decides nothing; `imagekit.boot.piboot` does, from what is read here. Partitions have the numbers of the GPT, which are
those of the MBR where one lists the same (`imagekit.plan.piboot` sees to that).
"""

from __future__ import annotations

from typing import BinaryIO

from imagekit.boot.piboot import WALK_MOST, Partition
from imagekit.disk import gpt
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.errors import DocumentError
from imagekit.units import MIB

FILE_MOST = 256 * MIB
TEXT_MOST = 64 * 1024
TEXT_SUFFIX = ".txt"


def read_card(stream: BinaryIO) -> dict[int, Partition]:
    """The partitions that the firmware may look at, by number. Raises: DocumentError: the disk has no table."""
    found: dict[int, Partition] = {}
    for item in gpt.decode(stream).partitions:
        if item.index <= WALK_MOST:
            try:
                found[item.index] = _partition(read_fat(stream, item.start, name=item.name))
            except DocumentError:
                continue  # no FAT, or one that cannot be read: the firmware passes over it
    return found


def _partition(volume: FatVolume) -> Partition:
    files = [entry for entry in volume.walk() if not entry.is_dir and "/" not in entry.path]
    texts = {entry.path.lower(): volume.read(entry.path, limit=TEXT_MOST) for entry in files
             if entry.path.lower().endswith(TEXT_SUFFIX) and entry.size <= TEXT_MOST}
    return Partition(names=frozenset(entry.path.lower() for entry in files), texts=texts)


def read_card_file(stream: BinaryIO, number: int, name: str) -> bytes:
    """A file of a partition's root. Raises: DocumentError: it is not there, or cannot be read."""
    found = next((item for item in gpt.decode(stream).partitions if item.index == number), None)
    if found is None:
        raise DocumentError(f"cannot read {name}: the disk has no partition {number}")
    return read_fat(stream, found.start, name=found.name).read(name, limit=FILE_MOST)
