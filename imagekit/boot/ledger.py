"""How many boots in a row were begun without a healthy verdict, whichever slot they were of.

Decides the bytes of that count and when the data partition is left out of a boot. The slot-state record begins anew at
each hand-over, so it cannot tell two bad slots from one bad data partition: there the slots would take turns for ever.
After `IN_VAIN` boots in vain, three in each slot, the next one runs without the data partition, degraded, with the
updater alive; so does every one after as many again. The initrd raises the count before it opens anything
(`imagekit/build/initrd/init` does the same in shell), the health check clears it.

Grammar, little-endian, 512 bytes at 8192 of the slot-state partition, behind the record's two copies:

    0 magic "IKL1" | 4 u32 count | 8 zeros | 0x1fc u32 CRC-32 (IEEE 802.3) of bytes 0..0x1fb

One copy is enough: one that is torn or was never written counts as nothing begun, which only puts off the last resort.
"""

from __future__ import annotations

import struct
import zlib

LEDGER_OFFSET = 8192
LEDGER_SIZE = 512
IN_VAIN = 6

_HEAD = struct.Struct("<4sI")
_MAGIC = b"IKL1"
_CRC_AT = LEDGER_SIZE - 4


def encode_ledger(begun: int) -> bytes:
    """The sector for this many boots."""
    raw = _HEAD.pack(_MAGIC, begun).ljust(_CRC_AT, b"\0")
    return raw + zlib.crc32(raw).to_bytes(4, "little")


def decode_ledger(raw: bytes) -> int:
    """The count; 0 where there is none that can be believed."""
    if len(raw) != LEDGER_SIZE or raw[:4] != _MAGIC:
        return 0
    if zlib.crc32(raw[:_CRC_AT]) != int.from_bytes(raw[_CRC_AT:], "little"):
        return 0
    begun: int = _HEAD.unpack_from(raw)[1]
    return begun


def leaves_data_out(begun: int) -> bool:
    """Whether the boot that is the `begun`th without a healthy verdict runs without the data partition."""
    return begun > 0 and begun % (IN_VAIN + 1) == 0
