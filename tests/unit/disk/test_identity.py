"""The record of a device's identity: there and back, damaged anywhere, of another version."""

from __future__ import annotations

import pytest

from imagekit.disk.identity import MOST, DeviceIdentity, decode_identity, encode_identity
from imagekit.errors import DocumentError

IDENTITY = DeviceIdentity(assertions=b"type: serial\n...", key=b"-----BEGIN TEST-ONLY\n")


def test_record_is_whole_blocks_and_is_read_back() -> None:
    raw = encode_identity(IDENTITY)
    assert len(raw) % 4096 == 0
    assert decode_identity(raw + bytes(1 << 20)) == IDENTITY
    assert "BEGIN" not in repr(IDENTITY)


def test_empty_structure_has_none() -> None:
    assert decode_identity(bytes(MOST)) is None


def test_every_damaged_byte_that_counts_is_found() -> None:
    raw = encode_identity(IDENTITY)
    used = 512 + 8 + len(IDENTITY.assertions) + len(IDENTITY.key)
    for place in (*range(48), *range(512, used)):
        changed = bytearray(raw)
        changed[place] ^= 0x41
        with pytest.raises(DocumentError):
            decode_identity(bytes(changed))


def test_record_that_is_cut_short_is_no_record() -> None:
    raw = encode_identity(IDENTITY)
    for size in (10, 511, 512, 530):
        with pytest.raises(DocumentError):
            decode_identity(raw[:size])


def test_identity_that_is_too_large_is_refused() -> None:
    with pytest.raises(DocumentError, match="at most 65536"):
        encode_identity(DeviceIdentity(assertions=bytes(MOST), key=b""))
