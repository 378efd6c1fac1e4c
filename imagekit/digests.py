"""Digests in the spellings that the formats use.

Assertions write the raw SHA3-384 of a file in base64url without padding (64 characters); lock files, manifests and
dm-verity write lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20
SHORT = 12  # characters of a digest that people compare

IMAGEKIT_NAMESPACE = uuid.UUID("0b7e5c1e-3a53-5a2e-9d55-2f0d4f6b7a11")  # of every identifier we derive (RFC 9562 5.5)


def derived_uuid(*parts: str) -> uuid.UUID:
    """The version 5 UUID of `parts` joined by slashes: equal parts give an equal identifier, on every machine."""
    return uuid.uuid5(IMAGEKIT_NAMESPACE, "/".join(parts))


def b64url(raw: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def short(digest: str) -> str:
    """The beginning of a digest, for messages; what is shorter than a digest stays whole."""
    return digest[:SHORT] if len(digest) >= 64 else digest


def chunks(stream: BinaryIO, size: int = CHUNK) -> Iterator[bytes]:
    """The rest of `stream` in pieces of at most `size` bytes."""
    while chunk := stream.read(size):
        yield chunk


def sha3_384(stream: BinaryIO) -> str:
    """SHA3-384 of the rest of `stream` as assertions write it."""
    digest = hashlib.sha3_384()
    for chunk in chunks(stream):
        digest.update(chunk)
    return b64url(digest.digest())


def sha256(stream: BinaryIO) -> str:
    """SHA-256 of the rest of `stream`, lower-case hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks(stream):
        digest.update(chunk)
    return digest.hexdigest()


def crc32c(raw: bytes | bytearray) -> int:
    """CRC-32C (Castagnoli, RFC 3720 B.4) with seed ~0 and without the final inversion, as EROFS and ext4 keep it."""
    crc = 0xFFFFFFFF
    for byte in raw:
        crc = _CRC32C[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C = _crc32c_table()
