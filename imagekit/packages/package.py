"""One face for the two file systems that a package is: EROFS, which is ours, and squashfs, which others make.

Decides what can be asked of a package. EROFS is read here; squashfs takes a program (`imagekit.build.unsquash`).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, Protocol

from imagekit.packages.erofs import MAGIC, READ_LIMIT, SUPERBLOCK_OFFSET, Erofs
from imagekit.packages.snapyaml import SnapInfo, read_snap_yaml
from imagekit.packages.squashfs import MAGIC as SQUASHFS_MAGIC
from imagekit.units import MIB

SNAP_YAML = "meta/snap.yaml"
HOOKS = "meta/hooks/"


class PackageFormat(Enum):
    EROFS = "erofs"
    SQUASHFS = "squashfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageEntry:
    """A name in the package, relative to its root; `mode` has the type bits of `stat`."""

    path: str
    mode: int
    uid: int
    gid: int
    size: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


class Package(Protocol):
    """An open package. Whatever is wrong with it is a `DocumentError`."""

    @property
    def format(self) -> PackageFormat: ...

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def size(self) -> int:
        """Bytes of the file system, which may be fewer than the file's."""

    def entries(self) -> Iterator[PackageEntry]:
        """Every path below the root, a folder before what it holds."""

    def find(self, path: str) -> PackageEntry | None:
        """What has that path; links are not followed."""

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        """A regular file of at most `limit` bytes."""

    def files_in(self, folder: str) -> tuple[str, ...]:
        """The names of the regular files in a folder, `NAME/`; none where there is no such folder."""


class ErofsPackage:
    """An EROFS package as a `Package`; the stream stays the caller's."""

    format = PackageFormat.EROFS

    def __init__(self, stream: BinaryIO, *, name: str, offset: int = 0) -> None:
        self._inside = Erofs(stream, name=name, offset=offset)
        self.name = name
        self.size = self._inside.size

    def entries(self) -> Iterator[PackageEntry]:
        for entry in self._inside.walk():
            yield PackageEntry(path=entry.path, mode=entry.inode.mode, uid=entry.inode.uid, gid=entry.inode.gid,
                               size=entry.inode.size)

    def heads(self, length: int) -> Iterator[tuple[PackageEntry, bytes]]:
        """Every regular file with its first bytes."""
        for entry in self._inside.walk():
            if entry.inode.is_file:
                yield PackageEntry(path=entry.path, mode=entry.inode.mode, uid=entry.inode.uid, gid=entry.inode.gid,
                                   size=entry.inode.size), self._inside.head(entry.inode, length)

    def find(self, path: str) -> PackageEntry | None:
        inode = self._inside.find(path)
        if inode is None:
            return None
        return PackageEntry(path=path, mode=inode.mode, uid=inode.uid, gid=inode.gid, size=inode.size)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        return self._inside.read(path, limit=limit)

    def files_in(self, folder: str) -> tuple[str, ...]:
        found = self._inside.find(folder)
        if found is None or not found.is_dir:
            return ()
        return tuple(name for name in self._inside.listdir(folder) if self._inside.stat(folder + name).is_file)


def format_of(stream: BinaryIO) -> PackageFormat | None:
    """What a seekable stream begins as; None for anything else."""
    stream.seek(0)
    head = stream.read(SUPERBLOCK_OFFSET + 4)
    if head[:4] == SQUASHFS_MAGIC:
        return PackageFormat.SQUASHFS
    return PackageFormat.EROFS if head[SUPERBLOCK_OFFSET:] == MAGIC.to_bytes(4, "little") else None


def read_info(package: Package) -> SnapInfo:
    """The package's own `meta/snap.yaml`.

    Raises:
        DocumentError: there is none, or it is wrong.
    """
    content = package.read(SNAP_YAML, limit=MIB)
    return read_snap_yaml(content, name=f"{package.name} {SNAP_YAML}", hook_files=hook_files(package))


def hook_files(package: Package) -> tuple[str, ...]:
    """The names in the package's `meta/hooks`: hooks that need no declaration."""
    return package.files_in(HOOKS)
