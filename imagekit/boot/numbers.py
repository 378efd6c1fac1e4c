"""A number or two in one sector: what a boot has to know before anything of the disk can be mounted.

Little-endian, 512 bytes on the slot-state partition, behind the record's two copies:

    0 magic, 4 bytes | 4 u32 number | 8 u32 second number | 12 zeros | 0x1fc u32 CRC-32 (IEEE 802.3) of bytes 0..0x1fb

One copy each: a sector that is torn or was never written counts as zeros, and who writes one sees to it that this is
the harmless side. `imagekit/build/initrd/init` reads and writes them too, in shell.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

NUMBER_SIZE = 512
_CRC_AT = NUMBER_SIZE - 4
_HEAD = struct.Struct("<4sII")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a number lies, in bytes, and its magic."""

    offset: int
    magic: bytes

    def encode(self, number: int, second: int = 0) -> bytes:
        """The sector."""
        raw = _HEAD.pack(self.magic, number, second).ljust(_CRC_AT, b"\0")
        return raw + zlib.crc32(raw).to_bytes(4, "little")

    def decode(self, raw: bytes) -> int:
        """The number; 0 where there is none that can be believed."""
        return self.decode_both(raw)[0]

    def decode_both(self, raw: bytes) -> tuple[int, int]:
        """The number and the second one; zeros where there are none that can be believed."""
        if len(raw) != NUMBER_SIZE or raw[:4] != self.magic:
            return 0, 0
        if zlib.crc32(raw[:_CRC_AT]) != int.from_bytes(raw[_CRC_AT:], "little"):
            return 0, 0
        _, number, second = _HEAD.unpack_from(raw)
        return number, second


LEDGER = Place(offset=8192, magic=b"IKL1")  # boots in vain: `imagekit.boot.ledger`
RESET = Place(offset=12288, magic=b"IKR1")  # 1: the next boot empties the data partition
REPAIR = Place(offset=16384, magic=b"IKF1")  # 1: a repair of the data partition was begun and is not over
