"""Superblocks that are none, and the names of fields. What mke2fs really writes is in tests/tools."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.digests import crc32c
from imagekit.disk.ext4 import MAGIC, decode_condition, decode_superblock, field_at, used_ranges
from imagekit.errors import DocumentError


def superblock(*, blocks: int = 64, per_group: int = 32768, log_size: int = 2) -> bytearray:
    raw = bytearray(1024)
    struct.pack_into("<I", raw, 4, blocks)
    struct.pack_into("<II", raw, 20, 0, log_size)
    struct.pack_into("<I", raw, 32, per_group)
    struct.pack_into("<H", raw, 56, MAGIC)
    return raw


def test_block_bitmap_becomes_ranges() -> None:
    image = bytearray(64 * 4096)
    image[1024:2048] = superblock()
    struct.pack_into("<I", image, 4096, 2)
    image[2 * 4096:2 * 4096 + 8] = bytes([0b00001111, 0, 0, 0, 0, 0, 0b1, 0b1000_0000])
    assert used_ranges(io.BytesIO(image), 0) == ((0, 4 * 4096), (48 * 4096, 49 * 4096), (63 * 4096, 64 * 4096))


def test_wrong_magic_is_refused() -> None:
    with pytest.raises(DocumentError, match="magic"):
        decode_superblock(bytes(1024))


@pytest.mark.parametrize("raw", [superblock(blocks=0), superblock(per_group=0), superblock(log_size=30)])
def test_geometry_that_makes_no_sense_is_refused(raw: bytearray) -> None:
    with pytest.raises(DocumentError, match="make no sense"):
        decode_superblock(bytes(raw))


def test_bitmap_outside_is_refused() -> None:
    image = bytearray(64 * 4096)
    image[1024:2048] = superblock()
    struct.pack_into("<I", image, 4096, 1 << 30)
    with pytest.raises(DocumentError, match="lies outside"):
        used_ranges(io.BytesIO(image), 0)


@given(st.integers(0, 64 * 4096 - 1))
def test_cut_short_is_refused(length: int) -> None:
    image = bytearray(64 * 4096)
    image[1024:2048] = superblock()
    struct.pack_into("<I", image, 4096, 2)
    with pytest.raises(DocumentError):
        used_ranges(io.BytesIO(bytes(image[:length])), 0)


def test_file_system_larger_than_its_disk_is_refused_at_once() -> None:
    image = bytearray(64 * 4096)
    image[1024:2048] = superblock(blocks=1 << 30)
    with pytest.raises(DocumentError, match="1073741824 blocks of 4096 bytes, the stream has 262144 bytes"):
        used_ranges(io.BytesIO(image), 0)


@given(st.binary(min_size=1024, max_size=1024))
def test_noise_behind_a_magic_never_crashes(noise: bytes) -> None:
    raw = bytearray(noise)
    struct.pack_into("<H", raw, 56, MAGIC)
    image = bytes(1024) + bytes(raw) + noise * 8
    try:
        used_ranges(io.BytesIO(image), 0)
    except DocumentError as error:
        assert "ext4" in error.message


def test_fields_have_names() -> None:
    assert field_at(104) == "uuid"
    assert field_at(251) == "hash_seed"
    assert field_at(700) is None


@pytest.mark.parametrize(("state", "incompat", "told"), [
    (1, 0, (True, False, False)), (0, 4, (False, False, True)), (3, 0, (True, True, False))])
def test_condition_is_read(state: int, incompat: int, told: tuple[bool, bool, bool]) -> None:
    raw = superblock()
    struct.pack_into("<H", raw, 58, state)
    struct.pack_into("<I", raw, 96, incompat)
    raw[120:124] = b"data"
    found = decode_condition(bytes(raw))
    assert (found.clean, found.errors, found.replay) == told
    assert (found.size, found.label) == (64 * 4096, "data")


def test_superblock_whose_checksum_does_not_match_is_refused() -> None:
    raw = superblock()
    struct.pack_into("<I", raw, 100, 0x400)
    struct.pack_into("<I", raw, 1020, crc32c(raw[:1020]))
    decode_condition(bytes(raw))
    raw[130] ^= 1
    with pytest.raises(DocumentError, match="checksum"):
        decode_condition(bytes(raw))
