"""Look at a disk image: its partitions, and what each of them holds.

Decides whether an image is one of ours (a partition table with a slot-state partition) and says in words what it is
when it is not. Partitions whose content is damaged are reported, not refused: somebody may be here to find that out.
Nothing is verified; that takes a root hash, and `verity`.

Source: the magic numbers of `imagekit.packages.erofs`, `fat_boot`, `verity`; ext4: Linux
Documentation/filesystems/ext4/super.rst; slot state: docs/reference/disk-formats.md.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO

from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.disk.verity import SUPERBLOCK, Superblock
from imagekit.errors import DocumentError
from imagekit.packages.erofs import MAGIC as EROFS_MAGIC
from imagekit.packages.erofs import Erofs

SLOT_STATE = "slot-state"
SLOT_STATE_MAGIC = b"IKS1"
MAKE_ONE = "build an image with `imagekit build`"

_HEAD = 8192  # every magic number is in here
_EXT_MAGIC = b"\x53\xef"
_OTHERS = (
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd", "unpack it first: `unzstd FILE`"),
    (b"\xfd7zXZ\0", "it is compressed with xz", "unpack it first: `unxz FILE`"),
    (b"\x1f\x8b", "it is compressed with gzip", "unpack it first: `gunzip FILE`"),
    (b"QFI\xfb", "it is a qcow2 overlay or image", "give the raw image"),
    (b"hsqs", "it is a squashfs package", None),
)


class Content(Enum):
    """What a partition begins with."""

    EROFS = "erofs"
    FAT = "fat"
    EXT4 = "ext4"
    SLOT_STATE = "slot-state"
    EMPTY = "empty"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskPartition:
    """A partition as the disk has it."""

    partition: gpt.Partition
    content: Content
    label: str = ""  # of FAT and ext4
    package_size: int = 0  # of EROFS, in bytes; the verity superblock is looked for behind it
    verity: Superblock | None = None
    problem: str = ""  # what is wrong with the content, if anything

    @property
    def name(self) -> str:
        return self.partition.name


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskImage:
    """A disk image of ours. `problems` are those of its partition table."""

    size: int
    table: gpt.Table
    partitions: tuple[DiskPartition, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        return self.table.problems

    def find(self, name: str) -> DiskPartition | None:
        """The partition of this name."""
        return next((item for item in self.partitions if item.name == name), None)


def probe(stream: BinaryIO, *, name: str = "disk image") -> DiskImage:
    """Look at a seekable image.

    Raises:
        DocumentError: it is empty, cut short, no disk image, or none of ours.
    """
    size = stream.seek(0, io.SEEK_END)
    if not size:
        raise DocumentError(f"cannot use {name}: it is empty")
    try:
        table = gpt.decode(stream)
    except DocumentError as error:
        raise _no_table(stream, name, error) from error
    if size < table.disk_size:
        raise DocumentError(f"cannot use {name}: it was cut short: it has {size} bytes, its partition table is for"
                            f" {table.disk_size}", hint="make or fetch it again")
    partitions = tuple(_look(stream, partition) for partition in table.partitions)
    if not any(item.name == SLOT_STATE or item.content is Content.SLOT_STATE for item in partitions):
        names = ", ".join(repr(item.name) for item in partitions[:8]) or "none"
        raise DocumentError(f"cannot use {name}: it is no image of imagekit: it has no {SLOT_STATE} partition, its"
                            f" partitions are {names}")
    return DiskImage(size=size, table=table, partitions=partitions)


def _no_table(stream: BinaryIO, name: str, error: DocumentError) -> DocumentError:
    """Say what an image without a readable table is instead."""
    stream.seek(0)
    head = stream.read(_HEAD)
    if error.hint:
        return DocumentError(f"cannot use {name}: {error.message}", hint=error.hint, details=error.details)
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            return DocumentError(f"cannot use {name}: {what}, not a disk image", hint=hint)
    content = _content(head)
    if content in (Content.EROFS, Content.FAT, Content.EXT4):
        return DocumentError(f"cannot use {name}: it is a single {content.value} file system, not a disk image",
                             hint=MAKE_ONE)
    if head[510:512] == b"\x55\xaa" and any(head[450:512:16]) and 0xEE not in head[450:510:16]:
        return DocumentError(f"cannot use {name}: it has an MBR partition table only; ours have a GPT", hint=MAKE_ONE)
    if all(line.endswith(("'EFI PART'", "there is none")) for line in error.details):
        return DocumentError(f"cannot use {name}: it is no disk image: it has no partition table", hint=MAKE_ONE)
    return DocumentError(f"cannot use {name}: it is no disk image: {error.message}", details=error.details)


def _content(head: bytes) -> Content:
    if head[1024:1028] == EROFS_MAGIC.to_bytes(4, "little"):
        return Content.EROFS
    if SLOT_STATE_MAGIC in (head[:4], head[4096:4100]):
        return Content.SLOT_STATE
    if head[1080:1082] == _EXT_MAGIC:
        return Content.EXT4
    if head[510:512] == b"\x55\xaa" and (head[54:57] == b"FAT" or head[82:85] == b"FAT"):
        return Content.FAT
    return Content.UNKNOWN if any(head) else Content.EMPTY


def _look(stream: BinaryIO, partition: gpt.Partition) -> DiskPartition:
    stream.seek(partition.start)
    head = stream.read(min(_HEAD, partition.size))
    content = _content(head)
    if content is Content.EXT4:
        label = head[1024 + 120:1024 + 136].split(b"\0")[0].decode("utf-8", "replace")
        return DiskPartition(partition=partition, content=content, label=label)
    try:
        if content is Content.FAT:
            return _look_at_fat(stream, partition)
        if content is Content.EROFS:
            return _look_at_package(stream, partition)
    except DocumentError as error:
        return DiskPartition(partition=partition, content=content, problem=error.message)
    return DiskPartition(partition=partition, content=content)


def _look_at_fat(stream: BinaryIO, partition: gpt.Partition) -> DiskPartition:
    volume = read_fat(stream, partition.start, name=partition.name)
    problem = _too_long("volume", volume.geometry.size, partition)
    return DiskPartition(partition=partition, content=Content.FAT, label=volume.label, problem=problem)


def _look_at_package(stream: BinaryIO, partition: gpt.Partition) -> DiskPartition:
    size = Erofs(stream, name=partition.name, offset=partition.start).size
    problem = _too_long("package", size + SUPERBLOCK, partition)
    verity = None
    if not problem:
        stream.seek(partition.start + size)
        try:
            verity = Superblock.decode(stream.read(SUPERBLOCK))
        except DocumentError as error:
            problem = error.message
    return DiskPartition(partition=partition, content=Content.EROFS, package_size=size, verity=verity, problem=problem)


def _too_long(what: str, size: int, partition: gpt.Partition) -> str:
    if size <= partition.size:
        return ""
    return f"its {what} takes {size} bytes, the partition has {partition.size}"
