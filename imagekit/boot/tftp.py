"""TFTP's packets, as bytes: what a boot loader fetches files with.

Decides what a request asks for and how an answer is written; who is answered is `imagekit.flash.tftp`'s.

Source: RFC 1350 (packets), RFC 2347 (options), RFC 2348 (blksize), RFC 2349 (tsize, timeout).

    RRQ = 1 name NUL mode NUL (option NUL value NUL)*        DATA = 3 block content
    ACK = 4 block     ERROR = 5 code text NUL                OACK = 6 (option NUL value NUL)*  ; numbers: big-endian u16
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

PORT = 69
BLOCK = 512  # without an option
RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)
NOT_FOUND, REFUSED, ILLEGAL = 1, 2, 4
LEAST_BLKSIZE, MOST_BLKSIZE = 8, 65464
MOST_TIMEOUT_S = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A request to read. `options` as they came, names in lower case."""

    name: str
    mode: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What server and client agree on. `answer` are the options to acknowledge."""

    blksize: int = BLOCK
    timeout_s: float = 1.0
    answer: Mapping[str, str] = field(default_factory=dict)


def decode_request(packet: bytes) -> Read | None:
    """A request to read; None: it is none, or it is damaged."""
    if packet[:2] != struct.pack(">H", RRQ) or not packet.endswith(b"\0"):
        return None
    words = packet[2:-1].split(b"\0")
    if len(words) < 2 or len(words) % 2 or not all(word.isascii() for word in words):
        return None
    texts = [word.decode("ascii") for word in words]
    return Read(name=texts[0], mode=texts[1].lower(), options={
        name.lower(): value for name, value in zip(texts[2::2], texts[3::2], strict=True)})


def agree(options: Mapping[str, str], size: int) -> Terms:
    """Which of the options are taken, for a file of `size` bytes; others are passed over, as the RFC wants."""
    blksize, timeout_s, answer = BLOCK, 1.0, {}
    for name, value in options.items():
        number = int(value) if value.isdigit() and len(value) < 10 else -1
        if name == "blksize" and number >= LEAST_BLKSIZE:
            blksize = min(number, MOST_BLKSIZE)
            answer[name] = str(blksize)
        elif name == "timeout" and 1 <= number <= MOST_TIMEOUT_S:
            timeout_s = float(number)
            answer[name] = value
        elif name == "tsize":
            answer[name] = str(size)
    return Terms(blksize=blksize, timeout_s=timeout_s, answer=answer)


def encode_data(number: int, content: bytes) -> bytes:
    """A block; its number counts modulo 65536."""
    return struct.pack(">HH", DATA, number & 0xFFFF) + content


def encode_oack(options: Mapping[str, str]) -> bytes:
    return struct.pack(">H", OACK) + b"".join(f"{name}\0{value}\0".encode("ascii") for name, value in options.items())


def encode_error(code: int, text: str) -> bytes:
    return struct.pack(">HH", ERROR, code) + text.encode("ascii", "replace") + b"\0"


def decode_ack(packet: bytes) -> int | None:
    """The number of an acknowledged block; None: it is something else."""
    return struct.unpack(">H", packet[2:4])[0] if len(packet) >= 4 and packet[:2] == struct.pack(">H", ACK) else None


def is_error(packet: bytes) -> bool:
    return packet[:2] == struct.pack(">H", ERROR)
