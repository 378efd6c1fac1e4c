"""Boot code at fixed places of a card, as the boot ROM that reads it checks it.

Tells what is there, whether it is whole, and for which architecture; whether the board is one that reads there is its
gadget's to know. Checksums tell damage, they prove nothing. Sources: U-Boot `include/sunxi_image.h` (Allwinner's
header), `common/spl/spl_mmc.c` (where SPL goes on), `include/image.h` (the legacy image), `include/imximage.h`.

    Allwinner, byte 8192, little-endian: u32 jump | "eGON.BT0" | u32 checksum | u32 length of SPL, and so on
        checksum: sum of all words of SPL, 0x5f0a6c39 in its own place
        32 KiB behind its start: U-Boot as a legacy image, or as a FIT
    i.MX, byte 1024, little-endian: d1 00 20 40 | u32 entry | u32 0 | u32 configuration | u32 boot data | u32 self
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.boot.uimage import ARCHITECTURES

ALLWINNER_AT, IMX_AT = 8192, 1024
_EGON = struct.Struct("<I8sII")
_STAMP = 0x5F0A6C39
_SPL_MOST = 64 << 10
_GOES_ON = 32 << 10
_IVT = b"\xd1\x00\x20\x40"
_LEGACY = struct.Struct(">7I4B32s")
_LEGACY_MAGIC = 0x27051956
_WORDS = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BootCode:
    """What was found at `offset`. `problem` is empty where it is whole; `architecture` None where it does not say."""

    name: str
    offset: int
    architecture: str | None
    problem: str


def find_bootcode(raw: bytes) -> Iterator[BootCode]:
    """The boot code in the first bytes of a disk, up to its first partition."""
    if raw[ALLWINNER_AT + 4:ALLWINNER_AT + 12] == b"eGON.BT0":
        yield BootCode(name="SPL for Allwinner", offset=ALLWINNER_AT, architecture=None, problem=_spl(raw))
        yield _legacy(raw, ALLWINNER_AT + _GOES_ON)
    if raw[IMX_AT:IMX_AT + 4] == _IVT:
        yield BootCode(name="U-Boot for i.MX", offset=IMX_AT, architecture="armhf", problem="")


def _spl(raw: bytes) -> str:
    """What is wrong with Allwinner's SPL."""
    _, _, checksum, length = _EGON.unpack_from(raw, ALLWINNER_AT)
    code = raw[ALLWINNER_AT:ALLWINNER_AT + length]
    if length % 4 or not _EGON.size <= length <= _SPL_MOST or len(code) < length:
        return f"its header says it has {length} bytes"
    total = sum(word for (word,) in struct.iter_unpack("<I", code)) - checksum + _STAMP
    return "" if total % _WORDS == checksum else "its checksum does not match: the boot ROM will not start it"


def _legacy(raw: bytes, offset: int) -> BootCode:
    """U-Boot behind SPL."""
    name = "U-Boot behind SPL"
    head = raw[offset:offset + _LEGACY.size]
    if head[:4] == b"\xd0\x0d\xfe\xed":
        return BootCode(name=name, offset=offset, architecture=None, problem="")
    if len(head) < _LEGACY.size or int.from_bytes(head[:4], "big") != _LEGACY_MAGIC:
        return BootCode(name=name, offset=offset, architecture=None, problem="there is none where SPL looks for it")
    _, head_crc, _, size, _, _, body_crc, _, machine, _, _, _ = _LEGACY.unpack(head)
    body = raw[offset + _LEGACY.size:offset + _LEGACY.size + size]
    whole = (zlib.crc32(head[:4] + bytes(4) + head[8:]) == head_crc and len(body) == size
             and zlib.crc32(body) == body_crc)
    known = next((key for key, number in ARCHITECTURES.items() if number == machine), None)
    return BootCode(name=name, offset=offset, architecture=known,
                    problem="" if whole else "its checksum does not match: SPL will not start it")
