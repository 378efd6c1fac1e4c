"""What a slot says of the package in it: the assertions that the updater wrote behind its hash tree.

Decides the bytes of that record and nothing about their truth: whoever reads them holds the assertions against roots
of trust, and their verity root against the one that boots. A slot that the factory filled has none: there the seed
answers. It lies on the slot's own partition, so that a device which lost its data still knows what it runs.

Grammar, little-endian, at the first byte behind the tree, in whole blocks of 4096:

    0 magic "IKPF" | 4 u32 format (1) | 8 u32 length of the stream | 12 u32 CRC-32 of the stream
    16 stream of assertions | zeros up to the next block
"""

from __future__ import annotations

import struct
import zlib

from imagekit.errors import DocumentError
from imagekit.units import BLOCK, KIB, align_up

PROOF_MOST = 512 * KIB

_HEAD = struct.Struct("<4s3I")
_MAGIC = b"IKPF"
_FORMAT = 1


def encode_proof(stream: bytes) -> bytes:
    """The record. Raises: DocumentError: the stream is longer than a reader takes."""
    raw = _HEAD.pack(_MAGIC, _FORMAT, len(stream), zlib.crc32(stream)) + stream
    if len(raw) > PROOF_MOST:
        raise DocumentError(f"cannot encode the proof of a slot: {len(stream)} bytes of assertions, at most"
                            f" {PROOF_MOST - _HEAD.size} fit")
    return raw.ljust(align_up(len(raw), BLOCK), b"\0")


def decode_proof(raw: bytes) -> bytes:
    """The stream of assertions out of `PROOF_MOST` bytes behind the tree, or of fewer where the partition ends.

    Raises:
        DocumentError: nothing of that kind is there, or it is damaged.
    """
    if len(raw) < _HEAD.size or raw[:4] != _MAGIC:
        raise DocumentError("cannot read the proof of a slot: there is none")
    _, version, length, checksum = _HEAD.unpack_from(raw)
    stream = raw[_HEAD.size:_HEAD.size + length]
    if version != _FORMAT:
        raise DocumentError(f"cannot read the proof of a slot: format {version}, this program knows {_FORMAT}")
    if len(stream) < length or zlib.crc32(stream) != checksum:
        raise DocumentError("cannot read the proof of a slot: it is cut short or damaged")
    return stream
