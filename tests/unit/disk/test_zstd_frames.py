"""Frames of a zstd file, found without decoding it."""

from __future__ import annotations

import contextlib
import random
import struct

import pytest
import zstandard

from imagekit.disk.zstd_frames import Frame, compress_frames, index_frames
from imagekit.errors import DocumentError

PIECES = [random.Random(1).randbytes(300_000), b"", bytes(1_000_000), b"a", bytes(range(256)) * 1200]


def index(raw: bytes) -> tuple[Frame, ...] | None:
    return index_frames(lambda at, length: raw[at:at + length], len(raw), name="x.zst")


@pytest.mark.parametrize("level", [1, 3, 19])
def test_every_frame_is_found_with_its_content(level: int) -> None:
    raw = b"".join(compress_frames(PIECES, level=level))
    frames = index(raw)
    assert frames is not None
    assert [zstandard.ZstdDecompressor().decompress(raw[frame.at:frame.stop]) for frame in frames] == PIECES
    assert [frame.end - frame.start for frame in frames] == [len(piece) for piece in PIECES]
    assert frames[-1].stop == len(raw)


def test_skippable_frames_are_passed_over() -> None:
    raw = struct.pack("<II", 0x184D2A50, 5) + b"hello" + b"".join(compress_frames([b"content"]))
    frames = index(raw)
    assert frames is not None
    assert [(frame.at, frame.end) for frame in frames] == [(13, 7)]


def test_frame_that_states_no_size_has_no_index() -> None:
    assert index(zstandard.ZstdCompressor(write_content_size=False).compress(b"content")) is None


@pytest.mark.parametrize("cut", [1, 3, 4, 17, 1000])
def test_file_that_was_cut_short_is_refused(cut: int) -> None:
    raw = b"".join(compress_frames(PIECES))
    with pytest.raises(DocumentError, match=r"x\.zst"):
        index(raw[:-cut])


@pytest.mark.parametrize("raw", [b"", b"not zstd at all", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\xff\xff\xff"])
def test_other_files_are_refused_and_not_a_traceback(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        index(raw)


def test_flipped_bits_never_give_a_traceback() -> None:
    raw = bytearray(b"".join(compress_frames([bytes(5000), b"abc" * 100])))
    for place in range(len(raw)):
        for bit in range(8):
            raw[place] ^= 1 << bit
            with contextlib.suppress(DocumentError):
                index(bytes(raw))
            raw[place] ^= 1 << bit
