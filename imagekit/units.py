"""Sizes in bytes: constants, rounding, and the two ways people write them."""

from __future__ import annotations

import re

from imagekit.errors import DocumentError

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SECTOR = 512
BLOCK = 4096

_SIZE = re.compile(r"([0-9]+)([MG]?)\Z")


def align_up(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def parse_size(text: str | int, *, where: str) -> int:
    """Read a gadget.yaml size: an integer of bytes, or an integer with M (2^20) or G (2^30).

    Raises:
        DocumentError: anything else; `where` names the place in the message.
    """
    match = _SIZE.match(str(text)) if not isinstance(text, bool) else None
    if match is None:
        raise DocumentError(f"{where}: {text!r} is not a size: allowed is an integer of bytes, or one with M or G")
    return int(match[1]) * {"": 1, "M": MIB, "G": GIB}[match[2]]


def iec(size: int) -> str:
    """`size` bytes for people, in IEC units: `512 MiB`, `1.5 GiB`, `700 B`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size} B"
