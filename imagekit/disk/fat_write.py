"""Plan a FAT volume: every file in one contiguous run, every byte of metadata ready, nothing written.

Decides the order on the volume (directories, then files, both sorted by path) and hands out extents, so that a large
file goes straight from its source to its final place in the disk image. Space that holds nothing is not in the plan:
the volume is expected to read as zeros before. Which files there are, and when they date from, is the caller's.

Source: Microsoft FAT specification (August 2005); the geometry is in `fat_boot`, names are in `fat_names`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from imagekit.disk.fat_boot import (
    BACKUP_BOOT,
    ENTRY,
    Geometry,
    encode_boot_sector,
    encode_fsinfo,
    plan_geometry,
)
from imagekit.disk.fat_names import (
    ATTR_ARCHIVE,
    ATTR_DIRECTORY,
    ATTR_VOLUME,
    aliases,
    check_name,
    encode_long,
)
from imagekit.errors import PlanError
from imagekit.units import SECTOR, iec

FILE_MOST = 0xFFFFFFFF
DIRECTORY_MOST = 65536 * ENTRY
LABEL_MOST = 11

_DIRENT = struct.Struct("<11sBBBHHHHHHHI")
_LABEL_NEVER = set('"*+,./:;<=>?[\\]|')
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


class FileSource(Protocol):
    """Something that will bring `size` bytes; who executes the plan knows how."""

    @property
    def size(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FatFile:
    """A file at `path` (`EFI/BOOT/BOOTX64.EFI`), or, with no source, a directory. Parents come by themselves."""

    path: str
    source: bytes | FileSource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FatPlan:
    """A volume as `(offset, content)` pairs, ascending, none overlapping; offsets count from the volume's start.

    Sources are those of the files given, each to be written whole. `files` says where each of them begins.
    """

    geometry: Geometry
    extents: tuple[tuple[int, bytes | FileSource], ...]
    files: tuple[tuple[str, int], ...]
    free: int  # bytes that are left for files


@dataclass(slots=True, kw_only=True, eq=False)
class _Node:
    """A file, or with no source a directory, on its way to a place."""

    path: str
    source: bytes | FileSource | None = None
    parent: _Node | None = None
    children: dict[str, _Node] = field(default_factory=dict)
    aliases: dict[str, bytes] = field(default_factory=dict)
    size: int = 0  # of a directory: the bytes of its entries
    first: int = 0  # cluster; 0 for an empty file and for FAT16's root
    clusters: int = 0


def plan_fat(size: int, label: str, volume_id: int, files: Iterable[FatFile], *, time: datetime,
             bits: int | None = None) -> FatPlan:
    """Plan a volume of `size` bytes.

    `label` goes out as given, in up to 11 characters; `volume_id` has 32 bits; all dates are `time` in UTC, not
    before 1980; `bits` (16 or 32) overrules the choice by size.

    Raises:
        PlanError: the files do not fit, or a name, label, time or size is one that FAT cannot have.
    """
    geometry = plan_geometry(size, bits=bits)
    name, stamp = _label(label), _stamp(time)
    root = _tree(files)
    nodes = sorted(_below(root), key=lambda node: (node.source is not None, node.path.encode()))
    for node in [root, *nodes]:
        _measure(node, geometry, labelled=bool(name))
    used = _allocate([root, *nodes], geometry)
    extents = _head(geometry, name or b"NO NAME    ", volume_id, used)
    extents += _tables(geometry, [node.clusters for node in [root, *nodes]])
    for node in [root, *nodes]:
        where = geometry.position(node.first) if node.first else geometry.root_start
        content = _directory(node, stamp, name) if node.source is None else node.source
        if node.size:
            extents.append((where, content))
    return FatPlan(geometry=geometry, extents=tuple(extents), free=(geometry.clusters - used) * geometry.cluster,
                   files=tuple((node.path, geometry.position(node.first)) for node in nodes
                               if node.source is not None and node.size))


def _label(label: str) -> bytes:
    """The 11 bytes of a volume label; none at all for an empty one."""
    if len(label) > LABEL_MOST or not label.isascii() or not label.isprintable() or _LABEL_NEVER & set(label):
        raise PlanError(f"cannot label a FAT volume {label!r}: allowed are up to {LABEL_MOST} ASCII characters without"
                        f" {''.join(sorted(_LABEL_NEVER))}")
    return label.encode("ascii").ljust(LABEL_MOST) if label.strip() else b""


def _stamp(time: datetime) -> tuple[int, int, int]:
    """(hundredths, time, date) of a directory entry (section 6.3); before 1980 becomes 1980."""
    if time.tzinfo is None:
        raise ValueError("the time of a FAT volume needs a time zone")
    utc = time.astimezone(UTC)
    if utc.year > _LAST_YEAR:
        raise PlanError(f"cannot date a FAT volume {utc:%Y-%m-%d}: its years end with {_LAST_YEAR}")
    if utc.year < _FIRST_YEAR:
        utc = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC)
    return (utc.second % 2 * 100, utc.hour << 11 | utc.minute << 5 | utc.second // 2,
            (utc.year - _FIRST_YEAR) << 9 | utc.month << 5 | utc.day)


def _tree(files: Iterable[FatFile]) -> _Node:
    """The files under their directories. Raises: PlanError: a path twice, below a file, or that FAT cannot have."""
    root = _Node(path="")
    for file in sorted(files, key=lambda file: file.path.encode("utf-8", "surrogatepass")):
        *parents, name = file.path.strip("/").split("/")
        for part in (*parents, name):
            check_name(part)
        node = root
        for parent in parents:
            node = node.children.setdefault(parent, _Node(path=f"{node.path}/{parent}".lstrip("/"), parent=node))
            if node.source is not None:
                raise PlanError(f"cannot place {file.path!r} on FAT: {node.path!r} is a file")
        there = node.children.get(name)
        if there and (there.source, file.source) != (None, None):
            raise PlanError(f"cannot place {file.path!r} on FAT: it is there already")
        if not there:
            path = f"{node.path}/{name}".lstrip("/")
            node.children[name] = _Node(path=path, parent=node, source=file.source)
    return root


def _below(node: _Node) -> Iterator[_Node]:
    for child in node.children.values():
        yield child
        yield from _below(child)


def _measure(node: _Node, geometry: Geometry, *, labelled: bool) -> None:
    """Set size and clusters."""
    source = node.source
    if source is not None:
        node.size = len(source) if isinstance(source, bytes) else source.size
        if node.size > FILE_MOST:
            raise PlanError(f"cannot place {node.path!r} on FAT: it has {iec(node.size)}, a file has less than 4 GiB")
    else:
        node.children = dict(sorted(node.children.items(), key=lambda item: item[0].encode()))
        node.aliases = aliases(node.children)
        entries = sum(1 + len(encode_long(name, alias)) // ENTRY for name, alias in node.aliases.items())
        node.size = ENTRY * (entries + (2 if node.parent else int(labelled)))
        most = geometry.root_size if geometry.root_size and not node.parent else DIRECTORY_MOST
        if node.size > most:
            raise PlanError(f"cannot place {node.path or 'the root'!r} on FAT: its names take {node.size // ENTRY}"
                            f" entries, at most {most // ENTRY} are possible")
    node.clusters = -(-node.size // geometry.cluster)
    if not node.parent:
        node.clusters = 0 if geometry.root_size else max(node.clusters, 1)


def _allocate(nodes: Iterable[_Node], geometry: Geometry) -> int:
    """Give each node its clusters, one run after the other; answers how many are taken."""
    used = 0
    for node in nodes:
        if used + node.clusters > geometry.clusters:
            free = (geometry.clusters - used) * geometry.cluster
            raise PlanError(f"cannot place {node.path!r} on FAT: it has {iec(node.size)}, {iec(free)} of the volume's"
                            f" {iec(geometry.size)} are free", hint="raise the size of the structure")
        node.first = used + 2 if node.clusters else 0
        used += node.clusters
    return used


def _head(geometry: Geometry, label: bytes, volume_id: int, used: int) -> list[tuple[int, bytes | FileSource]]:
    boot = encode_boot_sector(geometry, label=label, volume_id=volume_id)
    if geometry.bits == 16:
        return [(0, boot)]
    both = boot + encode_fsinfo(free=geometry.clusters - used, next_free=used + 2)
    return [(0, both), (BACKUP_BOOT * SECTOR, both)]


def _tables(geometry: Geometry, runs: Iterable[int]) -> list[tuple[int, bytes | FileSource]]:
    """Both FATs, as far as they are not zero: each run is a chain of neighbours."""
    letter, media, end = ("I", 0x0FFFFFF8, 0x0FFFFFFF) if geometry.bits == 32 else ("H", 0xFFF8, 0xFFFF)
    parts = [struct.pack(f"<2{letter}", media, end)]
    following = 3
    for run in runs:
        if run:
            chain = range(following, following + run - 1)
            parts.append(struct.pack(f"<{run}{letter}", *chain, end))
            following += run
    table = b"".join(parts)
    return [(geometry.reserved + number * geometry.fat_size, table) for number in range(geometry.fats)]


def _directory(node: _Node, stamp: tuple[int, int, int], label: bytes) -> bytes:
    """The entries of a directory; the root begins with the label, any other with itself and its parent."""
    if node.parent:
        above = node.parent.first if node.parent.parent else 0
        parts = [_entry(b".          ", ATTR_DIRECTORY, node.first, 0, stamp),
                 _entry(b"..         ", ATTR_DIRECTORY, above, 0, stamp)]
    else:
        parts = [_entry(label, ATTR_VOLUME, 0, 0, stamp)] if label else []
    for name, child in node.children.items():
        alias = node.aliases[name]
        attributes, size = (ATTR_DIRECTORY, 0) if child.source is None else (ATTR_ARCHIVE, child.size)
        parts += [encode_long(name, alias), _entry(alias, attributes, child.first, size, stamp)]
    return b"".join(parts)


def _entry(alias: bytes, attributes: int, first: int, size: int, stamp: tuple[int, int, int]) -> bytes:
    hundredths, time, date = stamp
    return _DIRENT.pack(alias, attributes, 0, hundredths, time, date, date, first >> 16, time, date, first & 0xFFFF,
                        size)
