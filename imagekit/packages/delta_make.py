"""Make deltas between two EROFS packages by what is in them (`imagekit.packages.delta` says what a delta is).

Files are matched: one that is in the old package somewhere is copied; any other is held against the file of its path,
or of its path with the numbers left out (versions), or else of its name, by bsdiff's method, which finds the rest of a
program that moved. Large files are cut, as that method's cost grows with them. What is no file's (the superblock,
inodes, names) is one more file to it. Where all that does not pay, the new bytes themselves are taken.

The same packages give the same delta. Costs: both packages are read; what changed is held in memory.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import zstandard

from imagekit.digests import chunks
from imagekit.disk.extents import Extent
from imagekit.packages.delta import CHUNK, WINDOW_LOG, DeltaHead, Kind, Op, encode_head, encode_op, taken_away
from imagekit.packages.erofs import Erofs
from imagekit.units import KIB, MIB

LEVEL = 19
SEARCH_LOG = 5  # of zstd: the level's own 7 takes a quarter more CPU and gives 0.6 % less
PIECE = 4 * MIB  # of a new file, in one go
AROUND = 2 * MIB  # what is looked at of the old file before and behind the same place
WORTH = 0.9  # a likeness that does not save a tenth is none
LONG_RUN = 1 * KIB  # equal bytes from here on are copied, not added to nothing

IN_PLACE = 0.9  # of the bytes are equal at the same place: nothing moved
ALIKE = 0.02  # of the anchors of a file have to be in the other one

_ANCHOR = re.compile(rb"(?s)[\x41\x8b](?=(.{12}))")  # twelve bytes behind a byte that code and data have alike
_NUMBERS = re.compile(r"\d+")
_SAME = re.compile(rb"\0{%d,}" % LONG_RUN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a new file: an operation in the coordinates of its files, and the bytes that go with it."""

    op: Op
    content: bytes = b""


