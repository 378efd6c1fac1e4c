"""Read the seed of an image: how far its signatures are believed, and what its packages really hold.

Nothing is raised for what the seed holds; what is wrong is in the values, and `imagekit.plan.verdicts` says how grave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from imagekit.assertions import (
    SERIES,
    Assertion,
    Database,
    Grade,
    Model,
    SnapRevision,
    parse_model,
    parse_snap_declaration,
    parse_snap_revision,
    parse_store,
)
from imagekit.build.imagefile import pieces
from imagekit.build.verify import Finding, Report, State, judge
from imagekit.digests import b64url
from imagekit.disk.probe import DiskImage
from imagekit.errors import DocumentError, PlanError, TrustError
from imagekit.host.ports import Progress
from imagekit.packages.forward import PACKED_WINDOW
from imagekit.plan.inspection import Named, SeedFile, SeedFound, SetsFound, Signature
from imagekit.plan.resolve import check_scope
from imagekit.plan.seed_read import Measured, Seed, SeedPackage, read_seed
from imagekit.plan.sets import broken, combine, find_sets

Believed = dict[tuple[str, int], tuple[SnapRevision, bool]]  # snap-id and number -> the revision, and whether it is


def look_at_seed(stream: BinaryIO, image: DiskImage, *, trusted: Iterable[Assertion], now: datetime,
                 progress: Progress | None) -> SeedFound:
    """What is in the seed; packages are only read with a `progress` to tell it.

    Raises:
        TrustError, DocumentError: what the user trusts is itself wrong.
    """
    database = Database(trusted)
    try:
        seed = read_seed(stream, image, name="the image")
        packages, measured = seed.packages(), seed.measured()
    except DocumentError as error:
        return SeedFound(problem=error.message, model=None, model_state=State.MALFORMED, model_cause=None,
                         signatures=(), known=(), files=())
    problem = ""
    try:
        model: Model | None = parse_model(seed.model)
    except DocumentError as error:
        model, problem = None, error.message
    findings = _judge_all(seed, database, now)
    if model is not None:
        findings = [_for_model(item, model, database, now) for item in findings]
    revisions = _revisions(findings)
    loose = {(item.name, item.revision): item for item in measured
             if model is not None and model.grade is Grade.DANGEROUS}
    own = next(item for item in findings if item.assertion == seed.model)
    names = _names(seed, model)
    files = tuple(_look_at_package(seed, item, _ids(item.name, names, model), revisions, loose, progress)
                  for item in packages)
    return SeedFound(
        problem=problem, model=model, model_state=own.state, model_cause=own.cause,
        signatures=_signatures([item for item in findings if item is not own], now),
        known=_known(revisions, loose.values(), names), files=files,
        sets=SetsFound() if model is None else _look_at_sets(model, database, packages, now))


def _look_at_sets(model: Model, database: Database, packages: Iterable[SeedPackage], now: datetime) -> SetsFound:
    """The model's validation sets, as the seed has them, and its packages held to them."""
    try:
        sets = find_sets(model, database, now=now)
        rules = combine(sets)
    except (TrustError, DocumentError, PlanError) as error:
        return SetsFound(problem="; ".join((error.message, *error.details)))
    return SetsFound(names=tuple(item.name for item in sets),
                     broken=broken(model, rules, ((item.name, item.revision) for item in packages)))


def _judge_all(seed: Seed, database: Database, now: datetime) -> list[Finding]:
    """A finding for every assertion; one that the database does not take is refused."""
    taken: list[Assertion] = []
    findings: list[Finding] = []
    where = Path(seed.folder)
    for assertion in {item.encode(): item for item in seed.assertions}.values():
        try:
            database.add(assertion)
            taken.append(assertion)
        except (TrustError, DocumentError) as error:
            findings.append(Finding(file=where, subject=assertion.label, state=State.REFUSED, assertion=assertion,
                                    error=error, cause=error.message))
    return [*findings, *(judge(where, assertion, database, now) for assertion in taken)]


def _for_model(finding: Finding, model: Model, database: Database, now: datetime) -> Finding:
    """A delegated revision that is meant for other models is not believed here."""
    found = finding.assertion
    if found is None or found.type != "snap-revision" or not finding.state.good:
        return finding
    revision = parse_snap_revision(found)
    declared = database.believed("snap-declaration", SERIES, revision.snap_id, now=now)
    store = None
    with suppress(TrustError, DocumentError):  # a finding already
        store = database.believed("store", model.store, now=now) if model.store else None
    try:
        if declared is not None:
            check_scope(model, None if store is None else parse_store(store.links[-1].assertion), revision,
                        parse_snap_declaration(declared.links[-1].assertion))
    except TrustError as error:
        return replace(finding, state=State.REFUSED, error=error, cause=error.message)
    return finding


