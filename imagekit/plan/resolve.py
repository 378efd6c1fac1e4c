"""Resolve a model to the exact packages an image of it gets.

A package counts if a signed snap-revision names its snap-id and a file `NAME_REVISION.snap` of it is at hand; the
highest such revision wins, and a file newer than that must be signed or taken away, or an image would be made of
something older than its maker believes. What a model demands that no image has is refused. Signatures are proved here,
by the database; the digest itself is checked by the builder, over the bytes that it writes. Nothing is opened: which
files there are comes in as `available`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions import (
    Assertion,
    Chain,
    Database,
    Model,
    ModelSnap,
    SnapDeclaration,
    SnapRevision,
    parse_snap_declaration,
    parse_snap_revision,
    unbuildable,
)
from imagekit.errors import PlanError, TrustError

SEED_SUFFIX = ".zst"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A package at hand: its path as text, its size, and the size of `PATH.zst` beside it, if there is one."""

    path: str
    size: int
    seed_size: int | None

    @property
    def seed_path(self) -> str:
        return self.path + SEED_SUFFIX


Available = Mapping[tuple[str, int], PackageFile]  # by name and revision


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPackage:
    """One snap of the model, the revision it gets, and the file that should hold it."""

    snap: ModelSnap
    revision: SnapRevision
    declaration: SnapDeclaration
    file: PackageFile

    @property
    def name(self) -> str:
        return self.snap.name

    @property
    def number(self) -> int:
        return self.revision.snap_revision

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.number}.snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The model and its packages, all signatures proved; `proofs` are the chains of the packages' assertions."""

    model: Model
    chain: Chain
    packages: tuple[ResolvedPackage, ...]
    proofs: tuple[Chain, ...]

    def of(self, snap: ModelSnap) -> ResolvedPackage:
        """The package of `snap`. Raises: PlanError: the model leaves it out of its list."""
        for package in self.packages:
            if package.name == snap.name:
                return package
        raise PlanError(f"cannot resolve model {self.model.model!r}: its list of snaps has no {snap.name!r}",
                        hint="add it to the model's snaps, with its id")


def resolve(model: Model, database: Database, available: Available, *, now: datetime) -> Resolution:
    """Find every package of the model.

    Raises:
        TrustError: the model or a package is not signed by whom it must be, or a file is not what was signed.
        PlanError: a package is missing; all missing ones are told.
    """
    chain = database.verify(model.assertion, now=now)
    if demands := unbuildable(model):
        raise PlanError(f"cannot resolve model {model.model!r}: it demands what images do not have: {demands[0]}",
                        details=demands if len(demands) > 1 else ())
    packages: list[ResolvedPackage] = []
    proofs: list[Chain] = []
    missing: list[str] = []
    for snap in model.snaps:
        if snap.snap_id is None:
            raise PlanError(f"cannot resolve model {model.model!r}: snap {snap.name!r} has no id",
                            hint="unsigned packages are not built into images; give it an id and sign it")
        revisions = _revisions(database, snap)
        chosen = next((item for item in revisions if (snap.name, item.snap_revision) in available), None)
        if chosen is None:
            if snap.presence != "optional":
                missing.append(_missing(snap, revisions, available))
            continue
        declaration = _declaration(database, model, snap)
        proofs += [database.verify(item.assertion, now=now) for item in revisions
                   if item.snap_revision == chosen.snap_revision]
        proofs.append(database.verify(declaration.assertion, now=now))
        _refuse_doubt(snap, chosen, revisions, available)
        file = available[snap.name, chosen.snap_revision]
        if file.size != chosen.snap_size:
            raise TrustError(
                f"cannot use {file.path}: it has {file.size} bytes, the signed revision {chosen.snap_revision} has"
                f" {chosen.snap_size}", hint="the file was cut short or changed: fetch or pack it again")
        packages.append(ResolvedPackage(snap=snap, revision=chosen, declaration=declaration, file=file))
    if missing:
        raise _nothing(model, missing, unsigned=_unsigned(database, model, available))
    return Resolution(model=model, chain=chain, packages=tuple(packages), proofs=tuple(proofs))


def _revisions(database: Database, snap: ModelSnap) -> list[SnapRevision]:
    """The revisions stated for the snap, highest first; not yet proved."""
    found = (parse_snap_revision(item) for item in database.all("snap-revision"))
    return sorted((item for item in found if item.snap_id == snap.snap_id), key=lambda item: -item.snap_revision)


def _refuse_doubt(snap: ModelSnap, chosen: SnapRevision, revisions: list[SnapRevision], available: Available) -> None:
    """Raises: TrustError: a newer file is not signed, or the number of the chosen revision was given twice."""
    number = chosen.snap_revision
    signed = {item.snap_revision for item in revisions}
    newer = [found for name, found in available if name == snap.name and found > number and found not in signed]
    if newer:
        path = available[snap.name, max(newer)].path
        raise TrustError(f"cannot use package {snap.name!r}: {path} is newer than revision {number}, the newest that"
                         " is signed and at hand", hint=f"sign it: imagekit sign {path} -k KEY; or take it away")
    digests = sorted(item.snap_sha3_384 for item in revisions if item.snap_revision == number)
    if len(digests) > 1:
        raise TrustError(f"cannot use package {snap.name!r}: {len(digests)} packages are signed as its revision"
                         f" {number}, and they differ", hint="keep the assertion of one of them; a revision never"
                         " changes", details=tuple(digests))


def _declaration(database: Database, model: Model, snap: ModelSnap) -> SnapDeclaration:
    found: Assertion | None = database.find("snap-declaration", series=model.series, **{"snap-id": snap.snap_id or ""})
    if found is None:
        raise TrustError(f"cannot use package {snap.name!r}: no snap-declaration says who publishes {snap.snap_id}",
                         hint=f"sign it again: imagekit sign {snap.name}_REVISION.snap -k KEY")
    declaration = parse_snap_declaration(found)
    if declaration.snap_name != snap.name:
        raise TrustError(f"cannot use package {snap.name!r}: its snap-declaration names it {declaration.snap_name!r}")
    return declaration


def _missing(snap: ModelSnap, revisions: list[SnapRevision], available: Available) -> str:
    """What is at hand of a package that could not be resolved."""
    files = sorted(revision for name, revision in available if name == snap.name)
    signed = sorted(item.snap_revision for item in revisions)
    if files and signed:
        return f"{snap.name}: files of revision {_list(files)}, signed is {_list(signed)}"
    if files:
        return f"{snap.name}: files of revision {_list(files)}, none of them signed"
    if signed:
        return f"{snap.name}: signed is revision {_list(signed)}, no file of it"
    return f"{snap.name}: neither a file {snap.name}_REVISION.snap nor a signed revision"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _unsigned(database: Database, model: Model, available: Available) -> str | None:
    """The path of a package file whose revision nobody signed."""
    for snap in model.snaps:
        signed = {item.snap_revision for item in _revisions(database, snap)}
        for (name, revision), file in sorted(available.items()):
            if name == snap.name and revision not in signed:
                return file.path
    return None


def _nothing(model: Model, missing: list[str], *, unsigned: str | None) -> PlanError | TrustError:
    message = f"cannot resolve model {model.model!r}: "
    message += missing[0] if len(missing) == 1 else f"{len(missing)} packages are missing"
    details = () if len(missing) == 1 else tuple(missing)
    if unsigned is not None:
        return TrustError(message, details=details, hint=f"sign it: imagekit sign {unsigned} -k KEY")
    return PlanError(message, details=details, hint="name the folder that holds them: --packages DIR")
