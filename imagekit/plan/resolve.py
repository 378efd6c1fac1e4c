"""Resolve a model to the exact packages an image of it gets.

A package counts if a believed snap-revision names its snap-id and a file `NAME_REVISION.snap` of it is at hand; the
highest such revision wins, or the one that a validation set pins, and a file newer than that must be signed or taken
away, or an image would be made of something older than its maker believes. Grade dangerous takes files that nobody
signed, too; they are marked so wherever they go. It takes packages beside the model's as well (`imagekit.plan.extras`).
What a model demands that no image has is refused. Signatures are proved here, by the database; the digest itself is
checked by the builder, over the bytes that it writes. Nothing is opened: which files there are, and what unsigned ones
hold, comes in as `available`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from imagekit.assertions import (
    GLOBAL_UPLOAD,
    Chain,
    Database,
    Model,
    ModelSnap,
    Presence,
    SetPresence,
    SnapDeclaration,
    SnapRevision,
    Store,
    allowed,
    parse_snap_declaration,
    parse_snap_revision,
    parse_store,
)
from imagekit.digests import b64url
from imagekit.errors import DocumentError, PlanError, TrustError
from imagekit.plan.demands import refuse_unbuildable
from imagekit.plan.extras import check_extras
from imagekit.plan.sets import ResolvedSet, SetRule, combine, find_sets, violations

SEED_SUFFIX = ".zst"


def model_digest(model: Model) -> str:
    """What an image's identifiers derive from: SHA3-384 of the model's signed bytes, without the signature."""
    return b64url(hashlib.sha3_384(model.assertion.content).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a file that nobody signed was found to hold; `verity_root` of those that run from a slot."""

    sha3_384: str
    verity_root: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFile:
    """A package at hand: its path as text, its size, and the size of `PATH.zst` beside it, if there is one.

    A squashfs is compressed already: it goes into the seed as it is.
    """

    path: str
    size: int
    seed_size: int | None
    measured: Measured | None = None
    squashfs: bool = False

    @property
    def seed_path(self) -> str:
        return self.path if self.squashfs else self.path + SEED_SUFFIX


Available = Mapping[tuple[str, int], PackageFile]  # by name and revision


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedPackage:
    """One snap, the revision it gets, and the file that should hold it.

    `revision` and `declaration` are None for a file that nobody signed: then the digest is what was measured. `proofs`
    are the chains of both. An `extra` one is not the model's.
    """

    snap: ModelSnap
    number: int
    sha3_384: str
    size: int
    verity_root: str | None
    revision: SnapRevision | None
    declaration: SnapDeclaration | None
    file: PackageFile
    proofs: tuple[Chain, ...] = ()
    extra: bool = False

    @property
    def name(self) -> str:
        return self.snap.name

    @property
    def asserted(self) -> bool:
        """Whether somebody signed it."""
        return self.revision is not None

    @property
    def file_name(self) -> str:
        return f"{self.name}_{self.number}.snap"

    @property
    def seed_name(self) -> str:
        return self.file_name if self.file.squashfs else self.file_name + SEED_SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The model and its packages, those beside the model last; all signatures are proved."""

    model: Model
    chain: Chain
    packages: tuple[ResolvedPackage, ...]
    sets: tuple[ResolvedSet, ...] = ()
    store: Chain | None = None

    @property
    def proofs(self) -> tuple[Chain, ...]:
        """The chains of the packages' assertions."""
        return tuple(chain for package in self.packages for chain in package.proofs)

    @property
    def valid_until(self) -> datetime | None:
        """When the first of the keys ends that anything of it rests on: of the model, packages, sets and store."""
        chains = (self.chain, *self.proofs, *(item.chain for item in self.sets),
                  *((self.store,) if self.store is not None else ()))
        return min((key.until for chain in chains for key in chain.keys if key.until is not None), default=None)

    def of(self, snap: ModelSnap) -> ResolvedPackage:
        """The package of `snap`. Raises: PlanError: the model leaves it out of its list."""
        for package in self.packages:
            if package.name == snap.name:
                return package
        raise PlanError(f"cannot resolve model {self.model.model!r}: its list of snaps has no {snap.name!r}",
                        hint="add it to the model's snaps, with its id")


@dataclass(slots=True, kw_only=True)
class _Search:
    """What resolving one model looks into, and what it finds missing."""

    model: Model
    database: Database
    available: Available
    now: datetime
    store: Store | None
    missing: dict[str, str] = field(default_factory=dict)  # by name