def _signatures(findings: list[Finding], now: datetime) -> tuple[Signature, ...]:
    """Those that are believed together, the others by what is wrong."""
    good = tuple(item.subject for item in findings if item.state.good)
    causes = Report(findings=tuple(findings), roots=(), now=now).causes
    return (*([Signature(state=State.VERIFIED, cause=None, subjects=good)] if good else []),
            *(Signature(state=item.state, cause=item.text, subjects=tuple(found.subject for found in item.findings))
              for item in causes))


def _revisions(findings: Iterable[Finding]) -> Believed:
    """The snap-revisions, a believed one before another of the same number."""
    found: Believed = {}
    for item in findings:
        if item.assertion is None or item.assertion.type != "snap-revision":
            continue
        with suppress(DocumentError):  # a finding already
            revision = parse_snap_revision(item.assertion)
            key = (revision.snap_id, revision.snap_revision)
            if item.state.good or key not in found:
                found[key] = (revision, item.state.good)
    return found


def _names(seed: Seed, model: Model | None) -> dict[str, str]:
    """The names of snaps by their ids: the model's word counts, else the declaration's."""
    names: dict[str, str] = {}
    for assertion in seed.assertions:
        if assertion.type == "snap-declaration":
            with suppress(DocumentError):
                declared = parse_snap_declaration(assertion)
                names[declared.snap_id] = declared.snap_name
    names.update((snap.snap_id, snap.name) for snap in (model.snaps if model else ()) if snap.snap_id)
    return names


def _ids(name: str, names: dict[str, str], model: Model | None) -> tuple[str, ...]:
    """The ids that a package of this name may have: the model's, who alone decides where it names one."""
    meant = tuple(snap.snap_id for snap in (model.snaps if model else ()) if snap.name == name and snap.snap_id)
    return meant or tuple(found for found, known in names.items() if known == name)


def _known(revisions: Believed, loose: Iterable[Measured], names: dict[str, str]) -> tuple[Named, ...]:
    """Everything with a root that a slot may hold."""
    return (*(Named(root=revision.verity_root, name=names.get(revision.snap_id, revision.snap_id), believed=good,
                    revision=revision.snap_revision, asserted=True, snap_id=revision.snap_id)
              for revision, good in revisions.values() if revision.verity_root is not None),
            *(Named(root=item.root, name=item.name, revision=item.revision, asserted=False, believed=False)
              for item in loose if item.root is not None))


def _look_at_package(seed: Seed, package: SeedPackage, ids: Iterable[str], revisions: Believed,
                     loose: dict[tuple[str, int], Measured], progress: Progress | None) -> SeedFile:
    stated, believed, most = None, False, None
    for snap_id in ids:
        if (snap_id, package.revision) in revisions:
            revision, believed = revisions[snap_id, package.revision]
            stated, most = revision.snap_sha3_384, revision.snap_size
    if stated is None and (measured := loose.get((package.name, package.revision))) is not None:
        stated = measured.sha3_384
    digest, problem = None, ""
    if progress is not None and stated is not None:
        progress.step(f"read {package.path.rpartition('/')[2]} of the seed", total=most)
        try:
            digest = _digest(seed, package, most, progress)
        except DocumentError as error:
            problem = error.message
    return SeedFile(name=package.name, revision=package.revision, path=package.path, stated=stated, believed=believed,
                    digest=digest, problem=problem)


def _digest(seed: Seed, package: SeedPackage, most: int | None, progress: Progress) -> str:
    """SHA3-384 of what a package unpacks to, read no further than just past what was signed.

    Raises:
        DocumentError: it is no zstd, or the file system of the seed is damaged.
    """
    import zstandard

    digest = hashlib.sha3_384()
    limit = (1 << 40) if most is None else most + 1
    with seed.volume.open(package.path) as raw:
        reader: BinaryIO = raw
        if package.compressed:
            unpacker = zstandard.ZstdDecompressor(max_window_size=PACKED_WINDOW)
            reader = unpacker.stream_reader(raw, read_across_frames=True, closefd=False)
        try:
            for chunk in pieces(reader, limit):
                digest.update(chunk)
                progress.advance(len(chunk))
        except zstandard.ZstdError as error:
            raise DocumentError(f"cannot unpack {package.path}: {error}") from error
    return b64url(digest.digest())
