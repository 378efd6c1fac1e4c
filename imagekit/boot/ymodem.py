"""YMODEM's blocks, as bytes: what a boot loader takes over a serial line.

Decides how blocks are made and read; when one is sent is `imagekit.flash.ymodem`'s.

Source: C. Forsberg, XMODEM/YMODEM protocol reference (1988), chapters 3, 5 and 8; U-Boot's `loady` takes what is here.

    block  = SOH number complement 128 bytes crc | STX number complement 1024 bytes crc ; CRC-16/XMODEM, big-endian
    header = block number 0 of: name NUL length-in-decimal NUL*                          ; all NUL: no further file
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass

SOH, STX, EOT, ACK, NAK, CAN, CRC_MODE = (bytes([code]) for code in (0x01, 0x02, 0x04, 0x06, 0x15, 0x18, 0x43))
PAD = b"\x1a"
SMALL, LARGE = 128, 1024
LENGTH = {SOH: SMALL, STX: LARGE}
FRAME = 5  # bytes of a block that are not content


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A file that is announced; an empty name: there is none."""

    name: str
    size: int


def encode_block(number: int, content: bytes) -> bytes:
    """A block of at most 1024 bytes, padded; its number counts modulo 256."""
    kind = SOH if len(content) <= SMALL else STX
    if len(content) > LARGE:
        raise ValueError(f"{len(content)} bytes in a block")
    padded = content.ljust(LENGTH[kind], PAD)
    number &= 0xFF
    return kind + bytes([number, 0xFF - number]) + padded + binascii.crc_hqx(padded, 0).to_bytes(2, "big")


def decode_block(frame: bytes) -> tuple[int, bytes] | None:
    """Number and padded content of a whole block; None: it was damaged on its way."""
    length = LENGTH.get(frame[:1])
    if length is None or len(frame) != length + FRAME or frame[1] + frame[2] != 0xFF:
        return None
    content = frame[3:-2]
    return (frame[1], content) if binascii.crc_hqx(content, 0) == int.from_bytes(frame[-2:], "big") else None


def encode_header(header: Header) -> bytes:
    """Block 0, which says what comes; without a name: that nothing more comes.

    Raises:
        ValueError: the name does not fit.
    """
    text = f"{header.name}\0{header.size}".encode("ascii") if header.name else b""
    if len(text) >= SMALL:
        raise ValueError(f"a name of {len(header.name)} characters")
    return encode_block(0, text.ljust(SMALL, b"\0"))


def decode_header(content: bytes) -> Header | None:
    """What a block 0 announces; None: it is no header."""
    name, _, rest = content.partition(b"\0")
    size = rest.partition(b"\0")[0].split(b" ")[0]
    if not name.isascii() or (name and not size.isdigit()):
        return None
    return Header(name=name.decode("ascii"), size=int(size) if name else 0)


def seconds(size: int, *, baud: int, turn_s: float) -> float:
    """How long content of `size` bytes takes: ten bits a byte, and from each block to its answer `turn_s`."""
    blocks = -(-size // LARGE) + 3  # header, end, and the empty header
    return (blocks * (LARGE + FRAME)) * 10 / baud + blocks * turn_s
