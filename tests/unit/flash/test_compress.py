"""Compressed images as a flasher reads them."""

from __future__ import annotations

from pathlib import Path

from imagekit.disk.zstd_frames import index_frames
from imagekit.flash.compress import compress_image
from imagekit.plan.flash import HEAD, PIECE
from imagekit.testing.fakes import RecordedProgress
from imagekit.units import MIB

from .conftest import Bench, write_image


def test_every_piece_that_a_flasher_reads_is_a_frame_of_its_own(bench: Bench, tmp_path: Path) -> None:
    size = 4 * PIECE
    write_image(bench.path, size=size, parts=((HEAD, size - MIB),), used=((0, 3 * PIECE + 512),))
    packed = tmp_path / "disk.img.zst"
    compress_image(bench.path, packed, level=1, progress=RecordedProgress())
    content = packed.read_bytes()
    frames = index_frames(lambda at, length: content[at:at + length], len(content), name=str(packed))
    assert frames is not None
    pieces = {(piece.start, piece.end) for piece in bench.plan().pieces}
    assert len(pieces) > 4
    assert pieces <= {(frame.start, frame.end) for frame in frames}
