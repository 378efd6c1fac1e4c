"""Our block maps against Yocto's bmaptool."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk.bmap import block_ranges, decode_bmap, digest_ranges, encode_bmap
from imagekit.errors import DocumentError
from imagekit.units import MIB

pytestmark = pytest.mark.tools

EXTENTS = ((0, 17408), (MIB, 3 * MIB + 5), (5 * MIB + 100, 5 * MIB + 101), (8 * MIB - 16896, 8 * MIB + 700))


def made(folder: Path) -> tuple[Path, Path]:
    size = 8 * MIB + 700
    image, bmap = folder / "image", folder / "image.bmap"
    with image.open("w+b") as stream:
        stream.truncate(size)
        for start, end in EXTENTS:
            stream.seek(start)
            stream.write(random.Random(start).randbytes(end - start))
        bmap.write_bytes(encode_bmap(size, digest_ranges(stream, block_ranges(EXTENTS, size))))
    return image, bmap


def test_bmaptool_copies_the_whole_image(run_tool: Callable[..., str], tmp_path: Path) -> None:
    image, bmap = made(tmp_path)
    run_tool("bmaptool", "copy", "--bmap", bmap, image, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == image.read_bytes()


def test_bmaptool_notices_a_changed_image(run_tool: Callable[..., str], tmp_path: Path) -> None:
    image, bmap = made(tmp_path)
    with image.open("r+b") as stream:
        stream.seek(2 * MIB)
        stream.write(b"other")
    said = run_tool("bmaptool", "copy", "--bmap", bmap, image, tmp_path / "copy", status=1)
    assert "checksum mismatch" in said


def test_bmaptool_notices_a_changed_map(run_tool: Callable[..., str], tmp_path: Path) -> None:
    image, bmap = made(tmp_path)
    bmap.write_bytes(bmap.read_bytes().replace(b"256-768", b"256-767"))
    said = run_tool("bmaptool", "copy", "--bmap", bmap, image, tmp_path / "copy", status=1)
    assert "checksum mismatch" in said


def test_bmaptools_own_map_is_read(run_tool: Callable[..., str], tmp_path: Path) -> None:
    image, _ = made(tmp_path)
    run_tool("bmaptool", "create", "-o", tmp_path / "theirs.bmap", image)
    found = decode_bmap((tmp_path / "theirs.bmap").read_bytes())
    raw = image.read_bytes()
    assert found.image_size == len(raw)
    with image.open("rb") as stream:
        assert digest_ranges(stream, [(item.start, item.end) for item in found.ranges]) == found.ranges
    covered = [any(item.start <= at < item.end for item in found.ranges) for at in range(0, len(raw), 4096)]
    assert all(mapped or not any(raw[at:at + 4096]) for mapped, at in zip(covered, range(0, len(raw), 4096),
                                                                           strict=True))


def test_bmaptools_map_without_checksums_is_not_taken_for_an_empty_one(run_tool: Callable[..., str],
                                                                       tmp_path: Path) -> None:
    image, _ = made(tmp_path)
    run_tool("bmaptool", "create", "--no-checksum", "-o", tmp_path / "theirs.bmap", image)
    with pytest.raises(DocumentError, match="a range of it has no SHA-256"):
        decode_bmap((tmp_path / "theirs.bmap").read_bytes())
