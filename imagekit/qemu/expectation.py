"""What a disk image promises: the slot, kernel and base that a healthy boot of it must show.

Read out of the image itself, and believed only as far as signatures reach: the model in its seed must lead back to a
root that the user trusts; the model names kernel and base by snap-id; the seed holds one package of each, whose file
name gives the revision; and the signed snap-revision of that gives the dm-verity root. Nothing is taken from the
loader's entries, which nobody signs: an image whose loader boots another signed revision than its seed is not healthy.

Source: the seed's layout in docs/reference/disk-formats.md, which is that of snapd's recovery systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO

from imagekit.assertions import (
    Assertion,
    Database,
    Grade,
    Model,
    ModelSnap,
    SnapRevision,
    decode_stream,
    parse_model,
    parse_snap_revision,
)
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.probe import DiskImage, probe
from imagekit.errors import DocumentError, TrustError
from imagekit.plan.seed import OPTIONS
from imagekit.qemu.judge import Expectation, Package
from imagekit.schema import load_yaml
from imagekit.units import MIB

SEED = "seed"
FACTORY_SLOT = "a"  # an image is built with this slot filled and confirmed
ASSERTIONS_LIMIT = 8 * MIB
OPTIONS_LIMIT = 1 * MIB

_PACKAGE = re.compile(r"(?P<name>[a-z0-9-]+)_(?P<revision>[1-9][0-9]{0,9})\.snap(\.zst)?\Z")


def read_expectation(stream: BinaryIO, *, name: str, trusted: Iterable[Assertion], now: datetime,
                     slot: str | None = FACTORY_SLOT) -> Expectation:
    """Read what a healthy boot of the image in `stream` must show.

    Raises:
        DocumentError: no image of ours, or its seed is incomplete.
        TrustError: its model or packages lead back to no trusted root.
    """
    volume = _seed(stream, probe(stream, name=name), name)
    model, database = _model(volume, name, trusted, now)
    revisions = _revisions(database, now)
    files = [match for file in volume.listdir("snaps") if (match := _PACKAGE.match(file))]
    loose = _unasserted(volume, model, name)
    kernel = loose.get(model.kernel.name) or _package(model.kernel, files, revisions, name)
    base = loose.get(model.base_snap.name) or _package(model.base_snap, files, revisions, name)
    known = tuple(Package(name=snap.name, revision=revision.snap_revision, root=revision.verity_root)
                  for snap in (model.kernel, model.base_snap) for revision in revisions
                  if revision.snap_id == snap.snap_id and revision.verity_root)
    return Expectation(model=f"{model.brand_id}/{model.model}", kernel=kernel, base=base, slot=slot,
                       known=(*known, *loose.values()), gadget=model.gadget.name if model.gadget else "",
                       architecture=model.architecture)


def _seed(stream: BinaryIO, image: DiskImage, name: str) -> FatVolume:
    found = image.find(SEED)
    if found is None:
        raise DocumentError(f"cannot use {name}: it has no {SEED} partition, so nothing says what it shall run")
    return read_fat(stream, found.partition.start, name=f"{name}: {SEED}")


def _model(volume: FatVolume, name: str, trusted: Iterable[Assertion], now: datetime) -> tuple[Model, Database]:
    """The model of the seed's only system, verified; and everything signed that stands beside it."""
    systems = volume.listdir("systems")
    if len(systems) != 1:
        raise DocumentError(f"cannot use {name}: its seed has {len(systems)} systems, one is needed")
    folder = f"systems/{systems[0]}"
    database = Database(trusted)
    files = [f"{folder}/model", *(f"{folder}/assertions/{file}" for file in volume.listdir(f"{folder}/assertions"))]
    models = []
    for path in files:
        raw = volume.read(path, limit=ASSERTIONS_LIMIT)
        for assertion in decode_stream(raw, name=f"{name}: {path}"):
            database.add(assertion)
            if assertion.type == "model" and path == files[0]:
                models.append(assertion)
    if len(models) != 1:
        raise DocumentError(f"cannot use {name}: {files[0]} holds {len(models)} models, one is needed")
    try:
        database.verify(models[0], now=now)
    except TrustError as error:
        raise TrustError(f"cannot trust {name}: {error.message}", details=error.details,
                         hint=error.hint or "name the folder with the brand's root of trust: --trust DIR") from error
    return parse_model(models[0]), database


def _revisions(database: Database, now: datetime) -> list[SnapRevision]:
    """All snap-revisions that stand on a trusted root."""
    found = []
    for assertion in database.all("snap-revision"):
        database.verify(assertion, now=now)
        found.append(parse_snap_revision(assertion))
    return found


def _unasserted(volume: FatVolume, model: Model, name: str) -> dict[str, Package]:
    """The packages that nobody signed, with the roots that the builder measured; none above grade dangerous."""
    folder = f"systems/{volume.listdir('systems')[0]}"
    if model.grade is not Grade.DANGEROUS or OPTIONS not in volume.listdir(folder):
        return {}
    where = f"{name}: {folder}/{OPTIONS}"
    value = load_yaml(volume.read(f"{folder}/{OPTIONS}", limit=OPTIONS_LIMIT), name=where).value
    entries = value.get("snaps") if isinstance(value, dict) else None
    found = {}
    for entry in entries if isinstance(entries, list) else []:
        match = _PACKAGE.match(str(entry.get("unasserted", ""))) if isinstance(entry, dict) else None
        measured = entry.get("x-imagekit", {}) if match is not None else {}
        root = measured.get("verity-root") if isinstance(measured, dict) else None
        if match is not None and isinstance(root, str):
            found[match["name"]] = Package(name=match["name"], revision=int(match["revision"]), root=root)
    return found


def _package(snap: ModelSnap | None, files: list[re.Match[str]], revisions: list[SnapRevision], name: str) -> Package:
    """The one package in the seed that the model means by `snap`."""
    if snap is None:
        raise DocumentError(f"cannot use {name}: its model names no kernel or no base")
    numbers = sorted({int(match["revision"]) for match in files if match["name"] == snap.name})
    if len(numbers) != 1:
        raise DocumentError(f"cannot use {name}: its seed has {len(numbers)} revisions of {snap.name}, one is needed")
    for revision in revisions:
        if revision.snap_id == snap.snap_id and revision.snap_revision == numbers[0]:
            if revision.verity_root is None:
                break
            return Package(name=snap.name, revision=numbers[0], root=revision.verity_root)
    raise TrustError(f"cannot trust {name}: nothing signed gives the verity-root of {snap.name} revision {numbers[0]}",
                     hint="build the image again from packages that `imagekit sign` signed")
