"""Deltas: what makes a package out of another one, bit for bit. This half applies them, on a device too.

A delta is a recipe in the order of the new package: take these bytes of the old one, take these and add those to them,
take these new ones. What belongs together was found by the files inside (`imagekit.packages.delta_make`); to apply it
nothing of that need be known. The result has the size and SHA3-384 that the delta's head states and the caller wants,
or it is an error: until `apply_delta` has returned, what was written is worth nothing.

Everything streams: the old package is read in place, and no more than some windows of WINDOW bytes and some chunks are
held. Whatever the delta says, never more is written than its new size, and nothing is read outside of the old package.

    delta   = head ops diff extra              ; the last three one zstd frame each, of the lengths in the head
    head    = "IKDELTA1" old_size:u64 new_size:u64 old:48 new:48 ops:u64 diff:u64 extra:u64      ; little-endian
    ops     = (tag:varint [move:varint])*      ; tag = length << 2 | kind
    kind    = 0 copy | 1 add | 2 data          ; copy and add have a move: zigzag, from the end of the one before
    varint  = base 128, least significant first, the high bit says that more follow, at most 10 bytes

`add` takes as many bytes from `diff` as from the old package and adds them modulo 256; `data` takes from `extra`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, cast

import zstandard

from imagekit.digests import b64url
from imagekit.errors import DocumentError
from imagekit.units import KIB, MIB

MAGIC = b"IKDELTA1"
WINDOW_LOG = 23
WINDOW = 1 << WINDOW_LOG  # the largest window that a decoder has to keep, for each of three streams
CHUNK = 64 * KIB
LARGEST = 1 << 40  # of a package

_HEAD = struct.Struct("<8sQQ48s48sQQQ")
_LOW = int.from_bytes(b"\x7f" * CHUNK, "little")
_HIGH = int.from_bytes(b"\x80" * CHUNK, "little")


class Kind(IntEnum):
    """What an operation does."""

    COPY = 0
    ADD = 1
    DATA = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaHead:
    """What a delta says of itself; digests as assertions write them. The three last are lengths of its streams."""

    old_size: int
    new_size: int
    old_sha3_384: str
    new_sha3_384: str
    ops: int
    diff: int
    extra: int

    @property
    def size(self) -> int:
        """Bytes of the whole delta."""
        return _HEAD.size + self.ops + self.diff + self.extra


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation. `old` is where it reads in the old package; of data it says nothing."""

    kind: Kind
    length: int
    old: int = 0


def encode_head(head: DeltaHead, *, old: bytes, new: bytes) -> bytes:
    """The head with its digests as raw bytes."""
    return _HEAD.pack(MAGIC, head.old_size, head.new_size, old, new, head.ops, head.diff, head.extra)


def read_head(delta: BinaryIO, *, name: str) -> DeltaHead:
    """The head of a delta. Raises: DocumentError: it is none."""
    delta.seek(0)
    raw = delta.read(_HEAD.size)
    if len(raw) != _HEAD.size or raw[:8] != MAGIC:
        raise DocumentError(f"cannot read {name}: it is no delta of a version known here")
    _, old_size, new_size, old, new, ops, diff, extra = _HEAD.unpack(raw)
    head = DeltaHead(old_size=old_size, new_size=new_size, old_sha3_384=b64url(old), new_sha3_384=b64url(new),
                     ops=ops, diff=diff, extra=extra)
    if not 0 < new_size <= LARGEST or head.size != delta.seek(0, 2):
        raise DocumentError(f"cannot read {name}: its head does not fit its {delta.seek(0, 2)} bytes")
    return head