def resolve(model: Model, database: Database, available: Available, *, now: datetime,
            extras: tuple[ModelSnap, ...] = ()) -> Resolution:
    """Find every package of the model, and those that were asked for beside it.

    Raises:
        TrustError: the model, a set or a package is not signed by whom it must be, a file is not what was signed, or
            the grade takes no extras.
        PlanError: a package or a set is missing, or the sets forbid the image; all such are told.
    """
    chain = database.verify(model.assertion, now=now)
    refuse_unbuildable(model)
    check_extras(model, extras)
    sets = find_sets(model, database, now=now)
    rules = combine(sets)
    if broken := violations(model, rules, extras=extras):
        raise PlanError(f"cannot resolve model {model.model!r}: its validation sets do not allow it"
                        + (f": {broken[0]}" if len(broken) == 1 else ""),
                        details=broken if len(broken) > 1 else (),
                        hint="mend the model's snaps, or name another set or sequence")
    store = database.believed("store", model.store, now=now) if model.store else None
    search = _Search(model=model, database=database, available=available, now=now,
                     store=parse_store(store.links[-1].assertion) if store else None)
    packages = [found for snap in model.snaps if (found := _package(search, snap, rules.of(snap))) is not None]
    packages += [replace(found, extra=True) for snap in extras
                 if (found := _package(search, snap, rules.of(snap))) is not None]
    if search.missing:
        raise _nothing(search)
    return Resolution(model=model, chain=chain, packages=tuple(packages), sets=sets, store=store)


def _package(search: _Search, snap: ModelSnap, rule: SetRule | None) -> ResolvedPackage | None:
    """The package of one snap; None if it is left out, or missing, which is noted."""
    if rule is not None and rule.presence is SetPresence.INVALID:
        return None
    revisions = _revisions(search, snap)
    if rule is not None and rule.revision is not None:
        chosen = next((item for item in revisions if item.snap_revision == rule.revision
                       and (snap.name, rule.revision) in search.available), None)
    else:
        chosen = next((item for item in revisions if (snap.name, item.snap_revision) in search.available), None)
        if allowed(search.model.grade).unasserted_snaps and (loose := _loose(search, snap, chosen)) is not None:
            return loose
    if chosen is None:
        if snap.presence is Presence.REQUIRED or (rule is not None and rule.presence is SetPresence.REQUIRED):
            search.missing[snap.name] = _missing(search, snap, revisions, rule)
        return None
    if rule is None or rule.revision is None:
        _refuse_doubt(search, snap, chosen, revisions)
    _refuse_twins(snap, chosen, revisions)
    if rule is not None and rule.components:
        raise PlanError(f"cannot use package {snap.name!r}: {rule.by} requires its component {rule.components[0]!r},"
                        " and components are not put into images yet",
                        hint="name another set or sequence in the model")
    return _signed(search, snap, chosen)


def _signed(search: _Search, snap: ModelSnap, chosen: SnapRevision) -> ResolvedPackage:
    """The package as its assertions describe it."""
    declared = search.database.believed("snap-declaration", search.model.series, chosen.snap_id, now=search.now)
    assert declared is not None  # or its revision would not be believed
    declaration = parse_snap_declaration(declared.links[-1].assertion)
    if declaration.snap_name != snap.name:
        raise TrustError(f"cannot use package {snap.name!r}: its snap-declaration names it {declaration.snap_name!r}")
    check_scope(search.model, search.store, chosen, declaration)
    proofs = (search.database.verify(chosen.assertion, now=search.now), declared)
    file = search.available[snap.name, chosen.snap_revision]
    if file.size != chosen.snap_size:
        raise TrustError(
            f"cannot use {file.path}: it has {file.size} bytes, the signed revision {chosen.snap_revision} has"
            f" {chosen.snap_size}", hint="the file was cut short or changed: fetch or pack it again")
    return ResolvedPackage(snap=snap, number=chosen.snap_revision, sha3_384=chosen.snap_sha3_384, size=chosen.snap_size,
                           verity_root=chosen.verity_root, revision=chosen, declaration=declaration, file=file,
                           proofs=proofs)


def _loose(search: _Search, snap: ModelSnap, chosen: SnapRevision | None) -> ResolvedPackage | None:
    """The newest file of a snap, if it was measured because nobody signed it and nothing signed is newer."""
    numbers = [number for name, number in search.available if name == snap.name]
    newest = max(numbers, default=0)
    if not numbers or (chosen is not None and chosen.snap_revision >= newest):
        return None
    file = search.available[snap.name, newest]
    if file.measured is None:
        return None
    return ResolvedPackage(snap=snap, number=newest, sha3_384=file.measured.sha3_384, size=file.size,
                           verity_root=file.measured.verity_root, revision=None, declaration=None, file=file)


def unsigned_files(model: Model, database: Database, available: Available, *,
                   extras: tuple[ModelSnap, ...] = ()) -> tuple[tuple[str, int], ...]:
    """The newest file of each snap that no snap-revision at hand speaks of, where the grade lets such files in."""
    if not allowed(model.grade).unasserted_snaps:
        return ()
    signed = {(item.text("snap-id"), item.text("snap-revision")) for item in database.all("snap-revision")}
    found = []
    for snap in (*model.snaps, *extras):
        newest = max((number for name, number in available if name == snap.name), default=0)
        if newest and (snap.snap_id is None or (snap.snap_id, str(newest)) not in signed):
            found.append((snap.name, newest))
    return tuple(found)


