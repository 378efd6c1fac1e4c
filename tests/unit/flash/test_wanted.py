"""What shall be on a disk, read at any place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from imagekit.disk.bmap import digest_ranges
from imagekit.errors import TrustError
from imagekit.flash.source import PlainSource
from imagekit.flash.wanted import Wanted
from imagekit.plan.flash import ImageFacts
from imagekit.units import MIB

RAW = random.Random(5).randbytes(9 * MIB)
RANGES = ((0, 4096), (MIB, 7 * MIB), (8 * MIB, 9 * MIB))
PATCHES = ((512, b"patch"), (9 * MIB + 512, b"beyond"))


def facts(path: Path) -> ImageFacts:
    path.write_bytes(RAW)
    with path.open("rb") as image:
        return ImageFacts(path=str(path), size=len(RAW), ranges=digest_ranges(image, RANGES), digest="")


def expected() -> bytes:
    disk = bytearray(10 * MIB)
    for start, end in RANGES:
        disk[start:end] = RAW[start:end]
    for offset, content in PATCHES:
        disk[offset:offset + len(content)] = content
    return bytes(disk)


def test_ranges_patches_and_zeros_are_given_at_any_place(tmp_path: Path) -> None:
    wanted = Wanted(facts(tmp_path / "image"), PlainSource(tmp_path / "image"), PATCHES)
    disk, draw = expected(), random.Random(6)
    for _ in range(60):
        start = draw.randrange(0, len(disk))
        end = draw.randrange(start, min(start + 6 * MIB, len(disk)) + 1)
        assert wanted.read(start, end) == disk[start:end]
    assert wanted.read(0, len(disk)) == disk


def test_image_that_is_not_what_its_block_map_says_is_refused(tmp_path: Path) -> None:
    image = facts(tmp_path / "image")
    (tmp_path / "image").write_bytes(RAW[:2 * MIB] + b"x" + RAW[2 * MIB + 1:])
    with pytest.raises(TrustError, match="are not what its block map says"):
        Wanted(image, PlainSource(tmp_path / "image"), ())


def test_image_that_changes_after_it_was_looked_at_is_refused(tmp_path: Path) -> None:
    wanted = Wanted(facts(tmp_path / "image"), PlainSource(tmp_path / "image"), ())
    (tmp_path / "image").write_bytes(RAW[:2 * MIB] + b"x" + RAW[2 * MIB + 1:])
    assert wanted.read(8 * MIB, 9 * MIB) == RAW[8 * MIB:]
    with pytest.raises(TrustError, match="it has changed while it was read"):
        wanted.read(MIB, MIB + 4096)
