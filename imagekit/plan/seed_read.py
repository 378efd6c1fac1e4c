"""Read a seed back: the system in it, what is signed there, and which packages lie in it.

The other direction of `imagekit.plan.seed`. Nothing here is believed: whoever reads holds the assertions against roots
of trust. Source: the seed's layout in docs/reference/disk-formats.md, which is that of snapd's recovery systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from imagekit.assertions import Assertion, decode_stream
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.errors import DocumentError
from imagekit.plan.seed import OPTIONS
from imagekit.schema import load_yaml
from imagekit.units import MIB

if TYPE_CHECKING:
    from imagekit.disk.probe import DiskImage

SEED = "seed"
ASSERTIONS_LIMIT = 8 * MIB
OPTIONS_LIMIT = 1 * MIB

_PACKAGE = re.compile(r"(?P<name>[a-z0-9-]+)_(?P<revision>[1-9][0-9]{0,9})\.snap(?P<packed>\.zst)?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPackage:
    """A package file of the seed, by what its name says."""

    name: str
    revision: int
    path: str
    compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A package that nobody signed, with what the builder measured of it."""

    name: str
    revision: int
    sha3_384: str | None
    root: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """The only system of a seed; `name` is how messages call the image."""

    name: str
    volume: FatVolume
    folder: str
    model: Assertion
    assertions: tuple[Assertion, ...]  # all of them, the model first

    def packages(self) -> tuple[SeedPackage, ...]:
        """Every package file: those that are signed, then those of the system itself."""
        return (*self._packages_in("snaps"), *self._packages_in(f"{self.folder}/snaps"))

    def _packages_in(self, folder: str) -> Iterable[SeedPackage]:
        if self.volume.find(folder) is None:
            return
        for file in self.volume.listdir(folder):
            match = _PACKAGE.match(file)
            if match is not None:
                yield SeedPackage(name=match["name"], revision=int(match["revision"]), path=f"{folder}/{file}",
                                  compressed=match["packed"] is not None)

    def measured(self) -> tuple[Measured, ...]:
        """What `options.yaml` says of packages that nobody signed; only a model of grade dangerous allows them."""
        if OPTIONS not in self.volume.listdir(self.folder):
            return ()
        where = f"{self.name}: {self.folder}/{OPTIONS}"
        raw = self.volume.read(f"{self.folder}/{OPTIONS}", limit=OPTIONS_LIMIT)
        value = load_yaml(raw, name=where).value
        entries = value.get("snaps") if isinstance(value, dict) else None
        return tuple(found for entry in (entries if isinstance(entries, list) else [])
                     if isinstance(entry, dict) and (found := _measured(entry)) is not None)


def _measured(entry: dict[str, object]) -> Measured | None:
    match = _PACKAGE.match(str(entry.get("unasserted", "")))
    own = entry.get("x-imagekit", {}) if match is not None else {}
    if match is None or not isinstance(own, dict):
        return None
    digest, root = own.get("sha3-384"), own.get("verity-root")
    return Measured(name=match["name"], revision=int(match["revision"]), root=root if isinstance(root, str) else None,
                    sha3_384=digest if isinstance(digest, str) else None)


def read_seed(stream: BinaryIO, image: DiskImage, *, name: str) -> Seed:
    """The seed of an image.

    Raises:
        DocumentError: there is none, it is damaged, or it has not one system with one model.
    """
    found = image.find(SEED)
    if found is None:
        raise DocumentError(f"cannot use {name}: it has no {SEED} partition, so nothing says what it shall run")
    return read_system(read_fat(stream, found.partition.start, name=f"{name}: {SEED}"), name=name)


def read_system(volume: FatVolume, *, name: str) -> Seed:
    """The seed in a file system. Raises: DocumentError: as `read_seed`."""
    systems = volume.listdir("systems")
    if len(systems) != 1:
        raise DocumentError(f"cannot use {name}: its seed has {len(systems)} systems, one is needed")
    folder = f"systems/{systems[0]}"
    files = [f"{folder}/model", *(f"{folder}/assertions/{file}" for file in volume.listdir(f"{folder}/assertions"))]
    read = [decode_stream(volume.read(path, limit=ASSERTIONS_LIMIT), name=f"{name}: {path}") for path in files]
    models = [assertion for assertion in read[0] if assertion.type == "model"]
    if len(models) != 1:
        raise DocumentError(f"cannot use {name}: {files[0]} holds {len(models)} models, one is needed")
    return Seed(name=name, volume=volume, folder=folder, model=models[0],
                assertions=tuple(assertion for stream in read for assertion in stream))
