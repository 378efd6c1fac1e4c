"""What an image is written from: each piece with its place on the disk.

A plan is a list of these, ascending and without overlap; the builder carries them out and decides nothing. Offsets are
bytes of the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """Bytes known when planning: tables, directories, records, small files."""

    offset: int
    content: bytes
    what: str

    @property
    def length(self) -> int:
        return len(self.content)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageWrite:
    """A whole package with its hash tree behind it. `root_hash` is the signed one."""

    offset: int
    package: str  # file name, `NAME_REVISION.snap`
    size: int
    tree_size: int
    root_hash: str

    @property
    def length(self) -> int:
        return self.size + self.tree_size

    @property
    def what(self) -> str:
        return f"{self.package} and its hash tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageMember:
    """A file inside a package, as the source of bytes elsewhere on the disk."""

    package: str
    path: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """A package as the source of bytes in the seed, in its compressed form if it has one of its own."""

    package: str
    size: int
    compressed: bool = True


Source = PackageMember | SeedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """`length` bytes from `skip` of a source."""

    offset: int
    source: Source
    skip: int
    length: int

    @property
    def what(self) -> str:
        if isinstance(self.source, SeedFile):
            return f"{self.source.package}, compressed" if self.source.compressed else self.source.package
        return f"{self.source.path} of {self.source.package}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeExt4:
    """An empty ext4 file system."""

    offset: int
    length: int
    label: str
    uuid: UUID
    hash_seed: UUID

    @property
    def what(self) -> str:
        return f"empty ext4 {self.label!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zeros:
    """Zeros that mean something, such as the free entries of a FAT: in the block map, but not written to a new file."""

    offset: int
    length: int
    what: str


Write = Literal | PackageWrite | Copy | MakeExt4 | Zeros
