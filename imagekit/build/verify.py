"""Look at assertion files and packages, and say of each whether it is believed.

Accounts, keys and declarations of all files help each other; what is asked about is judged by itself. A package is
believed if a believed snap-revision has its digest and size, and its file name is the name and revision stated there.
Nothing is raised for what a file holds: the findings say it, and `Report.raise_if_any` turns them into one error that
tells each cause once, however many assertions share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from imagekit.assertions import (
    GLOBAL_UPLOAD,
    SERIES,
    AccountKey,
    SnapRevision,
    parse_snap_declaration,
    parse_snap_revision,
)
from imagekit.assertions.database import Database
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.proof import AuthorityUnproven, Chain, Disbelief, Replaced, UnknownKey
from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.build.sign import PACKAGE_SUFFIX
from imagekit.build.unsquash import open_package
from imagekit.digests import sha3_384, short
from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError
from imagekit.host.files import read_file, reason
from imagekit.host.tools import LocalTools
from imagekit.host.trust import MAX_FILE
from imagekit.keys import PublicKey
from imagekit.packages.package import read_info
from imagekit.packages.snapyaml import parse_file_name

STDIN = Path("-")
CHAIN_TYPES = ("account", "account-key")  # what a document carries along to lead it back to a root


class State(StrEnum):
    VERIFIED = "verified"
    SELF_SIGNED = "self-signed"  # a request: whoever has the key signed it, and that is all there is to prove
    REPLACED = "replaced"  # a document carries it along, and a newer revision of it, in force, is at hand and counts
    UNPROVEN = "authority unproven"
    UNKNOWN_KEY = "unknown key"
    REFUSED = "refused"
    MALFORMED = "malformed"
    UNREADABLE = "unreadable"

    @property
    def good(self) -> bool:
        return self in (State.VERIFIED, State.SELF_SIGNED, State.REPLACED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is to be said of one assertion, package, or file that is neither. `cause` is `error` without the subject."""

    file: Path
    subject: str
    state: State
    assertion: Assertion | None = None
    chain: Chain | None = None
    error: ImagekitError | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why the findings of one state are not believed."""

    state: State
    text: str
    hint: str | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was looked at, in the order of the files, and the roots that it was held against."""

    findings: tuple[Finding, ...]
    roots: tuple[AccountKey, ...]
    now: datetime

    @property
    def verified(self) -> bool:
        return all(finding.state.good for finding in self.findings)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What is not believed, by what is wrong, in order of appearance."""
        groups: dict[tuple[State, str], list[Finding]] = {}
        for finding in self.findings:
            if finding.cause is not None:
                groups.setdefault((finding.state, finding.cause), []).append(finding)
        return tuple(Cause(state=state, text=text, hint=_hint(found), findings=tuple(found))
                     for (state, text), found in groups.items())

    def raise_if_any(self) -> None:
        """Raises: TrustError: something is not believed; DocumentError: it is malformed; HostError: unreadable."""
        failed = [finding for finding in self.findings if finding.error is not None]
        if not failed:
            return
        kind = next(kind for kind in (TrustError, DocumentError, HostError)
                    if any(isinstance(finding.error, kind) for finding in failed))
        causes = [cause for cause in self.causes if not cause.state.good]
        first = next(cause for cause in causes if isinstance(cause.findings[0].error, kind))
        if len(failed) == 1:
            assert failed[0].error is not None
            raise failed[0].error
        message = f"cannot verify {len(failed)} of {len(self.findings)} assertions and packages"
        if len(causes) == 1:
            raise kind(f"{message}: {first.text}", hint=first.hint)
        raise kind(message, hint=first.hint, details=tuple(f"{_subjects(cause)}: {cause.text}" for cause in causes))


def _hint(findings: Iterable[Finding]) -> str | None:
    return next((item.error.hint for item in findings if item.error is not None and item.error.hint), None)


def _subjects(cause: Cause) -> str:
    first = cause.findings[0].subject
    return first if len(cause.findings) == 1 else f"{first} and {len(cause.findings) - 1} more"


def examine(files: Iterable[Path], trusted: tuple[Assertion, ...], *, now: datetime,
            public_keys: tuple[PublicKey, ...] = (), stdin: BinaryIO | None = None) -> Report:
    """Judge every file; `-` is `stdin`, a stream of assertions.

    Raises:
        TrustError, DocumentError: what the user trusts is itself wrong.
    """
    database = Database(trusted, public_keys=public_keys)
    findings: list[Finding] = []
    paths = tuple(dict.fromkeys(files))
    loaded: dict[Path, tuple[Assertion, ...]] = {}
    for path in paths:
        companion = path.with_suffix(".assert") if path.suffix == PACKAGE_SUFFIX else path
        if companion in loaded or (companion != path and not companion.is_file()):
            continue
        try:
            loaded[companion] = _load(companion, stdin)
        except (DocumentError, HostError) as error:
            findings.append(_failed(companion, str(companion), error))
            loaded[companion] = ()
    refused = _add_all(database, loaded)
    for path in paths:
        if path.suffix == PACKAGE_SUFFIX:
            findings.append(_examine_package(path, database, now))
        else:
            findings += [refused.get((path, index)) or judge(path, assertion, database, now)
                         for index, assertion in enumerate(loaded.get(path, ()))]
    return Report(findings=_carried(findings), roots=database.roots, now=now)


def _carried(findings: list[Finding]) -> tuple[Finding, ...]:
    """Accounts and keys that a believed document carries along: a newer revision than theirs takes nothing from it.

    Alone in a file, or where the newer one ends the key, an older revision stays refused.
    """
    believed = {finding.file for finding in findings
                if finding.state.good and finding.assertion is not None and finding.assertion.type not in CHAIN_TYPES}
    return tuple(replace(finding, state=State.REPLACED, error=None)
                 if isinstance(finding.error, Replaced) and not finding.error.ended and finding.file in believed
                 and finding.assertion is not None and finding.assertion.type in CHAIN_TYPES
                 else finding for finding in findings)


def _load(path: Path, stdin: BinaryIO | None) -> tuple[Assertion, ...]:
    if path != STDIN or stdin is None:
        return decode_stream(read_file(path, limit=MAX_FILE), name=str(path))
    raw = stdin.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise DocumentError(f"cannot read stdin: larger than {MAX_FILE} bytes")
    return decode_stream(raw, name="stdin")


def _add_all(database: Database, loaded: Mapping[Path, tuple[Assertion, ...]]) -> dict[tuple[Path, int], Finding]:
    """Fill the database; what it does not take is a finding already, by file and place."""
    refused = {}
    for path, assertions in loaded.items():
        for index, assertion in enumerate(assertions):
            if not kind_of(assertion.type).has_authority:
                continue
            try:
                database.add(assertion)
            except TrustError as error:
                refused[path, index] = _failed(path, assertion.label, error, assertion)
    return refused


def judge(path: Path, assertion: Assertion, database: Database, now: datetime) -> Finding:
    """What is to be said of one assertion."""
    try:
        chain = database.verify(assertion, now=now)
    except (TrustError, DocumentError) as error:
        return _failed(path, assertion.label, error, assertion)
    state = State.SELF_SIGNED if chain.links[-1].signer is None else State.VERIFIED
    return Finding(file=path, subject=assertion.label, state=state, assertion=assertion, chain=chain)


def _examine_package(path: Path, database: Database, now: datetime) -> Finding:
    subject = f"package {path.name}"
    try:
        assertion, chain = _verify_package(path, database, now)
    except (TrustError, DocumentError, HostError) as error:
        return _failed(path, subject, error)
    return Finding(file=path, subject=subject, state=State.VERIFIED, assertion=assertion, chain=chain)


def _verify_package(path: Path, database: Database, now: datetime) -> tuple[Assertion, Chain]:
    name, number = parse_file_name(path.name)
    try:
        with path.open("rb") as stream:
            digest = sha3_384(stream)
            size = stream.tell()
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    chain = _revision_of(path, digest, database, now)
    assertion = chain.links[-1].assertion
    revision = parse_snap_revision(assertion)
    declared = database.believed("snap-declaration", SERIES, revision.snap_id, now=now)
    known_as = parse_snap_declaration(declared.links[-1].assertion).snap_name if declared else revision.snap_id
    if (known_as, revision.snap_revision, revision.snap_size) != (name, number, size):
        raise TrustError(f"cannot believe {path}: it is signed as revision {revision.snap_revision} of {known_as!r}"
                         f" with {revision.snap_size} bytes, and has {size} bytes",
                         hint="give it back the name that it was signed with")
    _check_provenance(path, revision)
    return assertion, chain


def _check_provenance(path: Path, revision: SnapRevision) -> None:
    """What the package says of its provenance is what it is signed under.

    Under the default one, which roots sign themselves, it is only asked of packages that can be looked into.

    Raises:
        TrustError: it says something else, so that whoever signed it may not have been entitled to.
        DocumentError, HostError: it is signed under another provenance, and cannot be looked into.
    """
    try:
        with open_package(path, name=str(path), tools=LocalTools()) as inside:
            found = read_info(inside).provenance or GLOBAL_UPLOAD
    except (DocumentError, HostError):
        if revision.provenance != GLOBAL_UPLOAD:
            raise
        return
    if found != revision.provenance:
        raise TrustError(f"cannot believe {path}: its snap.yaml says provenance {found!r}, it is signed under"
                         f" {revision.provenance!r}")


def _revision_of(path: Path, digest: str, database: Database, now: datetime) -> Chain:
    """The proof of a snap-revision with this digest, of whatever provenance."""
    first: TrustError | DocumentError | None = None
    for provenance in sorted({item.text("provenance") for item in database.all("snap-revision")
                              if item.text("snap-sha3-384") == digest}):
        try:
            chain = database.believed("snap-revision", digest, provenance, now=now)
        except (TrustError, DocumentError) as error:
            first = first or error
        else:
            if chain is not None:
                return chain
    raise first or TrustError(f"cannot believe {path}: no snap-revision at hand has its digest {short(digest)}",
                              hint=f"it was changed, or never signed: imagekit sign {path} -k KEY")


def _failed(path: Path, subject: str, error: ImagekitError, assertion: Assertion | None = None) -> Finding:
    state = (State.UNPROVEN if isinstance(error, AuthorityUnproven)
             else State.UNKNOWN_KEY if isinstance(error, UnknownKey)
             else State.REFUSED if isinstance(error, TrustError)
             else State.UNREADABLE if isinstance(error, HostError) else State.MALFORMED)
    cause = error.message
    if isinstance(error, Disbelief):
        cause = error.cause if error.label == subject or state != State.REFUSED else f"{error.label}: {error.cause}"
    return Finding(file=path, subject=subject, state=state, assertion=assertion, error=error, cause=cause)
