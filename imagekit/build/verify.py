"""Look at assertion files and packages, and say of each whether it is believed.

Accounts, keys and declarations of all files help each other; what is asked about is judged by itself. A package is
believed if a believed snap-revision has its digest and size, and its file name is the name and revision stated there.
Nothing is raised for what a file holds: the findings say it, and `Report.raise_if_any` turns them into one error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from imagekit.assertions.database import AuthorityUnproven, Chain, Database, UnknownKey
from imagekit.assertions.types import parse_snap_declaration, parse_snap_revision
from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.build.sign import PACKAGE_SUFFIX
from imagekit.digests import sha3_384, short
from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError
from imagekit.host.files import reason
from imagekit.host.trust import read_bounded
from imagekit.packages.snapyaml import parse_file_name


class State(StrEnum):
    VERIFIED = "verified"
    UNPROVEN = "authority unproven"
    UNKNOWN_KEY = "unknown key"
    REFUSED = "refused"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is to be said of one assertion, package, or file that is neither."""

    file: Path
    subject: str
    state: State
    assertion: Assertion | None = None
    chain: Chain | None = None
    error: ImagekitError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was looked at, in the order of the files."""

    findings: tuple[Finding, ...]

    @property
    def verified(self) -> bool:
        return all(finding.state == State.VERIFIED for finding in self.findings)

    def raise_if_any(self) -> None:
        """Raises: TrustError: something is not believed; DocumentError: something is malformed, and no worse."""
        errors = [finding.error for finding in self.findings if finding.error is not None]
        if not errors:
            return
        worst = next((error for error in errors if isinstance(error, TrustError)), errors[0])
        if len(errors) == 1:
            raise worst
        raise type(worst)(f"cannot verify {len(errors)} of {len(self.findings)} assertions and packages",
                          hint=worst.hint, details=tuple(error.message for error in errors)) from worst


def examine(files: Iterable[Path], trusted: tuple[Assertion, ...], *, now: datetime) -> Report:
    """Judge every file.

    Raises:
        HostError: a file cannot be read.
        TrustError, DocumentError: what the user trusts is itself wrong.
    """
    database = Database(trusted)
    loaded: dict[Path, tuple[Assertion, ...]] = {}
    findings: list[Finding] = []
    paths = tuple(files)
    for path in paths:
        companion = path.with_suffix(".assert") if path.suffix == PACKAGE_SUFFIX else path
        if companion in loaded or (companion != path and not companion.is_file()):
            continue
        try:
            loaded[companion] = decode_stream(read_bounded(companion), name=str(companion))
        except DocumentError as error:
            findings.append(_failed(companion, str(companion), error))
            loaded[companion] = ()
    findings += _add_all(database, loaded)
    for path in paths:
        if path.suffix == PACKAGE_SUFFIX:
            findings.append(_examine_package(path, database, now))
        else:
            findings += [_examine(path, assertion, database, now) for assertion in loaded.get(path, ())]
    return Report(findings=tuple(findings))


def _add_all(database: Database, loaded: dict[Path, tuple[Assertion, ...]]) -> list[Finding]:
    """Fill the database. Two models of one name may stand side by side here: each is judged by itself."""
    findings = []
    for path, assertions in loaded.items():
        for assertion in assertions:
            try:
                database.add(assertion)
            except (TrustError, DocumentError) as error:
                if assertion.type != "model":
                    findings.append(_failed(path, assertion.label, error, assertion))
    return findings


def _examine(path: Path, assertion: Assertion, database: Database, now: datetime) -> Finding:
    try:
        chain = database.verify(assertion, now=now)
    except (TrustError, DocumentError) as error:
        return _failed(path, assertion.label, error, assertion)
    return Finding(file=path, subject=assertion.label, state=State.VERIFIED, assertion=assertion, chain=chain)


def _examine_package(path: Path, database: Database, now: datetime) -> Finding:
    try:
        assertion, chain = _verify_package(path, database, now)
    except (TrustError, DocumentError) as error:
        return _failed(path, f"package {path.name}", error)
    return Finding(file=path, subject=f"package {path.name}", state=State.VERIFIED, assertion=assertion, chain=chain)


def _verify_package(path: Path, database: Database, now: datetime) -> tuple[Assertion, Chain]:
    name, number = parse_file_name(path.name)
    try:
        with path.open("rb") as stream:
            digest = sha3_384(stream)
            size = stream.tell()
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    assertion = database.find("snap-revision", **{"snap-sha3-384": digest})
    if assertion is None:
        raise TrustError(f"cannot believe {path}: no snap-revision at hand has its digest {short(digest)}",
                         hint=f"it was changed, or never signed: imagekit sign {path} -k KEY")
    chain = database.verify(assertion, now=now)
    revision = parse_snap_revision(assertion)
    declared = database.find("snap-declaration", **{"snap-id": revision.snap_id})
    known_as = parse_snap_declaration(declared).snap_name if declared else revision.snap_id
    if (known_as, revision.snap_revision, revision.snap_size) != (name, number, size):
        raise TrustError(f"cannot believe {path}: it is signed as revision {revision.snap_revision} of {known_as!r}"
                         f" with {revision.snap_size} bytes", hint="give it back the name that it was signed with")
    return assertion, chain


def _failed(path: Path, subject: str, error: ImagekitError, assertion: Assertion | None = None) -> Finding:
    state = (State.UNPROVEN if isinstance(error, AuthorityUnproven)
             else State.UNKNOWN_KEY if isinstance(error, UnknownKey)
             else State.REFUSED if isinstance(error, TrustError) else State.MALFORMED)
    return Finding(file=path, subject=subject, state=state, assertion=assertion, error=error)
