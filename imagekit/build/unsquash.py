"""Read packages of either file system: EROFS by our own reader, squashfs by the program `unsquashfs`.

Nothing is unpacked to disk: files come through a pipe, one by one, none larger than the caller allows and the list of
files has said. The program sees only files whose superblock is right, is given little memory and a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from imagekit.errors import DocumentError, HostError
from imagekit.host.files import reason
from imagekit.host.ports import Tools
from imagekit.packages.erofs import READ_LIMIT
from imagekit.packages.package import ErofsPackage, Package, PackageEntry, PackageFormat, format_of
from imagekit.packages.squashfs import SUPERBLOCK_SIZE, Superblock, decode_superblock, parse_listing
from imagekit.units import iec

PROGRAM = "unsquashfs"
MODEST = ("-processors", "1", "-data-queue", "16", "-frag-queue", "16", "-no-progress", "-quiet")
TIMEOUT_S = 60.0


class SquashfsPackage:
    """A squashfs package as a `Package`."""

    format = PackageFormat.SQUASHFS

    def __init__(self, path: Path, superblock: Superblock, *, name: str, tools: Tools) -> None:
        self._path = path
        self._tools = tools
        self.superblock = superblock
        self.name = name
        self.size = superblock.size

    def entries(self) -> Iterator[PackageEntry]:
        yield from self._listed.values()

    def find(self, path: str) -> PackageEntry | None:
        return self._listed.get(path)

    def read(self, path: str, *, limit: int = READ_LIMIT) -> bytes:
        entry = self.find(path)
        if entry is None:
            raise DocumentError(f"cannot read {path} in {self.name}: there is no such file")
        if not entry.is_file:
            raise DocumentError(f"cannot read {path} in {self.name}: it is no regular file")
        if entry.size > limit:
            raise DocumentError(f"cannot read {path} in {self.name}: it has {iec(entry.size)}, at most {iec(limit)}"
                                " are taken here")
        content = self._run("-cat", "-no-wildcards", *MODEST, self._path.absolute(), path)
        if len(content) != entry.size:
            raise DocumentError(f"cannot read {path} in {self.name}: {len(content)} bytes came, it lists {entry.size}")
        return content

    def files_in(self, folder: str) -> tuple[str, ...]:
        return tuple(path.removeprefix(folder) for path, entry in self._listed.items()
                     if path.startswith(folder) and "/" not in path[len(folder):] and entry.is_file)

    @cached_property
    def _listed(self) -> dict[str, PackageEntry]:
        raw = self._run("-lln", "-UTC", *MODEST, self._path.absolute())
        listed = parse_listing(raw.decode("utf-8", "surrogateescape"), name=self.name)
        return {item.path: PackageEntry(path=item.path, mode=item.mode, uid=item.uid, gid=item.gid, size=item.size)
                for item in listed}

    def _run(self, *args: str | Path) -> bytes:
        self._tools.find(PROGRAM)  # that it is missing is the host's fault, what it finds wrong is the package's
        try:
            return self._tools.run(PROGRAM, *args, timeout_s=TIMEOUT_S).stdout
        except HostError as error:
            raise DocumentError(f"cannot read {self.name}: {PROGRAM} finds it damaged", details=(
                error.message, *error.details)) from error


@contextmanager
def open_package(path: Path, *, name: str, tools: Tools) -> Iterator[Package]:
    """A package of either kind.

    Raises:
        DocumentError: it is neither, or damaged.
        HostError: it cannot be read.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    with stream:
        found = format_of(stream)
        if found is PackageFormat.EROFS:
            yield ErofsPackage(stream, name=name)
        elif found is PackageFormat.SQUASHFS:
            stream.seek(0)
            superblock = decode_superblock(stream.read(SUPERBLOCK_SIZE), file_size=path.stat().st_size, name=name)
            yield SquashfsPackage(path, superblock, name=name, tools=tools)
        else:
            raise DocumentError(f"cannot read {name}: it is neither EROFS nor squashfs, so no package",
                                hint="make one with `imagekit pack`")
