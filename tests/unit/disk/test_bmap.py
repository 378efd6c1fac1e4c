from __future__ import annotations

import hashlib
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.disk.bmap import MappedRange, block_ranges, decode_bmap, decode_ranges, digest_ranges, encode_bmap
from imagekit.errors import DocumentError
from imagekit.units import BLOCK

IMAGE = bytes(4096) + b"a" * 4096 + bytes(8192) + b"b" * 100
RANGES = ((4096, 8192), (16384, len(IMAGE)))


def test_extents_become_whole_blocks_joined_where_they_touch() -> None:
    assert block_ranges([(9000, 9001), (1, 2), (4096, 4097), (20000, 20100), (5, 5)], 20100) == (
        (0, 12288), (16384, 20100))
    assert block_ranges([], 4096) == ()
    assert block_ranges([(0, 100), (50, 60)], 8192) == ((0, 4096),)


@pytest.mark.parametrize("extent", [(-1, 5), (5, 4), (0, 4097)])
def test_extent_outside_the_image_is_refused(extent: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="in an image of 4096 bytes"):
        block_ranges([extent], 4096)


def test_map_tells_sizes_ranges_and_digests() -> None:
    root = ET.fromstring(encode_bmap(len(IMAGE), digest_ranges(io.BytesIO(IMAGE), RANGES)))
    told = {element.tag: (element.text or "").strip() for element in root}
    assert root.attrib == {"version": "2.0"}
    assert list(told) == ["ImageSize", "BlockSize", "BlocksCount", "MappedBlocksCount", "ChecksumType",
                          "BmapFileChecksum", "BlockMap"]
    assert (told["ImageSize"], told["BlockSize"], told["BlocksCount"], told["MappedBlocksCount"]) == (
        str(len(IMAGE)), "4096", "5", "2")
    assert [((item.text or "").strip(), item.attrib["chksum"]) for item in root.iter("Range")] == [
        ("1", hashlib.sha256(b"a" * 4096).hexdigest()), ("4", hashlib.sha256(b"b" * 100).hexdigest())]


def test_map_carries_its_own_checksum() -> None:
    raw = encode_bmap(len(IMAGE), digest_ranges(io.BytesIO(IMAGE), RANGES))
    told = ET.fromstring(raw).findtext("BmapFileChecksum") or ""
    assert hashlib.sha256(raw.replace(told.encode(), b"0" * 64)).hexdigest() == told


def test_longer_range_is_written_as_first_and_last_block() -> None:
    raw = encode_bmap(1 << 20, [MappedRange(start=8192, end=32768, sha256="0" * 64)])
    assert b"> 2-7 </Range>" in raw
    assert b"<MappedBlocksCount>6<" in raw


def test_zero_digest_of_a_range_is_not_taken_for_the_checksum() -> None:
    raw = encode_bmap(4096, [MappedRange(start=0, end=4096, sha256="0" * 64)])
    assert b'chksum="' + b"0" * 64 in raw


@pytest.mark.parametrize("spans", [[(4096, 8192), (0, 4096)], [(0, 8192), (4096, 12288)], [(1, 4096)], [(0, 4095)],
                                   [(0, 20480)], [(4096, 4096)]])
def test_ranges_that_make_no_sense_are_refused(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="in an image of"):
        encode_bmap(16384, [MappedRange(start=start, end=end, sha256="0" * 64) for start, end in spans])


def test_image_that_ends_inside_a_range_is_refused() -> None:
    with pytest.raises(DocumentError, match="ends at byte 5000"):
        digest_ranges(io.BytesIO(bytes(5000)), [(4096, 8192)])


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=12), st.integers(0, 4095))
def test_any_written_map_is_read_back(steps: list[tuple[int, int]], short: int) -> None:
    ranges, at = [], 0
    for hole, blocks in steps:
        start, at = at + hole, at + hole + blocks
        ranges.append(MappedRange(start=start * BLOCK, end=at * BLOCK, sha256=f"{start:064x}"))
    size = max(at * BLOCK - short, 1)
    if ranges:  # the last block of an image may be short
        ranges[-1] = replace(ranges[-1], end=size)
    assert decode_ranges(encode_bmap(size, ranges), size=size) == tuple((item.start, item.end) for item in ranges)


def test_map_comes_back_with_its_digests() -> None:
    ranges = digest_ranges(io.BytesIO(IMAGE), RANGES)
    raw = encode_bmap(len(IMAGE), ranges)
    found = decode_bmap(raw)
    assert (found.image_size, found.ranges) == (len(IMAGE), ranges)
    assert decode_ranges(raw, size=len(IMAGE)) == RANGES


def reseal(raw: bytes) -> bytes:
    """A map that was changed, with a checksum that is right again."""
    head, tail = re.split(rb"(?<=<BmapFileChecksum>)[0-9a-f]{64}", raw)
    return head + hashlib.sha256(head + b"0" * 64 + tail).hexdigest().encode() + tail


@pytest.mark.parametrize(("old", "new", "why"), [
    (rb' chksum="[0-9a-f]{64}"> 4 ', b"> 4 ", "a range of it has no SHA-256"),
    (rb' chksum="[0-9a-f]{64}"> 4 ', b' chksum="' + b"ab" * 20 + b'"> 4 ', "a range of it has no SHA-256"),
    (rb"    <Range [^/]*> 4 </Range>\n", b"", "its ranges have 1 blocks, it counts 2"),
    (rb"(<Range [^/]*> 4 </Range>)", rb"<!-- \1 -->", "its ranges have 1 blocks, it counts 2"),
    (rb"<BlockSize>4096<", b"<BlockSize>512<", "its blocks have 512 bytes, 4096 are understood"),
    (rb"  <BlockSize>.*\n", b"", "its blocks have no stated number of bytes"),
    (rb"<MappedBlocksCount>.*\n", b"", "it counts none"),
    (rb"<ImageSize>", b"<Size>", "it states no size of the image"),
])
def test_map_of_which_something_would_be_passed_over_is_refused(old: bytes, new: bytes, why: str) -> None:
    raw = encode_bmap(len(IMAGE), digest_ranges(io.BytesIO(IMAGE), RANGES))
    changed, count = re.subn(old, new, raw)
    assert count == 1
    with pytest.raises(DocumentError, match=why):
        decode_bmap(reseal(changed))


def test_map_that_was_changed_or_is_for_another_size_is_refused() -> None:
    raw = encode_bmap(len(IMAGE), digest_ranges(io.BytesIO(IMAGE), RANGES))
    with pytest.raises(DocumentError, match="its checksum does not match"):
        decode_bmap(raw.replace(b"> 4 <", b"> 3 <"))
    with pytest.raises(DocumentError, match=f"for an image of {len(IMAGE)} bytes, not 5"):
        decode_ranges(raw, size=5)
