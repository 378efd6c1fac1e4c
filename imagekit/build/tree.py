"""The content of a package as a list of entries, and the one tar that every list becomes.

Decides what is written into the tar that `mkfs.erofs` reads, byte for byte: entries sorted by path, each below `./`
with a root of mode 0755 (a tar without `./` gives a root of mode 0777), one time for all, numeric owners without names,
pax headers only where they are needed. Equal entries give equal bytes on every host; nothing is taken from the host's
inodes. Source: pax, POSIX.1-2017 `pax` utility; xattrs as `SCHILY.xattr.*`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from imagekit.errors import PlanError

FILE, FOLDER, SYMLINK, CHAR, BLOCK, FIFO = "file", "folder", "symlink", "char", "block", "fifo"

_TAR_TYPES = {FILE: tarfile.REGTYPE, FOLDER: tarfile.DIRTYPE, SYMLINK: tarfile.SYMTYPE, CHAR: tarfile.CHRTYPE,
              BLOCK: tarfile.BLKTYPE, FIFO: tarfile.FIFOTYPE}
_KINDS = {value: key for key, value in _TAR_TYPES.items()} | {tarfile.AREGTYPE: FILE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Bytes `[start, end)` of a file."""

    path: Path
    start: int
    end: int


Content = bytes | Path | Slice


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file, folder, link or device, owned by root unless it says otherwise."""

    path: str  # relative, without ./
    kind: str = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: Content = b""
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def file(path: str, content: Content, *, mode: int = 0o644) -> Entry:
    return Entry(path=path, content=content, mode=mode)


def folder(path: str, *, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=FOLDER, mode=mode)


def symlink(path: str, target: str) -> Entry:
    return Entry(path=path, kind=SYMLINK, mode=0o777, target=target)


class Tree:
    """Entries by path; a later one replaces an earlier one. Missing parent folders are made, mode 0755."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Raises: PlanError: the path leaves the tree, or its parent is not a folder."""
        parts = entry.path.split("/")
        if not entry.path or any(part in ("", ".", "..") for part in parts):
            raise PlanError(f"cannot put {entry.path!r} into a package: not a path below its root")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            known = self._entries.setdefault(parent, folder(parent))
            if known.kind != FOLDER:
                raise PlanError(f"cannot put {entry.path} into a package: {parent} is a {known.kind} there")
        before = self._entries.get(entry.path)
        if before is not None and before.kind == FOLDER and entry.kind != FOLDER and self._below(entry.path):
            raise PlanError(f"cannot put {entry.path} into a package as a {entry.kind}: it is a folder with content")
        self._entries[entry.path] = entry

    def _below(self, path: str) -> bool:
        return any(other.startswith(f"{path}/") for other in self._entries)

    def get(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def remove(self, path: str) -> None:
        """Take out `path` and everything below it."""
        for known in [known for known in self._entries if known == path or known.startswith(f"{path}/")]:
            del self._entries[known]

    def discard(self, path: str) -> None:
        """Take out `path` alone; the caller sees to what is below it."""
        self._entries.pop(path, None)

    def paths(self) -> list[str]:
        return sorted(self._entries)

    def entries(self) -> list[Entry]:
        """Sorted so that folders come before what is in them."""
        return [self._entries[path] for path in sorted(self._entries, key=lambda path: path.split("/"))]


def read_tar(stream: BinaryIO, *, path: Path) -> Tree:
    """The entries of an uncompressed tar whose file is `path`; contents stay there as slices, hard links are followed.

    Times and owner names are dropped.
    """
    tree = Tree()
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
            if not name:
                continue
            if member.islnk():
                target = "/".join(part for part in member.linkname.split("/") if part not in ("", "."))
                original = tree.get(target)
                if original is None:
                    raise PlanError(f"cannot read {path}: {name} is a hard link to {target}, which comes later")
                tree.add(_renamed(original, name))
                continue
            tree.add(_entry(member, name, path))
    return tree


def _renamed(entry: Entry, path: str) -> Entry:
    return replace(entry, path=path)


def _entry(member: tarfile.TarInfo, name: str, path: Path) -> Entry:
    kind = _KINDS.get(member.type)
    if member.issparse():
        raise PlanError(f"cannot read {path}: {name} is stored with holes, its bytes do not lie there in one piece",
                        hint="make the tar without --sparse")
    if kind is None:
        raise PlanError(f"cannot read {path}: {name} has the unknown type {member.type!r}")
    start = member.offset_data
    xattrs = {key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
              for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
    return Entry(path=name, kind=kind, mode=member.mode & 0o7777, uid=member.uid, gid=member.gid,
                 content=Slice(path=path, start=start, end=start + member.size) if kind == FILE else b"",
                 target=member.linkname if kind == SYMLINK else "",
                 device=(member.devmajor, member.devminor) if kind in (CHAR, BLOCK) else (0, 0), xattrs=xattrs)


def write_tar(tree: Tree, out: BinaryIO, *, mtime: int) -> None:
    """Write the canonical tar of `tree`; every entry gets the time `mtime` (seconds since 1970)."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        root = tarfile.TarInfo("./")
        root.type, root.mode, root.mtime = tarfile.DIRTYPE, 0o755, mtime
        archive.addfile(root)
        for entry in tree.entries():
            _add(archive, entry, mtime)


def _add(archive: tarfile.TarFile, entry: Entry, mtime: int) -> None:
    info = tarfile.TarInfo(f"./{entry.path}")
    info.type, info.mode, info.mtime = _TAR_TYPES[entry.kind], entry.mode, mtime
    info.uid, info.gid = entry.uid, entry.gid
    info.linkname = entry.target
    info.devmajor, info.devminor = entry.device
    info.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
                        for key, value in sorted(entry.xattrs.items())}
    if entry.kind != FILE:
        archive.addfile(info)
        return
    if isinstance(entry.content, bytes):
        info.size = len(entry.content)
        archive.addfile(info, io.BytesIO(entry.content))
        return
    piece = entry.content
    if isinstance(piece, Path):
        piece = Slice(path=piece, start=0, end=piece.stat().st_size)
    info.size = piece.end - piece.start
    with piece.path.open("rb") as stream:
        stream.seek(piece.start)
        archive.addfile(info, stream)


def content_of(entry: Entry) -> bytes:
    """The bytes of a regular file entry."""
    if isinstance(entry.content, bytes):
        return entry.content
    if isinstance(entry.content, Path):
        return entry.content.read_bytes()
    with entry.content.path.open("rb") as stream:
        stream.seek(entry.content.start)
        return stream.read(entry.content.end - entry.content.start)
