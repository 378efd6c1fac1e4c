"""Check gadgets as they lie on this machine: a gadget.yaml, the folder of a gadget, or a package.

Reads them and asks `imagekit.gadget` what is wrong; decides no rule itself. A folder and a package are also held to the
files that their gadget.yaml names; a lone gadget.yaml is not, nor is a folder whose files come with packing. A package
is read as it is, whoever signed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import DocumentError, HostError
from imagekit.gadget.content_check import check_contents, check_references
from imagekit.gadget.parse import examine_gadget
from imagekit.gadget.values import Era
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernelyaml import KernelContents
from imagekit.schema import MAX_DOCUMENT, DocumentProblems, Problem, load_yaml

DOCUMENT = "meta/gadget.yaml"
BESIDE = "gadget.yaml"  # where the source of a gadget has it
RECIPES = ("recipe.yaml", "snapcraft.yaml", "snap/snapcraft.yaml")  # what makes a gadget's files when it is packed
SUFFIX = ".snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGadget:
    """The document of a gadget; `files` are its regular files and their sizes, None if only the document is there."""

    name: str  # as messages call the document
    text: bytes
    files: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedGadget:
    """What a check found. `era` is None where the document could not be read far enough to tell its rules."""

    found: FoundGadget
    era: Era | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def find_gadget(path: Path) -> FoundGadget:
    """Read what `path` is: a folder, a package, or a gadget.yaml.

    Raises:
        DocumentError: no gadget is there.
        HostError: it cannot be read.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if path.suffix == SUFFIX:
            return _package(path)
        return FoundGadget(name=str(path), text=_head(path), files=None)
    except OSError as error:
        raise HostError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error


def _folder(path: Path) -> FoundGadget:
    for name in (DOCUMENT, BESIDE):
        if (path / name).is_file():
            made = name == BESIDE and any((path / recipe).is_file() for recipe in RECIPES)
            files = {str(item.relative_to(path)): item.stat().st_size for item in path.rglob("*") if item.is_file()}
            return FoundGadget(name=str(path / name), text=_head(path / name), files=None if made else files)
    raise DocumentError(f"cannot check {path}: it has neither {DOCUMENT} nor {BESIDE}")


def _package(path: Path) -> FoundGadget:
    with path.open("rb") as stream:
        package = Erofs(stream, name=str(path))
        text = package.read(DOCUMENT, limit=MAX_DOCUMENT + 1)
        files = {entry.path: entry.inode.size for entry in package.walk() if entry.inode.is_file}
    return FoundGadget(name=f"{path}/{DOCUMENT}", text=text, files=files)


def _head(path: Path) -> bytes:
    """The file, or as much of it as shows that it is too large."""
    with path.open("rb") as stream:
        return stream.read(MAX_DOCUMENT + 1)


def check_gadget_file(found: FoundGadget, *, era: Era | None, kernel: KernelContents | None = None) -> CheckedGadget:
    """Everything that is wrong with a gadget, and everything that will hurt; with a `kernel` its references, too."""
    try:
        source = load_yaml(found.text, name=found.name, repeated_keys=True)
    except DocumentProblems as error:
        return CheckedGadget(found=found, era=era, problems=error.problems, warnings=())
    examined = examine_gadget(source, era=era)
    if examined.gadget is not None and found.files is not None:
        check_contents(examined.problems, examined.gadget, found.files, kernel=kernel)
    elif examined.gadget is not None:
        check_references(examined.problems, examined.gadget, kernel=kernel)
    return CheckedGadget(found=found, era=examined.era, problems=_in_order(examined.problems.found),
                         warnings=_in_order(examined.problems.warnings))


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """As they stand in the document, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))


