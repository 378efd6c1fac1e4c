"""Who a device is, as a factory writes it into a structure of its own: a serial assertion, and the private device key.

Raw bytes at the start of the structure, written once and never again; all integers are little-endian:

    identity = "IKIDENT1" version:u32=1 length:u32 sha256(body):32, zeros to 512; body, zeros to a whole block of 4096
    body     = length:u32 assertions  length:u32 key

`assertions` is a stream that begins with the serial, `key` its device key as PKCS#8 in PEM. Whether the assertions are
believed, and whether the key belongs to them, is decided elsewhere. Documented in docs/reference/disk-formats.md.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from imagekit.errors import DocumentError
from imagekit.units import BLOCK, SECTOR, align_up

MAGIC, VERSION = b"IKIDENT1", 1
MOST = 64 * 1024  # of the whole record
_HEAD = struct.Struct("<8sII32s")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DeviceIdentity:
    """What one device alone has. It shows nothing of itself."""

    assertions: bytes
    key: bytes

    def __repr__(self) -> str:
        return "DeviceIdentity()"


def encode_identity(identity: DeviceIdentity) -> bytes:
    """The record, in whole blocks. Raises: DocumentError: it is too large."""
    body = b"".join(_LENGTH.pack(len(part)) + part for part in (identity.assertions, identity.key))
    head = _HEAD.pack(MAGIC, VERSION, len(body), hashlib.sha256(body).digest()).ljust(SECTOR, b"\0")
    whole = (head + body).ljust(align_up(len(head) + len(body), BLOCK), b"\0")
    if len(whole) > MOST:
        raise DocumentError(f"cannot encode an identity: it has {len(whole)} bytes, at most {MOST} are allowed")
    return whole


def decode_identity(raw: bytes) -> DeviceIdentity | None:
    """Read the start of the structure; None: nobody has written one.

    Raises:
        DocumentError: it is damaged, or of another version.
    """
    if not any(raw[:SECTOR]):
        return None
    if len(raw) < SECTOR:
        raise DocumentError(f"cannot decode an identity: {len(raw)} bytes are no record")
    magic, version, length, digest = _HEAD.unpack_from(raw)
    if magic != MAGIC or version != VERSION:
        raise DocumentError(f"cannot decode an identity: it begins with {magic!r} version {version}, expected"
                            f" {MAGIC!r} version {VERSION}")
    body = raw[SECTOR:SECTOR + length]
    if length > MOST or len(body) != length or hashlib.sha256(body).digest() != digest:
        raise DocumentError("cannot decode an identity: it is damaged")
    parts, at = [], 0
    for _ in range(2):
        if at + _LENGTH.size > length:
            raise DocumentError("cannot decode an identity: a part of it is missing")
        size = int(_LENGTH.unpack_from(body, at)[0])
        parts.append(body[at + _LENGTH.size:at + _LENGTH.size + size])
        at += _LENGTH.size + size
    if at != length:
        raise DocumentError("cannot decode an identity: its parts do not add up")
    return DeviceIdentity(assertions=parts[0], key=parts[1])