def encode_op(op: Op, position: int) -> bytes:
    """An operation, `position` being where the one before stopped reading the old package."""
    tag = _varint(op.length << 2 | op.kind)
    if op.kind is Kind.DATA:
        return tag
    move = op.old - position
    return tag + _varint(move << 1 if move >= 0 else (-move << 1) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def apply_delta(delta: BinaryIO, old: BinaryIO, write: Callable[[bytes], object], *, name: str,
                sha3_384: str | None = None, size: int | None = None) -> DeltaHead:
    """Write the new package. `delta` and `old` are seekable; `sha3_384` and `size` are those of the signed revision.

    Nothing is written by a delta that means another size: what it makes ends at the signed one. Whether `old` is the
    old package is not looked at beforehand: a wrong one gives a wrong result, and that is refused.

    Raises:
        DocumentError: the delta is damaged, for another package, or the result is not what was wanted.
    """
    head = read_head(delta, name=name)
    if (sha3_384 is not None and head.new_sha3_384 != sha3_384) or (size is not None and head.new_size != size):
        raise DocumentError(f"cannot use {name}: it makes another package than the one that is wanted")
    digest, written = hashlib.sha3_384(), 0
    for piece in made_pieces(delta, old, name=name):
        written += len(piece)
        if written > head.new_size:
            break
        digest.update(piece)
        write(piece)
    if written != head.new_size or b64url(digest.digest()) != head.new_sha3_384:
        raise DocumentError(f"cannot use {name}: what it makes is not the package that it says",
                            hint="take the whole package instead")
    return head


def made_pieces(delta: BinaryIO, old: BinaryIO, *, name: str) -> Iterator[bytes]:
    """What a delta makes, at most its new size, with nothing checked of the result.

    Raises:
        DocumentError: the delta is damaged, or for another package.
    """
    yield from _pieces(_Applying(delta, old, read_head(delta, name=name), name))


class _Applying:
    """The streams of a delta, and the old package."""

    def __init__(self, delta: BinaryIO, old: BinaryIO, head: DeltaHead, name: str) -> None:
        self.name, self.head, self.old = name, head, old
        start = _HEAD.size
        self.ops = _Stream(delta, start, head.ops, name)
        self.diff = _Stream(delta, start + head.ops, head.diff, name)
        self.extra = _Stream(delta, start + head.ops + head.diff, head.extra, name)

    def read_old(self, start: int, length: int) -> bytes:
        self.old.seek(start)
        raw = self.old.read(length)
        if len(raw) != length:
            raise DocumentError(f"cannot use {self.name}: the old package ends at byte {start + len(raw)}")
        return raw


class _Stream:
    """One zstd frame within a file that others read too, unpacked as far as it is asked for."""

    def __init__(self, file: BinaryIO, start: int, length: int, name: str) -> None:
        self._name = name
        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(
            cast(BinaryIO, _Part(file, start, length)), read_size=CHUNK, closefd=False)
        self._reader = reader
        self._held, self._at = b"", 0

    def take(self, length: int) -> bytes:
        """Exactly so many bytes, at most CHUNK."""
        while len(self._held) - self._at < length:
            more = self._more()
            if not more:
                raise DocumentError(f"cannot use {self._name}: one of its streams ends too early")
            self._held, self._at = self._held[self._at:] + more, 0
        found = self._held[self._at:self._at + length]
        self._at += length
        return found

    def ended(self) -> bool:
        if self._at == len(self._held):
            self._held, self._at = self._more(), 0
        return not self._held

    def _more(self) -> bytes:
        try:
            return self._reader.read(CHUNK)
        except zstandard.ZstdError as error:
            raise DocumentError(f"cannot use {self._name}: it is damaged: {error}") from error


class _Part:
    """The bytes of a file from `start`, `length` of them, for a reader of its own position."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._at, self._left = file, start, length

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._at)
        raw = self._file.read(self._left if size < 0 else min(size, self._left))
        self._at += len(raw)
        self._left -= len(raw)
        return raw


def _pieces(streams: _Applying) -> Iterator[bytes]:
    position, left = 0, streams.head.new_size
    while not streams.ops.ended():
        tag = _number(streams)
        kind, length = tag & 3, tag >> 2
        if kind > Kind.DATA or not 0 < length <= left:
            raise DocumentError(f"cannot use {streams.name}: it has an operation that is none")
        left -= length
        if kind != Kind.DATA:
            move = _number(streams)
            position += move >> 1 if not move & 1 else -(move >> 1) - 1
            if position < 0 or position + length > streams.head.old_size:
                raise DocumentError(f"cannot use {streams.name}: it reads outside of the old package")
        for start in range(0, length, CHUNK):
            size = min(CHUNK, length - start)
            if kind == Kind.DATA:
                yield streams.extra.take(size)
            elif kind == Kind.COPY:
                yield streams.read_old(position + start, size)
            else:
                yield added(streams.read_old(position + start, size), streams.diff.take(size))
        if kind != Kind.DATA:
            position += length


def _number(streams: _Applying) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = streams.ops.take(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise DocumentError(f"cannot use {streams.name}: it has a number without an end")


def added(one: bytes, other: bytes) -> bytes:
    """Byte by byte the sum modulo 256, of two strings of one length, at most CHUNK."""
    if not any(other):
        return one
    low, high = _LOW, _HIGH
    if len(one) != CHUNK:
        shift = 8 * (CHUNK - len(one))
        low, high = low >> shift, high >> shift
    first, second = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    total = ((first & low) + (second & low)) ^ ((first ^ second) & high)
    return total.to_bytes(len(one), "little")


def taken_away(one: bytes, other: bytes) -> bytes:
    """Byte by byte the difference modulo 256 of two strings of one length, at most CHUNK: what `added` takes back."""
    low, high = _LOW, _HIGH
    if len(one) != CHUNK:
        shift = 8 * (CHUNK - len(one))
        low, high = low >> shift, high >> shift
    first, second = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    total = ((first | high) - (second & low)) ^ ((first ^ second ^ high) & high)
    return total.to_bytes(len(one), "little")


MEMORY = 96 * MIB  # what applying may take, measured by a test
