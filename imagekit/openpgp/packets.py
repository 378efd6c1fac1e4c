"""OpenPGP packets and the numbers in them (RFC 4880).

    packet  = tag length body                  4.2; both formats are read, the new one is written
    new     = 0xC0|tag     one, two or five bytes of length      4.2.2; partial lengths are refused
    old     = 0x80|tag<<2  one, two or four bytes of length      4.2.1; an indeterminate length is refused
    mpi     = bit count(2)  big-endian magnitude                 3.2

Decides where a packet begins and ends; what a body means is `imagekit.keys`' and `imagekit.openpgp.secretkeys`'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.errors import DocumentError


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Packet:
    """One packet. It may hold a secret, so it shows none of its body."""

    tag: int
    body: bytes

    def __repr__(self) -> str:
        return f"Packet(tag={self.tag}, {len(self.body)} bytes)"


class Reader:
    """Takes bytes from the front and never past the end; `what` is read, for messages."""

    def __init__(self, source: bytes, what: str) -> None:
        self.source, self.what, self.at = source, what, 0

    @property
    def left(self) -> int:
        return len(self.source) - self.at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise DocumentError(f"cannot decode {self.what}: cut short, {size} bytes expected, {self.left} left")
        self.at += size
        return self.source[self.at - size:self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def mpi(self) -> int:
        """A number with its bit count; some signers count whole bytes instead of bits, which is accepted."""
        bits = self.number(2)
        magnitude = self.take((bits + 7) // 8)
        number = int.from_bytes(magnitude, "big")
        if bits != number.bit_length() and bits != 8 * len(magnitude):
            raise DocumentError(f"cannot decode {self.what}: a number of {number.bit_length()} bits"
                                f" that is said to have {bits}")
        return number

    def length(self) -> int:
        """A length as new packets and subpackets have it."""
        first = self.number(1)
        if first < 192:
            return first
        if first < 224:
            return (first - 192 << 8) + self.number(1) + 192
        if first == 255:
            return self.number(4)
        raise DocumentError(f"cannot decode {self.what}: partial lengths are not allowed")

    def packet(self) -> Packet:
        first = self.number(1)
        if first & 0xC0 == 0xC0:
            return Packet(tag=first & 0x3F, body=self.take(self.length()))
        if first & 0xC3 in (0x80, 0x81, 0x82):
            return Packet(tag=first >> 2 & 0x0F, body=self.take(self.number(1 << (first & 3))))
        raise DocumentError(f"cannot decode {self.what}: 0x{first:02x} does not begin a packet of known length")

    def packets(self) -> Iterator[Packet]:
        """All that are left."""
        while self.left:
            yield self.packet()

    def end(self) -> None:
        if self.left:
            raise DocumentError(f"cannot decode {self.what}: {self.left} bytes follow where it should end")


def encode_mpi(number: int) -> bytes:
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def encode_packet(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 192:
        length = bytes((size,))
    elif size < 8384:
        length = (0xC000 + size - 192).to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(4, "big")
    return bytes((0xC0 | tag,)) + length + body