@dataclass(slots=True, kw_only=True)
class Body:
    """A file of a package, or all that is no file's: where its bytes lie in the package, in order."""

    path: str
    extents: tuple[tuple[int, int], ...]  # start in the package, length; holes are left out
    size: int
    digest: bytes = b""
    starts: list[int] = field(default_factory=list)  # of each extent, in the file

    def __post_init__(self) -> None:
        at = 0
        for _, length in self.extents:
            self.starts.append(at)
            at += length

    def places(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        """Where `length` bytes from `start` of the file lie in the package."""
        index = bisect_right(self.starts, start) - 1
        while length:
            base, whole = self.extents[index]
            skip = start - self.starts[index]
            size = min(length, whole - skip)
            yield base + skip, size
            start, length, index = start + size, length - size, index + 1


class _Side:
    """A package with its files, by path, by content and by likeness of names."""

    def __init__(self, stream: BinaryIO, size: int, name: str) -> None:
        self.stream, self.size = stream, size
        inside = Erofs(stream, name=name)
        self.bodies: list[Body] = []
        seen: set[int] = set()
        for entry in inside.walk():
            if entry.inode.is_file and entry.inode.nid not in seen:
                seen.add(entry.inode.nid)
                self._add(entry.path, inside.places(entry.inode))
        self.bodies.sort(key=lambda body: body.extents[0])
        self.rest = self._rest()
        self.by_digest = {body.digest: body for body in reversed(self.bodies)}
        self.by_path = {body.path: body for body in self.bodies}
        self.by_shape = {_NUMBERS.sub("#", body.path): body for body in reversed(self.bodies)}
        self.by_name = {_NUMBERS.sub("#", body.path.rpartition("/")[2]): body for body in reversed(self.bodies)}

    def _add(self, path: str, extents: tuple[Extent, ...]) -> None:
        places = tuple((extent.start, extent.length) for extent in extents
                       if extent.start is not None and extent.length)
        if not places:
            return
        body = Body(path=path, extents=places, size=sum(length for _, length in places))
        digest = hashlib.sha256()
        for start, length in places:
            self.stream.seek(start)
            digest.update(self.stream.read(length))
        body.digest = digest.digest()
        self.bodies.append(body)

    def _rest(self) -> Body:
        """All that is no file's, as one body; bytes that two files share belong to the first."""
        gaps, at = [], 0
        for start, length in sorted(place for body in self.bodies for place in body.extents):
            if start > at:
                gaps.append((at, start - at))
            at = max(at, start + length)
        if at < self.size:
            gaps.append((at, self.size - at))
        return Body(path="", extents=tuple(gaps), size=sum(length for _, length in gaps))

    def read(self, body: Body, start: int = 0, length: int | None = None) -> bytes:
        parts = []
        for place, size in body.places(start, body.size - start if length is None else length):
            self.stream.seek(place)
            parts.append(self.stream.read(size))
        return b"".join(parts)

    def like(self, body: Body) -> Body | None:
        """The file that a file of the other side most probably came from."""
        name = _NUMBERS.sub("#", body.path.rpartition("/")[2])
        return (self.by_path.get(body.path) or self.by_shape.get(_NUMBERS.sub("#", body.path))
                or self.by_name.get(name))


def make_delta(old: BinaryIO, new: BinaryIO) -> bytes:
    """The delta that makes `new` out of `old`, both seekable.

    Raises:
        DocumentError: one of them is no EROFS that can be read.
    """
    old_digest, old_size = _measured(old)
    new_digest, new_size = _measured(new)
    source, target = _Side(old, old_size, "old package"), _Side(new, new_size, "new package")
    made: dict[str, list[Piece]] = {}
    for body in target.bodies:
        made[body.path] = _pieces_of(source, target, body)
    rest = list(_compared(source.read(source.rest), target.read(target.rest), base=0))
    ops, diff, extra = _laid_out(source, target, made, rest)
    streams = [_packed(bytes(raw)) for raw in (ops, diff, extra)]
    head = DeltaHead(old_size=old_size, new_size=new_size, old_sha3_384="", new_sha3_384="", ops=len(streams[0]),
                     diff=len(streams[1]), extra=len(streams[2]))
    return b"".join((encode_head(head, old=old_digest, new=new_digest), *streams))


def _measured(stream: BinaryIO) -> tuple[bytes, int]:
    stream.seek(0)
    digest = hashlib.sha3_384()
    for chunk in chunks(stream):
        digest.update(chunk)
    return digest.digest(), stream.tell()


def _packed(raw: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=WINDOW_LOG, search_log=SEARCH_LOG, source_size=len(raw), write_content_size=True,
        write_checksum=False)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(raw)


def _pieces_of(source: _Side, target: _Side, body: Body) -> list[Piece]:
    """How a new file comes out of the old package: in the coordinates of the body that `_origin` gives."""
    if body.digest in source.by_digest:
        return [Piece(op=Op(kind=Kind.COPY, length=body.size, old=0))]
    content, like = target.read(body), source.like(body)
    if like is None:
        return [Piece(op=Op(kind=Kind.DATA, length=len(content)), content=content)]
    found: list[Piece] = []
    for start in range(0, len(content), PIECE):
        part = content[start:start + PIECE]
        centre = start * like.size // max(1, body.size) if body.size > PIECE else 0
        first = max(0, min(centre, start) - AROUND) if body.size > PIECE else 0
        last = min(like.size, max(centre, start) + PIECE + AROUND) if body.size > PIECE else min(like.size, 2 * PIECE)
        found += _best(source.read(like, first, max(0, last - first)), part, base=first)
    return found


def _best(old: bytes, new: bytes, *, base: int) -> list[Piece]:
    """The likeness of two files, or the new bytes where there is none."""
    plain = [Piece(op=Op(kind=Kind.DATA, length=len(new)), content=new)]
    if not old or not _alike(old, new):
        return plain
    alone = len(zstandard.ZstdCompressor(level=3).compress(new))
    found = list(_in_place(old, new, base=base) or _compared(old, new, base=base))
    cost = sum(len(zstandard.ZstdCompressor(level=3).compress(b"".join(
        piece.content for piece in found if piece.op.kind is kind))) for kind in (Kind.ADD, Kind.DATA))
    return found if cost + 4 * len(found) < alone * WORTH else plain


def _in_place(old: bytes, new: bytes, *, base: int) -> list[Piece] | None:
    """Two files of one size in which nothing moved: that is seen at once, without any search; None for others."""
    if len(old) != len(new):
        return None
    differences = b"".join(taken_away(new[at:at + CHUNK], old[at:at + CHUNK]) for at in range(0, len(new), CHUNK))
    return list(_runs(differences, base)) if differences.count(0) >= IN_PLACE * len(new) else None


def _alike(old: bytes, new: bytes) -> bool:
    """Whether two files share anything: quickly found out, to spare the long search. What is compressed never does."""
    known = set(_ANCHOR.findall(old))
    anchors = _ANCHOR.findall(new)
    return not anchors or sum(anchor in known for anchor in anchors) > ALIKE * len(anchors)


def _compared(old: bytes, new: bytes, *, base: int) -> Iterator[Piece]:
    """bsdiff's answer as operations; `old` begins at `base` of its file."""
    from bsdiff4.core import diff as bsdiff

    control, differences, extra = bsdiff(old, new)
    at = added_at = extra_at = 0
    numbers = [_signed(control[index:index + 8]) for index in range(0, len(control), 8)]
    for add, insert, seek in zip(*[iter(numbers)] * 3, strict=True):
        if add:
            yield from _runs(differences[added_at:added_at + add], base + at)
        if insert:
            yield Piece(op=Op(kind=Kind.DATA, length=insert), content=extra[extra_at:extra_at + insert])
        added_at, extra_at, at = added_at + add, extra_at + insert, at + add + seek


def _signed(raw: bytes) -> int:
    """A number as bsdiff writes it: 63 bits, and the sign in the last."""
    value = int.from_bytes(raw, "little")
    return -(value & (1 << 63) - 1) if value >> 63 else value


def _runs(differences: bytes, old: int) -> Iterator[Piece]:
    """Copies where nothing differs for long, additions in between."""
    done = 0
    for run in _SAME.finditer(differences):
        if run.start() > done:
            yield _addition(differences[done:run.start()], old + done)
        yield Piece(op=Op(kind=Kind.COPY, length=run.end() - run.start(), old=old + run.start()))
        done = run.end()
    if done < len(differences):
        yield _addition(differences[done:], old + done)


def _addition(differences: bytes, old: int) -> Piece:
    return Piece(op=Op(kind=Kind.ADD, length=len(differences), old=old), content=differences)


def _laid_out(source: _Side, target: _Side, made: dict[str, list[Piece]],
              rest: list[Piece]) -> tuple[bytearray, bytearray, bytearray]:
    """The three streams, in the order of the new package."""
    segments = [(start, length, body, offset) for body in target.bodies
                for (start, length), offset in zip(body.extents, body.starts, strict=True)]
    segments += [(start, length, target.rest, offset)
                 for (start, length), offset in zip(target.rest.extents, target.rest.starts, strict=True)]
    writer = _Writer()
    at = 0
    for start, length, body, offset in sorted(segments, key=lambda item: (item[0], -item[1])):
        skip = at - start  # bytes that another file, which shares them, has given already
        if skip >= length:
            continue
        pieces = rest if body is target.rest else made[body.path]
        origin = source.rest if body is target.rest else _origin(source, body)
        for piece in _slices(pieces, offset + skip, length - skip):
            writer.put(piece, origin)
        at = start + length
    writer.flush()
    return writer.ops, writer.diff, writer.extra


def _origin(source: _Side, body: Body) -> Body | None:
    return source.by_digest.get(body.digest) or source.like(body)


def _slices(pieces: list[Piece], start: int, length: int) -> Iterator[Piece]:
    """The operations that make `length` bytes from `start` of a file."""
    at = 0
    for piece in pieces:
        size = piece.op.length
        first, last = max(start, at), min(start + length, at + size)
        if first < last:
            skip = first - at
            yield Piece(op=Op(kind=piece.op.kind, length=last - first, old=piece.op.old + skip),
                        content=piece.content[skip:skip + last - first])
        at += size
        if at >= start + length:
            return


class _Writer:
    """Operations of files become operations of packages; neighbours are joined."""

    def __init__(self) -> None:
        self.ops, self.diff, self.extra = bytearray(), bytearray(), bytearray()
        self._held: Op | None = None
        self._position = 0

    def put(self, piece: Piece, origin: Body | None) -> None:
        op = piece.op
        if op.kind is Kind.DATA:
            self.extra += piece.content
            self._join(Op(kind=Kind.DATA, length=op.length))
            return
        assert origin is not None  # what reads the old package comes from a body of it
        if op.kind is Kind.ADD:
            self.diff += piece.content
        for start, length in origin.places(op.old, op.length):
            self._join(Op(kind=op.kind, length=length, old=start))

    def _join(self, op: Op) -> None:
        held = self._held
        if held is not None and held.kind is op.kind and (op.kind is Kind.DATA or held.old + held.length == op.old):
            self._held = Op(kind=op.kind, length=held.length + op.length, old=held.old)
            return
        self.flush()
        self._held = op

    def flush(self) -> None:
        """Write what is held."""
        if self._held is None:
            return
        self.ops += encode_op(self._held, self._position)
        if self._held.kind is not Kind.DATA:
            self._position = self._held.old + self._held.length
        self._held = None
