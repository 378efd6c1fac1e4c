"""Write a block map, and read its ranges back: which blocks of an image mean something, each run with its SHA-256.

Decides how byte extents become block ranges. Which bytes of an image are meaningful is the builder's knowledge, never
read off a file system's holes: a run of zeros that must be written is mapped like any other.

Source: bmap format 2.0, as Yocto's bmaptool describes and reads it. UTF-8 XML, elements in this order:

    bmap(version=2.0) = ImageSize BlockSize BlocksCount MappedBlocksCount ChecksumType BmapFileChecksum
                        BlockMap(Range(chksum)*)          ; text of a Range: first-last block, inclusive, or one block

BmapFileChecksum is the SHA-256 of the file with its own digits replaced by zeros.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from imagekit.digests import CHUNK
from imagekit.errors import DocumentError
from imagekit.units import BLOCK, align_up

_UNKNOWN = "0" * 64
_RANGE = re.compile(r'<Range chksum="([0-9a-f]{64})"> *(\d{1,12})(?:-(\d{1,12}))? *</Range>')
_ANY_RANGE = re.compile(r"<Range\b")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CHECKSUM = re.compile(r"<BmapFileChecksum> *([0-9a-f]{64}) *</BmapFileChecksum>")
_SIZE = re.compile(r"<ImageSize> *(\d{1,15}) *</ImageSize>")
_BLOCK = re.compile(r"<BlockSize> *(\d{1,15}) *</BlockSize>")
_MAPPED = re.compile(r"<MappedBlocksCount> *(\d{1,15}) *</MappedBlocksCount>")
_TEMPLATE = """<?xml version="1.0" encoding="utf-8" ?>
<bmap version="2.0">
  <ImageSize>{size}</ImageSize>
  <BlockSize>{block}</BlockSize>
  <BlocksCount>{blocks}</BlocksCount>
  <MappedBlocksCount>{mapped}</MappedBlocksCount>
  <ChecksumType>sha256</ChecksumType>
  <BmapFileChecksum>{checksum}</BmapFileChecksum>
  <BlockMap>
{ranges}  </BlockMap>
</bmap>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedRange:
    """A run of whole blocks, as bytes `[start, end)`, and their digest; the last block of an image may be short."""

    start: int
    end: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bmap:
    """A block map: ranges ascending, none overlapping, all within the image."""

    image_size: int
    ranges: tuple[MappedRange, ...]


def block_ranges(extents: Iterable[tuple[int, int]], image_size: int) -> tuple[tuple[int, int], ...]:
    """Byte extents `[start, end)` in any order, widened to whole blocks, joined where they touch, ascending.

    Raises:
        ValueError: an extent lies outside the image.
    """
    ranges: list[tuple[int, int]] = []
    for start, end in sorted(extents):
        if not 0 <= start <= end <= image_size:
            raise ValueError(f"extent {start} to {end} in an image of {image_size} bytes")
        if start == end:
            continue
        first, last = start - start % BLOCK, min(align_up(end, BLOCK), image_size)
        if ranges and first <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], last))
        else:
            ranges.append((first, last))
    return tuple(ranges)


def digest_ranges(image: BinaryIO, ranges: Iterable[tuple[int, int]]) -> tuple[MappedRange, ...]:
    """Hash every range of a seekable image.

    Raises:
        DocumentError: the image ends inside a range.
    """
    digested = []
    for start, end in ranges:
        digest = hashlib.sha256()
        image.seek(start)
        left = end - start
        while left:
            chunk = image.read(min(left, CHUNK))
            if not chunk:
                raise DocumentError(f"cannot map image: it ends at byte {end - left}, a mapped range at {end}")
            digest.update(chunk)
            left -= len(chunk)
        digested.append(MappedRange(start=start, end=end, sha256=digest.hexdigest()))
    return tuple(digested)


