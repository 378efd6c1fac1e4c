"""`manifest.json`: what lies beside an image and says what it is. Documented in docs/reference/manifest.md.

Decides the document's form and its versions; equal images have equal manifests, so there is no path of a machine and no
time of a clock in it, save the record of a boot, `booted`, which is added later. Whoever reads an image's manifest gets
a frozen `Manifest` from `parse_manifest`.

The digest of an image, and of each partition, is SHA-256 over one line `FIRST-LAST SHA256` for every mapped range, in
blocks of 4096 bytes from the start of the disk, ascending: it covers all that a flasher writes, and costs nothing for
the empty rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

from imagekit.digests import short
from imagekit.disk.bmap import MappedRange
from imagekit.errors import DocumentError
from imagekit.units import BLOCK

MANIFEST = "manifest.json"
FORMAT = "imagekit-manifest"
VERSION = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestModel:
    """Which model; `digest` is SHA3-384 of its signed bytes."""

    brand: str
    model: str
    revision: int
    grade: str
    architecture: str
    timestamp: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestImage:
    """The image file. `mapped` counts the bytes that a flasher writes."""

    file: str
    size: int
    mapped: int
    digest: str
    disk_guid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestPackage:
    """One package: where it is, and how much of the mapped bytes is its own."""

    name: str
    revision: int
    version: str
    type: str
    snap_id: str  # empty: the model gives none
    sha3_384: str
    size: int
    verity_root: str | None
    structures: tuple[str, ...]
    seed_size: int
    mapped: int
    share: float  # of the image's mapped bytes
    asserted: bool = True  # false: nobody signed it
    extra: bool = False  # true: the model does not name it


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestStructure:
    """One structure of the disk; `partition`, `type` and `guid` are null outside the table."""

    name: str
    partition: int | None
    type: str | None
    guid: str | None
    start: int
    size: int
    role: str | None
    filesystem: str | None
    label: str | None
    slot: str | None
    part: str | None
    content: str
    mapped: int
    share: float
    digest: str | None  # null: nothing is mapped in it


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """Another file beside the image."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """That the image was seen healthy: on which machine, with which image digest, when."""

    machine: str
    digest: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole document."""

    model: ManifestModel
    image: ManifestImage
    packages: tuple[ManifestPackage, ...]
    structures: tuple[ManifestStructure, ...]
    files: Mapping[str, ManifestFile]  # bmap, sbom, layout
    timestamp: str
    booted: Booted | None = None


def ranges_digest(ranges: Iterable[MappedRange]) -> str:
    """The digest of an image or partition, from its mapped ranges in ascending order."""
    digest = hashlib.sha256()
    for item in ranges:
        digest.update(f"{item.start // BLOCK}-{item.end // BLOCK - 1} {item.sha256}\n".encode())
    return digest.hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """The file's bytes: one order, two spaces, a newline at the end."""
    value: dict[str, Any] = {"format": FORMAT, "version": VERSION, **_plain(asdict(manifest))}
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key.replace("_", "-"): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def parse_manifest(raw: bytes, *, name: str) -> Manifest:
    """Read a manifest.

    Raises:
        DocumentError: not one of ours, of a version unknown here, or with fields missing or of the wrong type.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"cannot read {name}: not valid JSON: {error}") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DocumentError(f"cannot read {name}: it is no manifest of imagekit")
    if value.get("version") != VERSION:
        raise DocumentError(f"cannot read {name}: version {value.get('version')!r}, known is {VERSION}",
                            hint="use the imagekit that made it, or build the image again")
    booted = value.get("booted")
    return Manifest(
        model=_one(ManifestModel, value.get("model"), f"{name}: model"),
        image=_one(ManifestImage, value.get("image"), f"{name}: image"),
        packages=_many(ManifestPackage, value.get("packages"), f"{name}: packages"),
        structures=_many(ManifestStructure, value.get("structures"), f"{name}: structures"),
        files=_files(value.get("files"), f"{name}: files"),
        timestamp=str(value.get("timestamp")),
        booted=None if booted is None else _one(Booted, booted, f"{name}: booted"),
    )


def _files(value: Any, where: str) -> dict[str, ManifestFile]:
    if not isinstance(value, dict):
        raise DocumentError(f"cannot read {where}: an object is needed")
    return {key: _one(ManifestFile, item, f"{where}.{key}") for key, item in value.items()}


def _many(kind: type[T], value: Any, where: str) -> tuple[T, ...]:
    if not isinstance(value, list):
        raise DocumentError(f"cannot read {where}: a list is needed")
    return tuple(_one(kind, item, f"{where}[{index}]") for index, item in enumerate(value))


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (float, int), "str | None": (str, type(None)),
    "int | None": (int, type(None)), "tuple[str, ...]": (list,), "bool": (bool,),
}


def _one(kind: type[T], value: Any, where: str) -> T:
    """An object as `kind`: every field there, every type right, nothing else looked at."""
    if not isinstance(value, dict):
        raise DocumentError(f"cannot read {where}: an object is needed")
    found: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]  # T is one of the dataclasses above
        key = item.name.replace("_", "-")
        allowed = _KINDS[str(item.type)]
        if key not in value and item.default is not MISSING:
            continue  # younger than the document
        if key not in value or not isinstance(value[key], allowed) or isinstance(value[key], bool) != (bool in allowed):
            raise DocumentError(f"cannot read {where}.{key}: {item.type} is needed, not {value.get(key)!r}")
        found[item.name] = tuple(map(str, value[key])) if allowed == (list,) else value[key]
    return kind(**found)


def with_boot(manifest: Manifest, *, machine: str, digest: str, time: datetime) -> Manifest:
    """The manifest after a healthy boot. Raises: DocumentError: the boot was of other bytes than the manifest's."""
    if digest != manifest.image.digest:
        raise DocumentError(f"cannot record the boot of {manifest.image.file}: the booted image has the digest"
                            f" {short(digest)}, the manifest says {short(manifest.image.digest)}",
                            hint="build the image again")
    return replace(manifest, booted=Booted(machine=machine, digest=digest, time=time.isoformat(timespec="seconds")))
