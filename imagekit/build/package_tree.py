"""Gadgets and kernels as they lie on this machine: a folder, a package, or the document alone.

Reads them into what the plans ask for, the documents parsed and held to their rules; who signed a package does not
matter here. A folder is one whose `meta/` holds the document, or the source of a gadget with gadget.yaml at its top,
whose other files come from elsewhere and are not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imagekit.errors import DocumentError, HostError
from imagekit.gadget import Era, Gadget, parse_gadget
from imagekit.host.files import read_file, reason
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernelyaml import KERNEL_YAML, KernelContents, KernelInfo, parse_kernel_yaml
from imagekit.schema import MAX_DOCUMENT, load_yaml
from imagekit.units import MIB

GADGET_YAML = "meta/gadget.yaml"
SUFFIX = ".snap"
FILES_LIMIT = 256 * MIB  # a gadget is held in memory


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
    files: dict[str, bytes] | None = None
    name = str(path)
    if path.is_dir():
        inside = GADGET_YAML if (path / GADGET_YAML).is_file() else "gadget.yaml"
        name = str(path / inside)
        if not (path / inside).is_file():
            raise DocumentError(f"cannot read {path}: it has neither {GADGET_YAML} nor gadget.yaml")
        if inside == GADGET_YAML:
            files = _folder(path)
        raw = read_file(path / inside, limit=MAX_DOCUMENT)
    elif path.suffix == SUFFIX:
        name = f"{path}/{GADGET_YAML}"
        files = _package(path)
        if GADGET_YAML not in files:
            raise DocumentError(f"cannot read {path}: it has no {GADGET_YAML}", hint="name the package of a gadget")
        raw = files[GADGET_YAML]
    else:
        raw = read_file(path, limit=MAX_DOCUMENT)
    source = load_yaml(raw, name=name, repeated_keys=True)
    return GadgetAtHand(gadget=parse_gadget(source, era=era), name=name, files=files)


def read_kernel(path: Path) -> KernelContents:
    """Read what the kernel at `path` offers; one without meta/kernel.yaml offers nothing.

    Raises:
        DocumentError: kernel.yaml breaks rules; all problems are told.
        HostError: it cannot be read.
    """
    name, files, raw = str(path), None, b""
    if path.is_dir():
        name = str(path / KERNEL_YAML)
        files = {str(item.relative_to(path)): item.stat().st_size for item in path.rglob("*")
                 if item.is_file() and not item.is_symlink()}
        raw = read_file(path / KERNEL_YAML, limit=MAX_DOCUMENT) if KERNEL_YAML in files else b""
    elif path.suffix == SUFFIX:
        name = f"{path}/{KERNEL_YAML}"
        with _opened(path) as stream:
            return kernel_contents(Erofs(stream, name=str(path)), str(path))
    else:
        raw = read_file(path, limit=MAX_DOCUMENT)
    return KernelContents(info=_info(raw, name), files=files)


def kernel_contents(package: Erofs, name: str) -> KernelContents:
    """What a kernel package offers: its kernel.yaml, and which files it has."""
    files = {entry.path: entry.inode.size for entry in package.walk() if entry.inode.is_file}
    raw = package.read(KERNEL_YAML, limit=MAX_DOCUMENT) if KERNEL_YAML in files else b""
    return KernelContents(info=_info(raw, f"{name}/{KERNEL_YAML}"), files=files)


def _info(raw: bytes, name: str) -> KernelInfo:
    return parse_kernel_yaml(load_yaml(raw, name=name, repeated_keys=True)) if raw else KernelInfo()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error


def _folder(path: Path) -> dict[str, bytes]:
    """Every regular file of a folder; links are not followed."""
    found, total = {}, 0
    for item in sorted(path.rglob("*")):
        if item.is_symlink() or not item.is_file():
            continue
        raw = read_file(item, limit=FILES_LIMIT)
        total += len(raw)
        if total > FILES_LIMIT:
            raise DocumentError(f"cannot read {path}: its files have more than {FILES_LIMIT} bytes")
        found[str(item.relative_to(path))] = raw
    return found


def _package(path: Path) -> dict[str, bytes]:
    """Every regular file of a package."""
    with _opened(path) as stream:
        inside = Erofs(stream, name=str(path))
        entries = [entry for entry in inside.walk() if entry.inode.is_file]
        if sum(entry.inode.size for entry in entries) > FILES_LIMIT:
            raise DocumentError(f"cannot read {path}: its files have more than {FILES_LIMIT} bytes")
        return {entry.path: inside.read(entry.path, limit=FILES_LIMIT) for entry in entries}
