"""Android's sparse images: what is encoded is decoded, and what is damaged is refused."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.disk.sparse import CHUNK, HEADER, Chunk, Kind, decode_sparse, encode_sparse, most_content
from imagekit.errors import DocumentError

BLOCK = 512
SIZE = 64 * BLOCK
NOISE = random.Random(3).randbytes(SIZE)


def painted(packed: bytes, below: bytes) -> bytes:
    """A disk with `below` on it, after the file was written there."""
    disk = bytearray(below)
    size, chunks = decode_sparse(packed, name="test")
    assert size == len(below)
    for chunk in chunks:
        span = chunk.end - chunk.start
        if chunk.kind is not Kind.DONT_CARE:
            disk[chunk.start:chunk.end] = chunk.content * (span // len(chunk.content))
    return bytes(disk)


def test_chunks_are_raw_repeated_or_left_alone() -> None:
    packed = encode_sparse(8 * BLOCK, BLOCK, [(BLOCK, NOISE[:BLOCK] + bytes(2 * BLOCK)), (5 * BLOCK, b"abcd" * 128)])
    assert decode_sparse(packed, name="test") == (8 * BLOCK, (
        Chunk(kind=Kind.DONT_CARE, start=0, end=BLOCK),
        Chunk(kind=Kind.RAW, start=BLOCK, end=2 * BLOCK, content=NOISE[:BLOCK]),
        Chunk(kind=Kind.FILL, start=2 * BLOCK, end=4 * BLOCK, content=bytes(4)),
        Chunk(kind=Kind.DONT_CARE, start=4 * BLOCK, end=5 * BLOCK),
        Chunk(kind=Kind.FILL, start=5 * BLOCK, end=6 * BLOCK, content=b"abcd"),
        Chunk(kind=Kind.DONT_CARE, start=6 * BLOCK, end=8 * BLOCK),
    ))


blocks = st.sampled_from([bytes(BLOCK), b"abcd" * (BLOCK // 4), NOISE[:BLOCK], NOISE[BLOCK:2 * BLOCK]])


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(blocks, min_size=1, max_size=6)), max_size=7))
def test_what_is_written_is_what_was_meant_and_nothing_else(runs: list[tuple[int, list[bytes]]]) -> None:
    at, placed, meant = 0, [], bytearray(NOISE)
    for gap, run in runs:
        content = b"".join(run)
        start = at + gap * BLOCK
        if start + len(content) > SIZE:
            break
        placed.append((start, content))
        meant[start:start + len(content)] = content
        at = start + len(content)
    assert painted(encode_sparse(SIZE, BLOCK, placed), NOISE) == bytes(meant)


@given(st.lists(blocks, min_size=1, max_size=20))
def test_file_with_one_run_is_never_larger_than_was_counted_with(run: list[bytes]) -> None:
    content = b"".join(run)
    packed = encode_sparse(SIZE, BLOCK, [(BLOCK, content)])
    assert len(content) <= most_content(len(packed)) or len(packed) < len(content)
    raw = encode_sparse(SIZE, BLOCK, [(BLOCK, NOISE[:len(content)])])
    assert len(packed) <= len(raw)
    assert most_content(len(raw)) == len(content)


@pytest.mark.parametrize("runs", [[(1, bytes(BLOCK))], [(0, bytes(7))], [(BLOCK, bytes(BLOCK)), (0, bytes(BLOCK))]])
def test_runs_that_are_in_no_order_are_a_bug(runs: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ValueError, match="is not in order, or not in whole blocks"):
        encode_sparse(SIZE, BLOCK, runs)


GOOD = encode_sparse(SIZE, BLOCK, [(BLOCK, NOISE[:BLOCK]), (4 * BLOCK, bytes(BLOCK))])


@pytest.mark.parametrize(("offset", "content", "why"), [
    (0, b"\0", "its header is none of version 1"),
    (4, b"\2", "its header is none of version 1"),
    (8, b"\x20", "its header is none of version 1"),
    (10, b"\x10", "its header is none of version 1"),
    (12, b"\0\0", "its blocks have 0 bytes"),
    (12, b"\1\2", "its blocks have 513 bytes"),
    (16, b"\x41", "its chunks have 32768 of 33280 bytes"),
    (20, b"\4", "its chunks have 2560 of 32768 bytes"),
    (20, b"\6", "it ends before chunk 5 of 6"),
    (28, b"\xc4", "chunk 0 of type 0xcac4"),
    (28, b"\xc5", "chunk 0 of type 0xcac5"),
    (36, b"\x0d", "chunk 0 of type 0xcac3 with 13 bytes for 1 blocks"),
    (HEADER.size + CHUNK.size + 4, b"\2", "chunk 1 of type 0xcac1"),
])
def test_damaged_file_is_refused(offset: int, content: bytes, why: str) -> None:
    bad = GOOD[:offset] + content + GOOD[offset + len(content):]
    with pytest.raises(DocumentError, match="cannot read sparse image test: ") as caught:
        decode_sparse(bad, name="test")
    assert why in caught.value.message


def test_file_cut_anywhere_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(DocumentError):
            decode_sparse(GOOD[:length], name="test")
    with pytest.raises(DocumentError, match="1 bytes follow them"):
        decode_sparse(GOOD + b"\0", name="test")


def test_raw_chunk_longer_than_its_file_is_refused() -> None:
    packed = HEADER.pack(0xED26FF3A, 1, 0, 28, 12, BLOCK, 1 << 20, 1, 0) + struct.pack(
        "<HHII", Kind.RAW, 0, 1 << 20, 12 + (BLOCK << 20))
    with pytest.raises(DocumentError, match="chunk 0 of type 0xcac1"):
        decode_sparse(packed, name="test")
