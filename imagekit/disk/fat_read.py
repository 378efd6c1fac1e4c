"""Read a FAT12, FAT16 or FAT32 volume, for what is on an image and where it lies.

Decides nothing about what should be there. The volume is taken as hostile: chains are as long as the file and no
longer, directories end, every cluster is inside, and each fault is a `DocumentError`. Long names that do not belong to
their entry are ignored, as every driver does. Names are looked up without regard to case.

Source: Microsoft FAT specification (August 2005), sections 4, 6 and 7; the lower-case flags of
byte 12 are Windows NT's.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from imagekit.disk.extents import Extent, ExtentReader, join
from imagekit.disk.fat_boot import ENTRY, decode_boot_sector
from imagekit.disk.fat_names import ATTR_DIRECTORY, ATTR_LONG, ATTR_VOLUME, checksum
from imagekit.errors import DocumentError
from imagekit.units import MIB, SECTOR, iec

READ_LIMIT = 64 * MIB  # `read` gives up above this unless told otherwise
DIRECTORY_MOST = 65536 * ENTRY

_DIRENT = struct.Struct("<11sBB7xH4xHI")
_PAGE = 4096
_MAX_DEPTH = 64
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class FatEntry:
    """A file or directory; `path` is relative to the root, without a leading slash."""

    path: str
    alias: str  # the 8.3 name
    is_dir: bool
    size: int
    cluster: int
    at: int = 0  # where its 32 bytes lie, from the volume's start; 0 for the root, which has none

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


_ROOT = FatEntry(path="", alias="", is_dir=True, size=0, cluster=0)


def read_fat(stream: BinaryIO, offset: int = 0, *, name: str = "FAT volume") -> FatVolume:
    """Open the volume at `offset` of a seekable stream, which stays the caller's.

    Raises:
        DocumentError: no FAT volume, or one that is longer than the stream.
    """
    return FatVolume(stream, offset, name)


class FatVolume:
    """An open volume; made by `read_fat`."""

    def __init__(self, stream: BinaryIO, offset: int, name: str) -> None:
        available = stream.seek(0, io.SEEK_END) - offset
        stream.seek(offset)
        self._stream, self._offset, self._name = stream, offset, name
        self.geometry = decode_boot_sector(stream.read(SECTOR) if available >= SECTOR else b"")
        if self.geometry.size > available:
            raise self._broken(f"its boot sector says {self.geometry.size} bytes, there are {max(available, 0)}")
        self._page = (-1, b"")

    def _broken(self, why: str) -> DocumentError:
        return DocumentError(f"cannot read {self._name}: {why}")

    def _bytes(self, start: int, length: int) -> bytes:
        self._stream.seek(self._offset + start)
        raw = self._stream.read(length)
        if len(raw) < length:
            raise self._broken(f"it ends at byte {start + len(raw)}")
        return raw

    def _next(self, cluster: int) -> int:
        """What the first FAT says of a cluster; reads a page at a time."""
        bits = self.geometry.bits
        at = cluster * bits // 8
        if self._page[0] != at // _PAGE:
            start = at // _PAGE * _PAGE
            length = min(_PAGE + 1, self.geometry.fat_size - start)  # one more: 12-bit entries lie across
            self._page = (at // _PAGE, self._bytes(self.geometry.reserved + start, length))
        raw = self._page[1][at % _PAGE:at % _PAGE + (4 if bits == 32 else 2)]
        value = int.from_bytes(raw, "little")
        if bits == 12:
            return value >> 4 if cluster % 2 else value & 0xFFF
        return value & 0x0FFFFFFF if bits == 32 else value

    def _chain(self, first: int, most: int, what: str) -> Iterator[int]:
        """The clusters from `first` to the end of the chain, or `most` of them and then nothing more."""
        end = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self.geometry.bits]
        cluster = first
        for _ in range(most):
            if not 2 <= cluster < self.geometry.clusters + 2:
                raise self._broken(f"{what} leads to cluster {cluster} of {self.geometry.clusters}")
            yield cluster
            cluster = self._next(cluster)
            if cluster >= end:
                return

    def _clusters(self, directory: FatEntry) -> list[int]:
        """The clusters of a directory; none for a root of fixed length."""
        first = directory.cluster or self.geometry.root_cluster
        if not first:
            return []
        most = max(DIRECTORY_MOST // self.geometry.cluster, 1)
        clusters = list(self._chain(first, most + 1, f"directory {directory.path!r}"))
        if len(clusters) > most:
            raise self._broken(f"directory {directory.path!r} has no end")
        return clusters

    def _entries(self, directory: FatEntry, clusters: list[int]) -> Iterator[FatEntry]:
        step = self.geometry.cluster
        if clusters:
            content = b"".join(self._bytes(self.geometry.position(cluster), self.geometry.cluster)
                               for cluster in clusters)
        else:
            content = self._bytes(self.geometry.root_start, self.geometry.root_size)
        long: list[bytes] = []
        for at in range(0, len(content) - ENTRY + 1, ENTRY):
            raw = content[at:at + ENTRY]
            if raw[0] == 0:
                return
            if raw[0] == 0xE5:
                long = []
            elif raw[11] & 0x3F == ATTR_LONG:
                long = [raw] if raw[0] & 0x40 else [*long, raw][-20:]
            else:
                if not raw[11] & ATTR_VOLUME and raw[:11] not in (b".".ljust(11), b"..".ljust(11)):
                    place = (self.geometry.position(clusters[at // step]) + at % step if clusters
                             else self.geometry.root_start + at)
                    yield self._entry(directory, raw, _long_name(long, raw[:11]), place)
                long = []

    def _entry(self, directory: FatEntry, raw: bytes, long: str | None, at: int) -> FatEntry:
        _, attributes, case, high, low, size = _DIRENT.unpack(raw)
        alias = _short_name(raw[:11], 0)
        name = long or _short_name(raw[:11], case)
        if "/" in name or "\0" in name or name in ("", ".", ".."):
            raise self._broken(f"directory {directory.path!r} has a name that is none: {name!r}")
        cluster = (high << 16 if self.geometry.bits == 32 else 0) | low
        return FatEntry(path=f"{directory.path}/{name}".lstrip("/"), alias=alias, cluster=cluster,
                        is_dir=bool(attributes & ATTR_DIRECTORY), size=size, at=at)

    def raw(self, start: int, length: int) -> bytes:
        """Bytes of the volume as they lie. Raises: DocumentError: it ends before."""
        return self._bytes(start, length)

    def reached(self) -> set[int]:
        """Every cluster that a file or directory has; of a file whose chain is broken, those before the break.

        Raises:
            DocumentError: its directories are damaged.
        """
        found = set(self._clusters(_ROOT))
        for entry in self.walk():
            if entry.is_dir:
                found.update(self._clusters(entry))
            elif entry.cluster:
                with suppress(DocumentError):
                    for cluster in self._chain(entry.cluster, self.geometry.clusters, f"file {entry.path!r}"):
                        found.add(cluster)
        return found

    @property
    def label(self) -> str:
        """The label in the root directory; empty where there is none."""
        clusters = self._clusters(_ROOT)
        parts = [(self.geometry.position(cluster), self.geometry.cluster) for cluster in clusters]
        for start, length in parts or [(self.geometry.root_start, self.geometry.root_size)]:
            content = self._bytes(start, length)
            for at in range(0, length - ENTRY + 1, ENTRY):
                if content[at] == 0:
                    return ""
                if content[at] != 0xE5 and content[at + 11] & 0x3F != ATTR_LONG and content[at + 11] & ATTR_VOLUME:
                    return content[at:at + 11].decode("cp437").rstrip()
        return ""

    def find(self, path: str) -> FatEntry | None:
        """The entry at `path`, by long or 8.3 name without regard to case; None where there is none."""
        entry = _ROOT
        for part in filter(None, path.split("/")):
            if part in (".", ".."):
                raise DocumentError(f"cannot read {path} in {self._name}: paths with {part!r} are not taken")
            if not entry.is_dir:
                return None
            wanted = part.casefold()
            entries = list(self._entries(entry, self._clusters(entry)))
            matches = [item for item in entries if item.name.casefold() == wanted] or [
                item for item in entries if item.alias.casefold() == wanted]
            if not matches:
                return None
            entry = matches[0]
        return entry

    def stat(self, path: str) -> FatEntry:
        """As `find`. Raises: DocumentError: nothing is there."""
        found = self.find(path)
        if found is None:
            raise DocumentError(f"cannot read {path} in {self._name}: there is no such file")
        return found

    def listdir(self, path: str = "") -> tuple[str, ...]:
        """The names in a directory, in its order. Raises: DocumentError: no directory is there."""
        entry = self.stat(path)
        if not entry.is_dir:
            raise DocumentError(f"cannot list {path} in {self._name}: it is no directory")
        return tuple(item.name for item in self._entries(entry, self._clusters(entry)))

    def walk(self, *, readable: bool = False) -> Iterator[FatEntry]:
        """Every entry below the root, a directory before what it holds.

        `readable`: pass over directories below the root whose chain is broken, as a loader does that looks for others.

        Raises:
            DocumentError: the volume is damaged, or directories share clusters or lie too deep.
        """
        clusters = self._clusters(_ROOT)
        entered = set(clusters)
        stack = [self._entries(_ROOT, clusters)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            yield entry
            if entry.is_dir:
                try:
                    clusters = self._clusters(entry)
                except DocumentError:
                    if readable:
                        continue
                    raise
                if not entered.isdisjoint(clusters) or not entry.cluster or len(stack) >= _MAX_DEPTH:
                    raise self._broken(f"its directories run in circles at {entry.path!r}")
                entered.update(clusters)
                stack.append(self._entries(entry, clusters))

    def locate(self, path: str) -> tuple[Extent, ...]:
        """Where a file lies, as positions in the stream, neighbours joined; the slack of its last cluster is left out.

        Raises:
            DocumentError: no file is there, or its chain is shorter than the file.
        """
        entry = self.stat(path)
        if entry.is_dir:
            raise DocumentError(f"cannot read {path} in {self._name}: it is a directory")
        cluster_size = self.geometry.cluster
        if entry.size > self.geometry.clusters * cluster_size:
            raise self._broken(f"file {path!r} has {entry.size} bytes, more than the volume")
        count = -(-entry.size // cluster_size)
        runs: list[tuple[int, int]] = []
        found = 0
        for cluster in self._chain(entry.cluster, count, f"file {path!r}"):
            found += 1
            if runs and runs[-1][0] + runs[-1][1] == cluster:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((cluster, 1))
        if found < count:
            raise self._broken(f"file {path!r} has {entry.size} bytes and {found} clusters of {cluster_size}")
        left = entry.size
        extents = []
        for first, length in runs:
            extents.append(Extent(start=self._offset + self.geometry.position(first),
                                  length=min(length * cluster_size, left)))
            left -= length * cluster_size
        return join(extents)

    def directory_extents(self, path: str) -> tuple[Extent, ...]:
        """Where a directory's entries lie, as positions in the stream. Raises: DocumentError: no directory is there."""
        entry = self.stat(path)
        if not entry.is_dir:
            raise DocumentError(f"cannot list {path} in {self._name}: it is no directory")
        clusters = self._clusters(entry)
        if not clusters:
            return (Extent(start=self._offset + self.geometry.root_start, length=self.geometry.root_size),)
        return join(Extent(start=self._offset + self.geometry.position(cluster), length=self.geometry.cluster)
                    for cluster in clusters)

    def directory_bytes(self, path: str) -> bytes:
        """A directory's entries as they are. Raises: DocumentError: see `directory_extents`."""
        return b"".join(self._bytes((extent.start or 0) - self._offset, extent.length)
                        for extent in self.directory_extents(path))

    def open(self, path: str) -> BinaryIO:
        """A file as a stream. Raises: DocumentError: see `locate`."""
        return io.BufferedReader(ExtentReader(self._stream, self.locate(path)), MIB)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """The content of a file. Raises: DocumentError: see `locate`; more than `limit` bytes."""
        size = self.stat(path).size
        if size > limit:
            raise self._broken(f"file {path!r} has {iec(size)}, at most {iec(limit)} are taken here")
        return self.open(path).read()


def _short_name(raw: bytes, case: int) -> str:
    raw = b"\xe5" + raw[1:] if raw[0] == 0x05 else raw
    base, extension = (part.decode("cp437").rstrip(" ") for part in (raw[:8], raw[8:]))
    base = base.lower() if case & _LOWER_BASE else base
    extension = extension.lower() if case & _LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base


def _long_name(entries: list[bytes], alias: bytes) -> str | None:
    """The name that long entries make, or None where they are incomplete or of another alias."""
    orders = [entry[0] & 0x3F for entry in entries]
    if not entries or orders != list(range(len(entries), 0, -1)) or {entry[13] for entry in entries} != {
            checksum(alias)}:
        return None
    units = b"".join(entry[1:11] + entry[14:26] + entry[28:32] for entry in reversed(entries))
    name = units.decode("utf-16-le", "replace").split("\0")[0]
    return None if "/" in name or name in ("", ".", "..") else name