def encode_bmap(image_size: int, ranges: Sequence[MappedRange]) -> bytes:
    """The block map of an image.

    Raises:
        ValueError: ranges that do not ascend, overlap, or are no whole blocks of the image.
    """
    lines = []
    mapped = position = 0
    for item in ranges:
        whole = item.start % BLOCK == 0 and (item.end % BLOCK == 0 or item.end == image_size)
        if not whole or not position <= item.start < item.end <= image_size:
            raise ValueError(f"range {item.start} to {item.end} after {position} in an image of {image_size} bytes")
        position = item.end
        first, last = item.start // BLOCK, -(-item.end // BLOCK) - 1
        mapped += last - first + 1
        span = f"{first}-{last}" if last > first else f"{first}"
        lines.append(f'    <Range chksum="{item.sha256}"> {span} </Range>\n')
    text = _TEMPLATE.format(size=image_size, block=BLOCK, blocks=-(-image_size // BLOCK), mapped=mapped,
                            checksum=_UNKNOWN, ranges="".join(lines))
    checksum = hashlib.sha256(text.encode()).hexdigest()
    return text.replace(_UNKNOWN, checksum, 1).encode()


def decode_bmap(raw: bytes, *, name: str = "block map") -> Bmap:
    """A block map with a SHA-256 of every range, as `encode_bmap` and bmaptool write it.

    Nothing of it is passed over: a range that is not understood would be missing on the medium, and nobody would see.

    Raises:
        DocumentError: it was changed; a range has no digest of this kind; what it says of sizes and counts is missing
            or contradicts its ranges; they do not ascend within the image.
    """
    text = raw.decode("ascii", "replace")
    found = _CHECKSUM.search(text)
    if found is None or hashlib.sha256(text.replace(found[1], _UNKNOWN, 1).encode()).hexdigest() != found[1]:
        raise DocumentError(f"cannot read {name}: its checksum does not match its content")
    text = _COMMENT.sub("", text)
    size, block, mapped = (_number(pattern, text) for pattern in (_SIZE, _BLOCK, _MAPPED))
    if size is None:
        raise DocumentError(f"cannot read {name}: it states no size of the image")
    if block != BLOCK:
        raise DocumentError(f"cannot read {name}: its blocks have {block or 'no stated number of'} bytes, {BLOCK} are"
                            " understood", hint="make it again with bmaptool")
    ranges: list[MappedRange] = []
    blocks = 0
    for digest, first, last in _RANGE.findall(text):
        start, end = int(first) * BLOCK, min((int(last or first) + 1) * BLOCK, size)
        if not (ranges[-1].end if ranges else 0) <= start < end:
            raise DocumentError(f"cannot read {name}: its ranges do not ascend within {size} bytes")
        ranges.append(MappedRange(start=start, end=end, sha256=digest))
        blocks += int(last or first) + 1 - int(first)
    if len(_ANY_RANGE.findall(text)) != len(ranges):
        raise DocumentError(f"cannot read {name}: a range of it has no SHA-256",
                            hint="make it again without --no-checksum")
    if mapped != blocks:
        raise DocumentError(f"cannot read {name}: its ranges have {blocks} blocks, it counts"
                            f" {'none' if mapped is None else mapped}")
    return Bmap(image_size=size, ranges=tuple(ranges))


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    """What an element says; None: there is none."""
    found = pattern.search(text)
    return int(found[1]) if found else None


def decode_ranges(raw: bytes, *, size: int, name: str = "block map") -> tuple[tuple[int, int], ...]:
    """The mapped ranges of a block map that `encode_bmap` wrote for an image of `size` bytes.

    Raises:
        DocumentError: see `decode_bmap`; it is for an image of another size.
    """
    found = decode_bmap(raw, name=name)
    if found.image_size != size:
        raise DocumentError(f"cannot read {name}: it is for an image of {found.image_size} bytes, not {size}")
    return tuple((item.start, item.end) for item in found.ranges)
