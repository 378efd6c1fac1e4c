"""Deltas: the same bytes come out, whatever lies in the old package; whatever lies in a delta, it is bounded."""

from __future__ import annotations

import hashlib
import io
import random
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from imagekit.digests import b64url
from imagekit.errors import DocumentError
from imagekit.packages.delta import (
    CHUNK,
    DeltaHead,
    Kind,
    Op,
    added,
    apply_delta,
    encode_head,
    encode_op,
    read_head,
    taken_away,
)

OLD = random.Random(1).randbytes(300_000)


def delta_of(ops: list[Op], *, diff: bytes = b"", extra: bytes = b"", old: bytes = OLD, new: bytes = b"",
             raw_ops: bytes | None = None, new_size: int | None = None) -> bytes:
    """A delta of these operations, well made but for what is asked otherwise."""
    position, stream = 0, b""
    for op in ops:
        stream += encode_op(op, position)
        if op.kind is not Kind.DATA:
            position = op.old + op.length
    packed = [zstandard.compress(raw) for raw in (stream if raw_ops is None else raw_ops, diff, extra)]
    head = DeltaHead(old_size=len(old), new_size=len(new) if new_size is None else new_size, old_sha3_384="",
                     new_sha3_384="", ops=len(packed[0]), diff=len(packed[1]), extra=len(packed[2]))
    return b"".join((encode_head(head, old=hashlib.sha3_384(old).digest(), new=hashlib.sha3_384(new).digest()),
                     *packed))


def applied(delta: bytes, old: bytes = OLD, **more: str) -> bytes:
    out = bytearray()
    apply_delta(io.BytesIO(delta), io.BytesIO(old), out.extend, name="d.delta", **more)
    return bytes(out)


COPY = Op(kind=Kind.COPY, length=200_000, old=50_000)
NEW = OLD[50_000:250_000] + bytes((one + 7) % 256 for one in OLD[:100]) + b"news"
OPS = [COPY, Op(kind=Kind.ADD, length=100, old=0), Op(kind=Kind.DATA, length=4)]
GOOD = delta_of(OPS, diff=b"\7" * 100, extra=b"news", new=NEW)


def test_each_kind_of_operation_does_its_own() -> None:
    assert applied(GOOD) == NEW
    assert applied(GOOD, sha3_384=b64url(hashlib.sha3_384(NEW).digest())) == NEW


@given(st.binary(max_size=3 * CHUNK // 2), st.randoms(use_true_random=False))
def test_added_is_the_sum_of_each_byte(one: bytes, chance: random.Random) -> None:
    one = one[:CHUNK]
    other = chance.randbytes(len(one))
    assert added(one, other) == bytes((a + b) % 256 for a, b in zip(one, other, strict=True))
    assert added(other, taken_away(one, other)) == one


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK])
def test_added_at_the_edges_of_its_masks(size: int) -> None:
    one, other = b"\xff\x80\x7f\x01" * CHUNK, b"\x01\x80\x81\xff" * CHUNK
    expected = bytes((a + b) % 256 for a, b in zip(one[:size], other[:size], strict=True))
    assert added(one[:size], other[:size]) == expected


def test_another_old_package_is_noticed() -> None:
    other = bytearray(OLD)
    other[60_000] ^= 1
    with pytest.raises(DocumentError, match="what it makes is not the package"):
        applied(GOOD, bytes(other))


def test_a_delta_for_another_result_is_refused_before_anything_is_written() -> None:
    out = bytearray()
    with pytest.raises(DocumentError, match="it makes another package than the one that is wanted"):
        apply_delta(io.BytesIO(GOOD), io.BytesIO(OLD), out.extend, name="d", sha3_384="A" * 64)
    assert not out


@pytest.mark.parametrize("size", [len(NEW) - 1, len(NEW) + 1])
def test_a_delta_for_another_size_is_refused_before_anything_is_written(size: int) -> None:
    out = bytearray()
    with pytest.raises(DocumentError, match="it makes another package than the one that is wanted"):
        apply_delta(io.BytesIO(GOOD), io.BytesIO(OLD), out.extend, name="d", size=size)
    assert not out


def test_every_flipped_byte_is_noticed() -> None:
    for index in range(len(GOOD)):
        if 24 <= index < 72:
            continue  # the old digest: the caller's hint which package it is for
        broken = bytearray(GOOD)
        broken[index] ^= 0x41
        try:
            result = applied(bytes(broken))
        except DocumentError:
            continue
        assert result == NEW, index  # a bit that decoders overlook may change nothing


def test_every_shorter_delta_is_refused() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(DocumentError):
            applied(GOOD[:length])


@pytest.mark.parametrize("raw_ops", [
    b"\3", b"\0", b"\xff" * 20, b"\4", encode_op(Op(kind=Kind.COPY, length=1 << 40), 0),
    encode_op(Op(kind=Kind.COPY, length=10, old=len(OLD) - 5), 0), encode_op(Op(kind=Kind.COPY, length=10, old=5), 99),
    encode_op(Op(kind=Kind.DATA, length=100), 0), encode_op(Op(kind=Kind.ADD, length=100, old=0), 0)],
    ids=["kind", "empty", "endless", "no-move", "huge", "past-the-end", "before-the-start", "no-data", "no-diff"])
def test_operations_that_cannot_be_are_refused(raw_ops: bytes) -> None:
    with pytest.raises(DocumentError):
        applied(delta_of([], raw_ops=raw_ops, new=NEW))


def test_what_lies_behind_the_old_package_is_not_read() -> None:
    """On a device its hash tree lies there, in the same partition."""
    ops = encode_op(Op(kind=Kind.COPY, length=10, old=len(OLD) - 9), 0)
    with pytest.raises(DocumentError, match="it reads outside of the old package"):
        applied(delta_of([], raw_ops=ops, new=NEW), old=OLD + b"behind it")


def test_a_bomb_writes_no_more_than_its_head_says() -> None:
    written = 0

    def count(piece: bytes) -> None:
        nonlocal written
        written += len(piece)

    bomb = delta_of([], raw_ops=encode_op(Op(kind=Kind.DATA, length=1000), 0) * 100_000, extra=bytes(50_000_000),
                    new_size=5000)
    with pytest.raises(DocumentError):
        apply_delta(io.BytesIO(bomb), io.BytesIO(OLD), count, name="bomb")
    assert written <= 5000


def test_a_window_larger_than_a_device_has_is_refused() -> None:
    head = read_head(io.BytesIO(GOOD), name="d")
    huge = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(
        window_log=27, write_content_size=False)).compressobj()
    extra = huge.compress(random.Random(2).randbytes(1 << 20)) + huge.flush()
    raw = GOOD[:len(GOOD) - head.extra] + extra
    packed = bytearray(raw)
    packed[struct.calcsize("<8sQQ48s48sQQ"):struct.calcsize("<8sQQ48s48sQQQ")] = len(extra).to_bytes(8, "little")
    with pytest.raises(DocumentError, match="damaged"):
        applied(bytes(packed))


@pytest.mark.parametrize("raw", [b"", b"IKDELTA1", b"IKDELTA2" + GOOD[8:], bytes(200)])
def test_what_is_no_delta_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match=r"no delta|does not fit"):
        applied(raw)
