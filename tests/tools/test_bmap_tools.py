"""Our block maps against Yocto's bmaptool."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk.bmap import block_ranges, digest_ranges, encode_bmap
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
