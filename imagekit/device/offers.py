"""What is offered for installation: package files and assertions, in a folder, as single files, or on a FAT stick.

Decides which names count and how their bytes are read, and believes none of them. A stick is read straight off its
block device by our own FAT reader, which takes it as hostile: nothing of it is mounted, so no file system driver of the
kernel sees it. Of folders only the regular files at their top count, and links are not followed. A compressed package
is unpacked while it is read, in bounded memory, and can be sought in like a plain one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from imagekit.assertions import Assertion, decode_stream
from imagekit.device.anchors import KINDS, is_block_device
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.errors import DocumentError, TargetError, UsageError
from imagekit.packages.forward import rewound, unpacked
from imagekit.packages.snapyaml import parse_file_name
from imagekit.units import MIB, iec

PACKED = ".zst"
ASSERTION_ENDINGS = (".assert", ".assertion", ".assertions", *(f".{kind}" for kind in sorted((*KINDS, "model"))))
ASSERTIONS_LIMIT = 2 * MIB  # of one file
ASSERTIONS_MOST = 8 * MIB  # of all files; they take some times as much memory
MOST_FILES = 1000


class Shelf(Protocol):
    """A place with files."""

    def names(self) -> tuple[str, ...]: ...

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> BinaryIO: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderShelf:
    """A folder, or some files of it."""

    folder: Path
    only: tuple[str, ...] | None = None

    def names(self) -> tuple[str, ...]:
        if self.only is not None:
            return self.only
        return tuple(sorted(item.name for item in os.scandir(self.folder) if item.is_file(follow_symlinks=False)))

    def size(self, name: str) -> int:
        return (self.folder / name).stat(follow_symlinks=False).st_size

    def open(self, name: str) -> BinaryIO:
        handle = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(0, "not a regular file")
        return os.fdopen(handle, "rb")


@dataclass(frozen=True, slots=True, kw_only=True)
class FatShelf:
    """The files at the top of a FAT volume."""

    volume: FatVolume

    def names(self) -> tuple[str, ...]:
        return self.volume.listdir()

    def size(self, name: str) -> int:
        return self.volume.stat(name).size

    def open(self, name: str) -> BinaryIO:
        return self.volume.open(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaShelf:
    """One package, `file`, made out of the old one by a delta each time it is read. It takes no room of its own.

    Where the disk does not give back the old one or the delta, it is the delta that is of no use: a DocumentError.
    """

    file: str
    delta: Path
    made: int  # bytes
    open_old: Callable[[], AbstractContextManager[BinaryIO]]

    def names(self) -> tuple[str, ...]:
        return (self.file,)

    def size(self, name: str) -> int:  # noqa: ARG002  as of every shelf
        return self.made

    def open(self, name: str) -> BinaryIO:  # noqa: ARG002
        with ExitStack() as stack:
            try:
                delta, old = stack.enter_context(self.delta.open("rb")), stack.enter_context(self.open_old())
            except (OSError, TargetError) as error:
                raise self._useless(error) from error
            return rewound(lambda: self._pieces(delta, old), most=self.made, release=stack.pop_all().close)

    def _pieces(self, delta: BinaryIO, old: BinaryIO) -> Iterator[bytes]:
        from imagekit.packages.delta import made_pieces

        try:
            yield from made_pieces(delta, old, name=self.delta.name)
        except OSError as error:
            raise self._useless(error) from error

    def _useless(self, error: OSError | TargetError) -> DocumentError:
        why = error.message if isinstance(error, TargetError) else error.strerror
        return DocumentError(f"cannot use {self.delta.name}: it or what runs cannot be read: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A package file. `size` is the file's, packed or not."""

    name: str
    revision: int
    file: str
    packed: bool
    size: int
    shelf: Shelf

    @contextmanager
    def open(self, *, most: int) -> Iterator[BinaryIO]:
        """Its bytes, unpacked, `most` of them. Raises: TargetError: it cannot be read, as from a stick pulled out."""
        try:
            with self.shelf.open(self.file) as stream:
                yield rewound(lambda: unpacked(stream), most=most) if self.packed else stream
        except OSError as error:
            raise _unreadable(self.file, error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Everything that was offered. `packages` by name and revision; a plain file comes before a packed one."""

    packages: dict[tuple[str, int], Offer]
    assertions: tuple[Assertion, ...]


@contextmanager
def open_offers(paths: Iterable[Path]) -> Iterator[Offers]:
    """What lies under these paths; open as long as the context is.

    Raises:
        UsageError: a path is nothing that can be installed from.
        TargetError: one cannot be read.
        DocumentError: a stick or an assertion file is damaged.
    """
    shelves: list[Shelf] = []
    streams: list[BinaryIO] = []
    try:
        for path in paths:
            try:
                shelves.append(_shelf(path, streams))
            except OSError as error:
                raise _unreadable(str(path), error) from error
        yield collect(shelves)
    finally:
        for stream in streams:
            stream.close()


def _shelf(path: Path, streams: list[BinaryIO]) -> Shelf:
    if path.is_dir():
        return FolderShelf(folder=path)
    if is_block_device(path):
        streams.append(path.open("rb"))
        return FatShelf(volume=read_fat(streams[-1], name=str(path)))
    if not path.is_file():
        why = "it is neither a file nor a folder" if path.exists() else "there is no such file"
        raise UsageError(f"cannot install from {path}: {why}")
    if _package(path.name) is None and not path.name.endswith(ASSERTION_ENDINGS):
        raise UsageError(f"cannot install from {path}: a package is called NAME_REVISION.snap or"
                         " NAME_REVISION.snap.zst, its assertions NAME_REVISION.assert",
                         hint="name a folder to install from all of its files")
    return FolderShelf(folder=path.parent, only=(path.name,))


def collect(shelves: Iterable[Shelf]) -> Offers:
    """All packages and assertions. Raises: as `open_offers`."""
    packages: dict[tuple[str, int], Offer] = {}
    assertions: list[Assertion] = []
    told = 0
    for shelf in shelves:
        try:
            names = shelf.names()
            if len(names) > MOST_FILES:
                raise DocumentError(f"cannot install from there: {len(names)} files, at most {MOST_FILES} are taken",
                                    hint="put the packages and their assertions into a folder of their own")
            for name in sorted(names):
                found = _package(name)
                if found is not None:
                    key, packed = found
                    if key not in packages or packages[key].packed:
                        packages[key] = Offer(name=key[0], revision=key[1], file=name, packed=packed,
                                              size=shelf.size(name), shelf=shelf)
                elif name.endswith(ASSERTION_ENDINGS):
                    raw = _read_assertions(shelf, name)
                    told += len(raw)
                    if told > ASSERTIONS_MOST:
                        raise DocumentError(f"cannot install from there: more than {iec(ASSERTIONS_MOST)} of"
                                            " assertions", hint="keep those of these packages alone")
                    assertions += decode_stream(raw, name=name)
        except OSError as error:
            raise _unreadable("the files", error) from error
    return Offers(packages=packages, assertions=tuple(assertions))


def _package(name: str) -> tuple[tuple[str, int], bool] | None:
    """Name and revision out of a file name, and whether it is packed; None: not a package's."""
    try:
        return parse_file_name(name.removesuffix(PACKED)), name.endswith(PACKED)
    except DocumentError:
        return None


def _read_assertions(shelf: Shelf, name: str) -> bytes:
    if shelf.size(name) > ASSERTIONS_LIMIT:
        raise DocumentError(f"cannot read {name}: {shelf.size(name)} bytes, assertions have at most {ASSERTIONS_LIMIT}")
    with shelf.open(name) as stream:
        return stream.read(ASSERTIONS_LIMIT)


def _unreadable(what: str, error: OSError) -> TargetError:
    return TargetError(f"cannot read {what}: {error.strerror or error}",
                       hint="the running slot is untouched; put the stick back in and install again")