def check_scope(model: Model, store: Store | None, revision: SnapRevision, declaration: SnapDeclaration) -> None:
    """Raises: TrustError: a delegated revision that is not meant for this model."""
    if revision.provenance == GLOBAL_UPLOAD:
        return
    stores = {model.store, *(store.friendly_stores if store else ())}
    authority = revision.assertion.authority_id
    for item in declaration.revision_authorities:
        scope = item.scope
        if item.permits(authority, revision.provenance, revision.snap_revision) and (
                scope is None or ((not scope.stores or stores & {*scope.stores})
                                  and (not scope.brands or model.brand_id in scope.brands)
                                  and (not scope.models or f"{model.brand_id}/{model.model}" in scope.models))):
            return
    raise TrustError(f"cannot use package {declaration.snap_name!r}: {authority!r} may sign its revision"
                     f" {revision.snap_revision} of provenance {revision.provenance!r}, but not for model"
                     f" {model.brand_id}/{model.model}")


def _revisions(search: _Search, snap: ModelSnap) -> list[SnapRevision]:
    """The believed revisions of a snap, highest first.

    Raises:
        TrustError, DocumentError: a file at hand is newer than those, and what signs it is not believed.
    """
    found: list[SnapRevision] = []
    refused: list[tuple[int, TrustError | DocumentError]] = []
    for item in search.database.all("snap-revision"):
        if snap.snap_id is None or item.text("snap-id") != snap.snap_id:
            continue
        try:
            chain = search.database.believed("snap-revision", *item.primary_key, now=search.now)
        except (TrustError, DocumentError) as error:
            refused.append((int(item.text("snap-revision")), error))
        else:
            assert chain is not None
            found.append(parse_snap_revision(chain.links[-1].assertion))
    best = max((item.snap_revision for item in found if (snap.name, item.snap_revision) in search.available), default=0)
    for number, why in refused:
        if number > best and (snap.name, number) in search.available:
            raise why
    return sorted(found, key=lambda item: -item.snap_revision)


def _refuse_doubt(search: _Search, snap: ModelSnap, chosen: SnapRevision, revisions: list[SnapRevision]) -> None:
    """Raises: TrustError: a newer file is not signed."""
    number = chosen.snap_revision
    signed = {item.snap_revision for item in revisions}
    newer = [found for name, found in search.available if name == snap.name and found > number and found not in signed]
    if newer:
        path = search.available[snap.name, max(newer)].path
        raise TrustError(f"cannot use package {snap.name!r}: {path} is newer than revision {number}, the newest that is"
                         " signed and at hand", hint=f"sign it: imagekit sign {path} -k KEY; or take it away")


def _refuse_twins(snap: ModelSnap, chosen: SnapRevision, revisions: list[SnapRevision]) -> None:
    """Raises: TrustError: the number of the chosen revision was given twice."""
    number = chosen.snap_revision
    digests = sorted(item.snap_sha3_384 for item in revisions if item.snap_revision == number)
    if len(digests) > 1:
        raise TrustError(f"cannot use package {snap.name!r}: {len(digests)} packages are signed as its revision"
                         f" {number}, and they differ", hint="keep the assertion of one of them; a revision never"
                         " changes", details=tuple(digests))


def _missing(search: _Search, snap: ModelSnap, revisions: list[SnapRevision], rule: SetRule | None) -> str:
    """What is at hand of a package that could not be resolved."""
    files = sorted(revision for name, revision in search.available if name == snap.name)
    signed = sorted(item.snap_revision for item in revisions)
    wanted = f", {rule.by} pins revision {rule.revision}" if rule is not None and rule.revision is not None else ""
    if files and signed:
        return f"{snap.name}: files of revision {_list(files)}, signed is {_list(signed)}{wanted}"
    if files and snap.snap_id is None:
        return f"{snap.name}: the model gives it no id, and only grade dangerous takes packages without"
    if files:
        return f"{snap.name}: files of revision {_list(files)}, none of them signed{wanted}"
    if signed:
        return f"{snap.name}: signed is revision {_list(signed)}, no file of it{wanted}"
    return f"{snap.name}: neither a file {snap.name}_REVISION.snap nor a signed revision{wanted}"


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def _unsigned(search: _Search) -> str | None:
    """The path of a file of a missing package whose revision nobody signed."""
    stated = {(item.text("snap-id"), item.text("snap-revision")) for item in search.database.all("snap-revision")}
    return next((file.path for snap in search.model.snaps for (name, revision), file in sorted(search.available.items())
                 if name == snap.name in search.missing and (snap.snap_id, str(revision)) not in stated), None)


def _nothing(search: _Search) -> PlanError | TrustError:
    missing = tuple(search.missing.values())
    message = f"cannot resolve model {search.model.model!r}: "
    message += missing[0] if len(missing) == 1 else f"{len(missing)} packages are missing"
    details = () if len(missing) == 1 else missing
    if (unsigned := _unsigned(search)) is not None:
        return TrustError(message, details=details, hint=f"sign it: imagekit sign {unsigned} -k KEY")
    return PlanError(message, details=details, hint="name the folder that holds them: --packages DIR")
