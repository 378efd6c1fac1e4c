"""Gadgets and kernels as they lie on this machine: a folder, a package, or the document alone.

The one way from a PATH of the command line to a document, a listing of the files around it, and their bytes when they
are asked for. Who signed a package does not matter here; what is in it is judged elsewhere. A folder is one whose
`meta/` holds the document, or one with the document of a gadget at its top: the source of one, whose other files are
known only if no recipe brings them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from imagekit.build.unsquash import open_package
from imagekit.errors import DocumentError, HostError
from imagekit.gadget import GADGET_YAML, Era, Gadget, parse_gadget
from imagekit.host.files import read_file, reason
from imagekit.host.tools import LocalTools
from imagekit.packages.kernelyaml import KERNEL_YAML, KernelContents, KernelInfo, parse_kernel_yaml
from imagekit.packages.package import Package
from imagekit.schema import MAX_DOCUMENT, load_yaml
from imagekit.units import MIB

GADGET_SOURCE = "gadget.yaml"
RECIPES = ("recipe.yaml", "snapcraft.yaml", "snap/snapcraft.yaml")  # these bring files when the gadget is packed
SUFFIX = ".snap"
FILES_LIMIT = 256 * MIB  # a gadget is held in memory


class Kind(Enum):
    """What a PATH is."""

    FOLDER = "folder"
    SOURCE = "source"  # a folder whose files come from elsewhere
    PACKAGE = "package"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTree:
    """A document and the files around it.

    `text` is None where the document is not there; `files` are the regular files with their sizes, None where they are
    not known. `name` is what messages call the document.
    """

    path: Path
    kind: Kind
    name: str
    text: bytes | None
    files: Mapping[str, int] | None

    def contents(self) -> dict[str, bytes] | None:
        """The bytes of every file; None where they are not known.

        Raises:
            DocumentError: they are too large to be held in memory, or damaged.
            HostError: they cannot be read.
        """
        if self.files is None:
            return None
        if sum(self.files.values()) > FILES_LIMIT:
            raise DocumentError(f"cannot read {self.path}: its files have more than {FILES_LIMIT} bytes")
        if self.kind is Kind.PACKAGE:
            with _package(self.path) as package:
                return {path: package.read(path, limit=FILES_LIMIT) for path in self.files}
        return {path: read_file(self.path / path, limit=FILES_LIMIT) for path in self.files}


def find_tree(path: Path, document: str, *, source: str | None = None) -> FoundTree:
    """Read what `path` is; `source` is where a folder that is no package yet may have the document.

    Raises:
        DocumentError: the package is damaged.
        HostError: it cannot be read.
    """
    try:
        if path.is_dir():
            return _found_folder(path, document, source)
        if path.suffix == SUFFIX:
            return _found_package(path, document)
        return FoundTree(path=path, kind=Kind.DOCUMENT, name=str(path), text=_head(path), files=None)
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error


def _found_folder(path: Path, document: str, source: str | None) -> FoundTree:
    inside, kind = document, Kind.FOLDER
    if source is not None and not (path / document).is_file() and (path / source).is_file():
        inside = source
        kind = Kind.SOURCE if any((path / recipe).is_file() for recipe in RECIPES) else Kind.FOLDER
    files = {str(item.relative_to(path)): item.stat().st_size for item in sorted(path.rglob("*"))
             if item.is_file() and not item.is_symlink()}
    return FoundTree(path=path, kind=kind, name=str(path / inside),
                     text=_head(path / inside) if (path / inside).is_file() else None,
                     files=None if kind is Kind.SOURCE else files)


def _found_package(path: Path, document: str) -> FoundTree:
    with _package(path) as package:
        files = {entry.path: entry.size for entry in package.entries() if entry.is_file}
        text = package.read(document, limit=MAX_DOCUMENT + 1) if document in files else None
    return FoundTree(path=path, kind=Kind.PACKAGE, name=f"{path}/{document}", text=text, files=files)


@contextmanager
def _package(path: Path) -> Iterator[Package]:
    with open_package(path, name=str(path), tools=LocalTools()) as package:
        yield package


def _head(path: Path) -> bytes:
    """The file, or as much of it as shows that it is too large."""
    with path.open("rb") as stream:
        return stream.read(MAX_DOCUMENT + 1)


def find_gadget(path: Path) -> FoundTree:
    """The gadget at `path`, unjudged.

    Raises:
        DocumentError: there is none.
        HostError: it cannot be read.
    """
    found = find_tree(path, GADGET_YAML, source=GADGET_SOURCE)
    if found.text is None:
        hint = "name the package of a gadget" if found.kind is Kind.PACKAGE else None
        neither = f"it has no {GADGET_YAML}" if found.kind is Kind.PACKAGE else (
            f"it has neither {GADGET_YAML} nor {GADGET_SOURCE}")
        raise DocumentError(f"cannot read {path}: {neither}", hint=hint)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GadgetAtHand:
    """A gadget with its files, None if only its document is there."""

    gadget: Gadget
    name: str
    files: Mapping[str, bytes] | None

    @property
    def sizes(self) -> Mapping[str, int] | None:
        return None if self.files is None else {path: len(raw) for path, raw in self.files.items()}


def read_gadget(path: Path, *, era: Era | None = None) -> GadgetAtHand:
    """Read the gadget at `path`.

    Raises:
        DocumentError: there is none, or it breaks rules; all problems are told.
        HostError: it cannot be read.
    """
    found = find_gadget(path)
    assert found.text is not None
    gadget = parse_gadget(load_yaml(found.text, name=found.name, repeated_keys=True), era=era)
    return GadgetAtHand(gadget=gadget, name=found.name, files=found.contents())


def read_kernel(path: Path) -> KernelContents:
    """Read what the kernel at `path` offers; one without meta/kernel.yaml offers nothing.

    Raises:
        DocumentError: kernel.yaml breaks rules; all problems are told.
        HostError: it cannot be read.
    """
    found = find_tree(path, KERNEL_YAML)
    if found.text is None:
        return KernelContents(info=KernelInfo(), files=found.files)
    return KernelContents(info=parse_kernel_yaml(load_yaml(found.text, name=found.name, repeated_keys=True)),
                          files=found.files)
