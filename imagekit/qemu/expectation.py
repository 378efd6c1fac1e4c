"""What a disk image promises: the slot, kernel and base that a healthy boot of it must show.

Read out of the image itself, and believed only as far as signatures reach: the model in its seed must lead back to a
root that the user trusts; the model names kernel and base by snap-id; the seed holds one package of each, whose file
name gives the revision; and the signed snap-revision of that gives the dm-verity root. Nothing is taken from the
loader's entries, which nobody signs: an image whose loader boots another signed revision than its seed is not healthy.

Source: the seed's layout in docs/reference/disk-formats.md, which is that of snapd's recovery systems.
"""

from __future__ import annotations

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
    parse_model,
    parse_snap_revision,
)
from imagekit.disk.probe import probe
from imagekit.errors import DocumentError, TrustError
from imagekit.plan.seed_read import Seed, SeedPackage, read_seed
from imagekit.qemu.judge import Expectation, Package

FACTORY_SLOT = "a"  # an image is built with this slot filled and confirmed


def read_expectation(stream: BinaryIO, *, name: str, trusted: Iterable[Assertion], now: datetime,
                     slot: str | None = FACTORY_SLOT) -> Expectation:
    """Read what a healthy boot of the image in `stream` must show.

    Raises:
        DocumentError: no image of ours, or its seed is incomplete.
        TrustError: its model or packages lead back to no trusted root.
    """
    seed = read_seed(stream, probe(stream, name=name), name=name)
    model, database = _believed(seed, name, trusted, now)
    revisions = _revisions(database, now)
    files = seed.packages()
    loose = _unasserted(seed, model)
    kernel = loose.get(model.kernel.name) or _package(model.kernel, files, revisions, name)
    base = loose.get(model.base_snap.name) or _package(model.base_snap, files, revisions, name)
    known = tuple(Package(name=snap.name, revision=revision.snap_revision, root=revision.verity_root)
                  for snap in (model.kernel, model.base_snap) for revision in revisions
                  if revision.snap_id == snap.snap_id and revision.verity_root)
    return Expectation(model=f"{model.brand_id}/{model.model}", kernel=kernel, base=base, slot=slot,
                       known=(*known, *loose.values()), gadget=model.gadget.name if model.gadget else "",
                       architecture=model.architecture)


def _believed(seed: Seed, name: str, trusted: Iterable[Assertion], now: datetime) -> tuple[Model, Database]:
    """The model of the seed, verified; and everything signed that stands beside it."""
    database = Database(trusted)
    for assertion in seed.assertions:
        database.add(assertion)
    try:
        database.verify(seed.model, now=now)
    except TrustError as error:
        raise TrustError(f"cannot trust {name}: {error.message}", details=error.details,
                         hint=error.hint or "name the folder with the brand's root of trust: --trust DIR") from error
    return parse_model(seed.model), database


def _revisions(database: Database, now: datetime) -> list[SnapRevision]:
    """All snap-revisions that stand on a trusted root."""
    found = []
    for assertion in database.all("snap-revision"):
        database.verify(assertion, now=now)
        found.append(parse_snap_revision(assertion))
    return found


def _unasserted(seed: Seed, model: Model) -> dict[str, Package]:
    """The packages that nobody signed, with the roots that the builder measured; none above grade dangerous."""
    if model.grade is not Grade.DANGEROUS:
        return {}
    return {item.name: Package(name=item.name, revision=item.revision, root=item.root)
            for item in seed.measured() if item.root is not None}


def _package(snap: ModelSnap | None, files: tuple[SeedPackage, ...], revisions: list[SnapRevision],
             name: str) -> Package:
    """The one package in the seed that the model means by `snap`."""
    if snap is None:
        raise DocumentError(f"cannot use {name}: its model names no kernel or no base")
    numbers = sorted({file.revision for file in files if file.name == snap.name})
    if len(numbers) != 1:
        raise DocumentError(f"cannot use {name}: its seed has {len(numbers)} revisions of {snap.name}, one is needed")
    for revision in revisions:
        if revision.snap_id == snap.snap_id and revision.snap_revision == numbers[0]:
            if revision.verity_root is None:
                break
            return Package(name=snap.name, revision=numbers[0], root=revision.verity_root)
    raise TrustError(f"cannot trust {name}: nothing signed gives the verity-root of {snap.name} revision {numbers[0]}",
                     hint="build the image again from packages that `imagekit sign` signed")
