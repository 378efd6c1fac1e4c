"""Digests in the spellings that the formats use.

Assertions write the raw SHA3-384 of a file in base64url without padding (64 characters); lock files, manifests and
dm-verity write lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import BinaryIO

CHUNK = 1 << 20


def b64url(raw: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


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
