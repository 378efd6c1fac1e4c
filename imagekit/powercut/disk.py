"""A disk as a power cut may have left it: an image, and for every sector the write that got there last.

Decides nothing about which states are possible. A sector's *version* is 0 for what the image holds, else the sector of
the log where its data lie; so the state of a disk of any size is one array of numbers, and a part of a state is told
from another by comparing numbers, not bytes. Everything that is read is noted, until it is asked for.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from mmap import mmap
from typing import BinaryIO, TypeVar, cast

from imagekit.disk.writelog import Kind, LogEntry
from imagekit.units import SECTOR

DISCARDED = 0xFFFFFFFF  # reads as zeros
_TORN = 0x80000000  # and above: two versions, the first half of one and the second of the other
HALF = SECTOR // 2
_WAYS_MOST = 4

T = TypeVar("T")
Span = tuple[int, int]  # of sectors, half-open


class CutDisk:
    """The disk at some moment. `image` may be shorter than the disk; what is missing reads as zeros."""

    def __init__(self, image: bytes | mmap, log: bytes | mmap, *, size: int) -> None:
        self.size = size
        self.sectors = size // SECTOR
        self._image, self._log = memoryview(image), memoryview(log)
        self.versions = array("I", bytes(4 * self.sectors))
        self._torn: list[tuple[int, int]] = []
        self._torn_known: dict[tuple[int, int], int] = {}
        self.seen = bytearray(self.sectors)  # 1: was read since `forget_seen`
        self._spans: list[Span] = []
        self._known: dict[tuple[object, ...], object] = {}
        self._ways: dict[object, list[tuple[Span, ...]]] = {}  # what was read for an answer, the latest first

    def __enter__(self) -> CutDisk:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of image and log, which may be mapped."""
        self._image.release()
        self._log.release()

    # states

    def apply(self, entry: LogEntry, *, start: int = 0, stop: int | None = None) -> None:
        """Let the sectors `start` to `stop` of a request be on the disk."""
        end = entry.count if stop is None else stop
        first, last = entry.first + start, entry.first + end
        if entry.kind is Kind.DISCARD:
            self.versions[first:last] = array("I", [DISCARDED]) * (end - start)
        elif entry.kind is Kind.WRITE:
            self.versions[first:last] = array("I", range(entry.at + start, entry.at + end))

    def torn(self, new: int, old: int) -> int:
        """The version of a sector whose first half is `new` and whose second is `old`."""
        if (new, old) not in self._torn_known:
            self._torn_known[new, old] = _TORN + len(self._torn)
            self._torn.append((new, old))
        return self._torn_known[new, old]

    @contextmanager
    def as_written(self, log: Sequence[LogEntry], entries: int, sectors: int,
                   chosen: Iterable[tuple[int, int]]) -> Iterator[None]:
        """The image after so many requests, and sectors of the next one, and these sectors on top; for a while."""
        before = self.versions
        self.versions = array("I", bytes(4 * self.sectors))
        for entry in log[:entries]:
            self.apply(entry)
        if sectors:
            self.apply(log[entries], stop=sectors)
        for sector, version in chosen:
            self.versions[sector] = version
        try:
            yield
        finally:
            self.versions = before

    @staticmethod
    def is_torn(version: int) -> bool:
        return _TORN <= version < DISCARDED

    @contextmanager
    def with_versions(self, chosen: Iterable[tuple[int, int]]) -> Iterator[None]:
        """These sectors in these versions, for a while."""
        pairs = list(chosen)
        before = [self.versions[sector] for sector, _ in pairs]
        for sector, version in pairs:
            self.versions[sector] = version
        try:
            yield
        finally:
            for (sector, _), version in zip(pairs, before, strict=True):
                self.versions[sector] = version

    # reading

    def content(self, sector: int, version: int) -> bytes:
        """The 512 bytes of a version."""
        if version == 0:
            return bytes(self._image[sector * SECTOR:(sector + 1) * SECTOR]).ljust(SECTOR, b"\0")
        if version == DISCARDED:
            return bytes(SECTOR)
        if version >= _TORN:
            new, old = self._torn[version - _TORN]
            return self.content(sector, new)[:HALF] + self.content(sector, old)[HALF:]
        return bytes(self._log[version * SECTOR:(version + 1) * SECTOR])

    def logged(self, at: int, count: int) -> bytes:
        """Sectors of the log."""
        return bytes(self._log[at * SECTOR:(at + count) * SECTOR])

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the disk; fewer at its end."""
        length = max(min(length, self.size - offset), 0)
        first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
        self.note((first, last))
        raw = b"".join(self._runs(first, last))
        return raw[offset - first * SECTOR:offset - first * SECTOR + length]

    def _runs(self, first: int, last: int) -> Iterator[bytes]:
        """The sectors in as few pieces as their versions allow."""
        versions = self.versions
        while first < last:
            version, end = versions[first], first + 1
            if version == 0:
                while end < last and versions[end] == 0:
                    end += 1
                yield bytes(self._image[first * SECTOR:end * SECTOR]).ljust((end - first) * SECTOR, b"\0")
            elif version < _TORN:
                while end < last and versions[end] == version + end - first:
                    end += 1
                yield bytes(self._log[version * SECTOR:(version + end - first) * SECTOR])
            else:
                yield self.content(first, version)
            first = end

    def note(self, span: Span) -> None:
        """These sectors count as read."""
        first, last = span
        if last > first:
            self.seen[first:last] = b"\1" * (last - first)
            self._spans.append(span)

    def forget_seen(self) -> None:
        """Begin anew to note what is read."""
        for first, last in self._spans:
            self.seen[first:last] = bytes(last - first)
        self._spans.clear()

    def stream(self) -> BinaryIO:
        """The disk as a seekable stream."""
        return cast(BinaryIO, _Stream(self))

    def once(self, what: object, spans: tuple[Span, ...], compute: Callable[[], T]) -> T:
        """What `compute` finds by reading these sectors and no others; asked again only when one of them changed."""
        for span in spans:
            self.note(span)
        key = (what, spans, self._digest(spans))
        if key not in self._known:
            self._known[key] = compute()
        return cast(T, self._known[key])


    def recalled(self, what: object, compute: Callable[[], T]) -> T:
        """What `compute` finds, whatever it reads: not computed again while all that it read was the same once before.

        `what` has to name everything else that the answer follows from.
        """
        for spans in self._ways.setdefault(what, []):
            key = (what, spans, self._digest(spans))
            if key in self._known:
                for span in spans:
                    self.note(span)
                return cast(T, self._known[key])
        start = len(self._spans)
        found = compute()
        spans = tuple(dict.fromkeys(self._spans[start:]))
        if spans not in self._ways[what]:
            self._ways[what] = [spans, *self._ways[what]][:_WAYS_MOST]
        self._known[what, spans, self._digest(spans)] = found
        return found

    def _digest(self, spans: tuple[Span, ...]) -> bytes:
        """Tells versions of these sectors from others."""
        digest = hashlib.blake2b(digest_size=16)
        versions = memoryview(self.versions)
        for first, last in spans:
            digest.update(versions[first:last])
        return digest.digest()


class _Stream(io.RawIOBase):
    def __init__(self, disk: CutDisk) -> None:
        super().__init__()
        self._disk, self._position = disk, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._disk.size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        raw = self._disk.read(self._position, self._disk.size if size < 0 else size)
        self._position += len(raw)
        return raw

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # as BufferedReader calls it
        raw = self.read(len(buffer))
        buffer[:len(raw)] = raw
        return len(raw)


def span_of(start: int, end: int) -> Span:
    """The sectors that the bytes from `start` to `end` lie in."""
    return start // SECTOR, -(-end // SECTOR)
