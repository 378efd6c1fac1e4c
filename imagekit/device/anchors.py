"""Whom this device believes, and what it is: the seed, and the newest revision of its model.

Decides where a device keeps its anchors: in the seed, which the builder wrote, which is never written again, and which
is read here as it lies on its partition, without being mounted. There lies the model, and every root of trust that the
model and the packages led to when the image was made. The data partition would be lost with its data and is written by
everything that runs; the base is the same for all brands. Who can write to the disk can write to the seed, as to the
loader's entries: that is Secure Boot's to close (docs/reference/updates.md).

A newer revision of the model that was taken here (`imagekit.device.newmodel`) lies on the data partition. It is led
back to the seed's roots each time, and held against the seed's own model: nobody who writes there has another say.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from imagekit.assertions import (
    Assertion,
    Database,
    Model,
    SnapRevision,
    decode_stream,
    parse_model,
    parse_snap_revision,
)
from imagekit.assertions.database import Chain
from imagekit.device import history as past
from imagekit.device.machine import Machine
from imagekit.device.partitions import Partition, find_partitions, partition
from imagekit.device.report import load_report
from imagekit.disk.fat_read import read_fat
from imagekit.errors import DocumentError, PlanError, TargetError, TrustError
from imagekit.plan.model_update import check_change, is_of
from imagekit.plan.resolve import Measured, PackageFile
from imagekit.plan.seed_read import SEED, Seed, read_system

KINDS = frozenset({"account", "account-key", "snap-declaration", "snap-revision", "validation-set", "store"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The model that the device goes by, the one of its seed, all that is at hand as a database with the seed's roots,
    and the seed's packages.
    """

    model: Model
    seed_model: Model
    database: Database
    packages: dict[tuple[str, int], PackageFile]

    def revisions(self, name: str) -> list[SnapRevision]:
        """What snap-revisions at hand say of a package of the model; not verified."""
        ids = {snap.snap_id for snap in self.model.snaps if snap.name == name and snap.snap_id}
        found = []
        for item in self.database.all("snap-revision"):
            if item.text("snap-id") in ids:
                with suppress(DocumentError):
                    found.append(parse_snap_revision(item))
        return found

    def with_root(self, name: str, root: str, *, now: datetime) -> SnapRevision | None:
        """The believed revision of a package that has this verity root.

        What runs was believed when it came: a key that has expired since does not make it unknown.
        """
        for item in self.revisions(name):
            if item.verity_root == root and (self.believed(item, now=now) or self.believed(item, now=item.timestamp)):
                return item
        return None

    def believed(self, item: SnapRevision, *, now: datetime) -> Chain | None:
        """What proves a revision; None: it is not believed."""
        with suppress(TrustError, DocumentError):
            return self.database.believed("snap-revision", *item.assertion.primary_key, now=now)
        return None

    def add(self, assertions: tuple[Assertion, ...]) -> None:
        """Keep what may be proved later; kinds that an update has no use for are left out. Raises: TrustError."""
        for item in assertions:
            if item.type in KINDS:
                self.database.add(item)

    def hear(self, assertions: tuple[Assertion, ...]) -> None:
        """As `add`, of what lies on the device: what contradicts a root is left out, as if it were damaged."""
        for item in assertions:
            with suppress(TrustError):
                self.add((item,))


def own_anchors(machine: Machine) -> Anchors:
    """Those of this device. Raises: TargetError: it is none, or its seed cannot be read."""
    return load_anchors(machine, partition(find_partitions(machine, load_report(machine.run).disk), SEED))


def load_anchors(machine: Machine, seed: Partition) -> Anchors:
    """Read the seed, and the newest model that was taken since.

    Raises:
        TargetError: its partition cannot be read, or is no seed: then nothing can be believed.
    """
    try:
        with seed.device.open("rb") as stream:
            return _by_newest_model(machine, _anchors(read_system(read_fat(stream, name=SEED), name=SEED)))
    except OSError as error:
        raise TargetError(f"cannot read {seed.device}: {error.strerror}") from error
    except DocumentError as error:
        raise TargetError(f"cannot believe anything on this device: {error.message}",
                          hint="its seed holds the model and the roots of trust: write the image anew") from error


def _anchors(seed: Seed) -> Anchors:
    roots = [item for item in seed.assertions
             if item.type == "account-key" and item.key_id == item.text("public-key-sha3-384")]
    accounts = {item.text("account-id") for item in roots}
    own = [item for item in seed.assertions if item.type == "account" and item.text("account-id") in accounts]
    model = parse_model(seed.model)
    anchors = Anchors(model=model, seed_model=model, database=Database((*roots, *own)), packages={})
    anchors.add(seed.assertions)
    measured = {(item.name, item.revision): item for item in seed.measured()}
    for found in seed.packages():
        key = (found.name, found.revision)
        loose = measured.get(key)
        signed = next((item for item in anchors.revisions(found.name) if item.snap_revision == found.revision), None)
        if signed is None and (loose is None or loose.sha3_384 is None):
            continue
        anchors.packages[key] = PackageFile(
            path=f"seed:{found.path}", size=signed.snap_size if signed else 0, seed_size=None,
            measured=Measured(sha3_384=loose.sha3_384 or "", verity_root=loose.root) if loose and not signed else None)
    return anchors


def _by_newest_model(machine: Machine, anchors: Anchors) -> Anchors:
    """The same, by the model that was taken here; the seed's, where there is none that holds.

    It was believed when it came, as what runs was: that a key has expired since does not make it unknown here.
    """
    with suppress(OSError, DocumentError, TrustError, PlanError):
        stream = decode_stream(past.read_kept(machine, past.MODEL), name=past.MODEL)
        anchors.add(stream)
        for model in (parse_model(item) for item in stream if is_of(item, anchors.seed_model)):
            if model.revision > anchors.seed_model.revision:
                check_change(anchors.seed_model, model)
                anchors.database.verify(model.assertion, now=model.timestamp)
                return replace(anchors, model=model)
    return anchors


def trusted_now(clock: datetime, *floors: datetime) -> datetime:
    """The time to verify at: the clock's, or a later one that something signed or remembered proves to be past."""
    return max(clock, *floors, datetime(2020, 1, 1, tzinfo=UTC))


def is_block_device(path: Path) -> bool:
    with suppress(OSError):
        return path.is_block_device()
    return False
