"""Say in a few words what a disk holds, for somebody who is about to erase it.

Decides nothing and verifies nothing; what is not known is said to be so. Reads the first and the last megabyte at most.

Source: the magic numbers of `imagekit.disk.probe`, and util-linux libblkid for the others.
"""

from __future__ import annotations

from typing import BinaryIO

from imagekit.disk import gpt
from imagekit.errors import DocumentError

SHOWN = 6  # names of partitions
HEAD = 70 * 1024  # every magic number is in here
_MAGICS = (
    (1024 + 56, b"\x53\xef", "ext4"), (1024, b"\xe2\xe1\xf5\xe0", "EROFS"), (0, b"hsqs", "squashfs"),
    (0, b"XFSB", "XFS"), (65536 + 64, b"_BHRfS_M", "btrfs"), (32769, b"CD001", "ISO 9660"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (512 + 24, b"LVM2 001", "LVM"), (54, b"FAT", "FAT"), (82, b"FAT32", "FAT"), (3, b"EXFAT   ", "exFAT"),
    (3, b"NTFS    ", "NTFS"), (4096, b"\xfc\x4e\x2b\xa9", "RAID"), (4086, b"SWAPSPACE2", "swap"),
)


def describe(disk: BinaryIO) -> str:
    """What is on a disk: `GPT: esp, data`, `ext4`, `empty`; `unknown` where it is nothing that we know."""
    disk.seek(0)
    head = disk.read(HEAD)
    try:
        table = gpt.decode(disk)
    except DocumentError:
        return _without_table(head)
    names = [item.name or f"partition {item.index}" for item in table.partitions]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"GPT: {', '.join(names[:SHOWN]) or 'no partitions'}{more}"


def file_system(head: bytes) -> str:
    """What begins with these bytes: a file system, or what holds some; empty where it is none that we know."""
    return next((name for offset, magic, name in _MAGICS if head[offset:offset + len(magic)] == magic), "")


def _without_table(head: bytes) -> str:
    if name := file_system(head):
        return name
    entries = sum(1 for at in range(450, 510, 16) if head[at:at + 1] not in (b"", b"\0"))
    if head[510:512] == b"\x55\xaa" and entries:
        return f"MBR: {entries} partition{'s' if entries > 1 else ''}"
    if not head:
        return "empty"
    return "unknown" if any(head) else "empty"
