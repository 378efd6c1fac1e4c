"""Sign files: drafts of assertions, and packages.

    NAME.yaml, NAME.json   ->  NAME.TYPE          a model or validation-set with all that proves it
    NAME_REVISION.snap     ->  NAME_REVISION.assert  accounts, keys, snap-declaration and snap-revision

A package with a `provenance` is another's to declare: its snap-declaration lies in NAME.snap-declaration beside it,
with what proves it, and lets this account sign such revisions; here the snap-revision alone is made.

Decides what is written from the values of `imagekit.assertions`; nothing is written that the user's own roots of trust
would not lead back to a root. Signing a package again that has not changed leaves its file as it is; one that has is
refused under its old revision.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from imagekit.assertions import GLOBAL_UPLOAD, AccountKey, parse_account_key, parse_snap_declaration
from imagekit.assertions.database import Database
from imagekit.assertions.drafts import check_draft, complete, parse_draft
from imagekit.assertions.fields import format_time, parse_time
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import declaration_headers, revision_headers, sign
from imagekit.assertions.wire import Assertion, decode_stream, encode_stream, unarmor
from imagekit.build.unsquash import open_package
from imagekit.digests import sha3_384
from imagekit.disk import verity
from imagekit.errors import DocumentError, HostError, PlanError, TrustError, UsageError
from imagekit.host.files import read_file, reason, write_atomic
from imagekit.host.tools import LocalTools
from imagekit.host.trust import MAX_FILE
from imagekit.keys import Signer, verify_signature
from imagekit.packages.package import PackageFormat, read_info
from imagekit.packages.snapvalues import VERITY_TYPES
from imagekit.packages.snapyaml import SnapInfo, parse_file_name

PACKAGE_SUFFIX = ".snap"
PROVED_TYPES = ("model", "validation-set")  # written with all that leads to them


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who speaks: a key, the account-key that says whose it is, and everything the user trusts."""

    key: Signer
    account_key: AccountKey
    trusted: tuple[Assertion, ...]

    @property
    def account_id(self) -> str:
        return self.account_key.account_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A file that was signed. `unchanged`: the result was there already."""

    source: Path
    path: Path
    assertions: tuple[Assertion, ...]
    unchanged: bool = False


def authority_for(key: Signer, trusted: tuple[Assertion, ...], *, name: str) -> Authority:
    """Find whose key it is.

    Raises:
        TrustError: no account-key in the folders of trust has it.
    """
    account_key = Database(trusted).find("account-key", **{"public-key-sha3-384": key.public.key_id})
    if account_key is None:
        raise TrustError(f"cannot sign with key {name!r}: no account-key in your folders of trust says whose it is",
                         hint="name the folder that holds its account-key with --trust")
    return Authority(key=key, account_key=parse_account_key(account_key), trusted=trusted)


def sign_file(path: Path, authority: Authority, *, output: Path | None, timestamp: datetime, now: datetime,
              taken: Collection[Path] = ()) -> Signed:
    """Sign a package or a draft. `timestamp` is for what has none of its own, `now` for verifying the result.

    `taken` are results that this one may not replace.

    Raises:
        DocumentError, TrustError, PlanError, HostError, UsageError: nothing was written then.
    """
    if path.suffix == PACKAGE_SUFFIX:
        return sign_package(path, authority, output=output, timestamp=timestamp, now=now, taken=taken)
    return sign_draft(path, authority, output=output, timestamp=timestamp, now=now, taken=taken)


def sign_draft(path: Path, authority: Authority, *, output: Path | None, timestamp: datetime, now: datetime,
               taken: Collection[Path] = ()) -> Signed:
    """Sign headers in YAML or JSON; see `sign_file`."""
    raw = read_file(path, limit=MAX_FILE)
    refuse_signed(raw, path)
    drafted = parse_draft(raw, name=str(path))
    headers = complete(drafted, account_id=authority.account_id, timestamp=timestamp)
    checked = check_draft(drafted, headers, key=authority.key.public)
    target = _target(path, output, f"{path.stem}.{checked.type}", taken)
    own = checked.text("timestamp")  # an account-key and a system-user have none: when they begin says nothing here
    created = parse_time(own) if own else timestamp
    if not authority.account_key.valid_at(created):
        until = authority.account_key.until
        end = f" and ends {format_time(until)}" if until else ""
        raise TrustError(f"cannot sign {path}: its time {format_time(created)} is not within the validity of the key,"
                         f" which begins {format_time(authority.account_key.since)}{end}",
                         hint="leave the timestamp out, or make a key with `imagekit key create NAME --since TIME`")
    assertion = sign(headers, key=authority.key, created=created, body=drafted.body)
    proof = _prove((assertion,), authority, now)
    found = (assertion, *proof) if assertion.type in PROVED_TYPES else (assertion,)
    write_atomic(target, encode_stream(found))
    return Signed(source=path, path=target, assertions=found)


def refuse_signed(raw: bytes, path: Path) -> None:
    """Raises: DocumentError: assertions, which are signed already."""
    try:
        found = decode_stream(raw, name=str(path)) if raw.startswith(b"type: ") else ()
    except DocumentError:  # a draft
        return
    if found:
        raise DocumentError(f"cannot sign {path}: it is signed already, a {found[0].type} of {found[0].authority_id}",
                            hint="sign the YAML or JSON that it was made of")


def sign_package(path: Path, authority: Authority, *, output: Path | None, timestamp: datetime, now: datetime,
                 taken: Collection[Path] = ()) -> Signed:
    """Sign the digest of a package, and the root of its hash tree if it runs from a slot; see `sign_file`."""
    name, number = parse_file_name(path.name)
    target = _target(path, output, f"{path.stem}.assert", taken)
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = sha3_384(stream)
            info, inner = _look_inside(path, name)
            root = None if inner is None else _verity_root(stream, path, digest, size, inner=inner)
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    before = _signed_before(target, authority)
    others: tuple[Assertion, ...] = ()
    if info.provenance:
        declared, others = _declared_elsewhere(path, info, number, authority, now)
    else:
        _refuse_vouched(path, authority)
        since = authority.account_key.since
        declaration = declaration_headers(authority.account_id, name, timestamp=since)
        declared = _kept(declaration, before) or sign(declaration, key=authority.key, created=since)
    revision = revision_headers(authority.account_id, declared.text("snap-id"), number, sha3_384=digest, size=size,
                                timestamp=timestamp, provenance=info.provenance or GLOBAL_UPLOAD, verity_root=root)
    _refuse_other_file(target, revision, before)
    found = (declared, _kept(revision, before) or sign(revision, key=authority.key, created=timestamp))
    result = (*_prove(found, authority, now, others=others), *found)
    unchanged = target.is_file() and target.read_bytes() == encode_stream(result)
    if not unchanged:
        write_atomic(target, encode_stream(result))
    return Signed(source=path, path=target, assertions=result, unchanged=unchanged)


def _refuse_vouched(path: Path, authority: Authority) -> None:
    """Raises: TrustError: the account is no root, and nobody else may declare a package."""
    store = authority.account_key.assertion.authority_id
    if store != authority.account_id:
        raise TrustError(f"cannot sign {path}: {authority.account_id!r} is no root of trust, so its packages are for"
                         f" {store!r}, which vouches for it, to declare and sign",
                         hint=f"have {store!r} sign it; or let it declare the package with a revision-authority for"
                         f" {authority.account_id!r}, and give the snap.yaml that provenance")


def _look_inside(path: Path, name: str) -> tuple[SnapInfo, int | None]:
    """What the package says of itself, and the size of a file system that runs from a slot; a squashfs never does."""
    with open_package(path, name=str(path), tools=LocalTools()) as package:
        info, inner, can_run = read_info(package), package.size, package.format is PackageFormat.EROFS
    if info.name != name:
        raise DocumentError(f"cannot sign {path}: its meta/snap.yaml says that it is {info.name!r}",
                            hint=f"name the file {info.name}_REVISION.snap")
    return info, inner if info.type in VERITY_TYPES and can_run else None


def _verity_root(stream: BinaryIO, path: Path, digest: str, size: int, *, inner: int) -> str:
    """The root hash of what runs from a slot."""
    if inner != size:
        raise DocumentError(f"cannot sign {path}: it has {size} bytes, its file system {inner}")
    stream.seek(0)
    salt, uuid = verity.salt_for(digest), verity.uuid_for(digest)
    return verity.build_tree(stream, size, salt=salt, uuid=uuid).root_hash


def _declared_elsewhere(path: Path, info: SnapInfo, number: int, authority: Authority,
                        now: datetime) -> tuple[Assertion, tuple[Assertion, ...]]:
    """The snap-declaration that lets this account sign a revision of that provenance, and what lies beside it.

    Raises:
        TrustError: there is none, it is not believed, or it does not let this account.
    """
    beside = path.with_name(f"{info.name}.snap-declaration")
    begin = f"cannot sign {path}: its snap.yaml says provenance {info.provenance!r}"
    if not beside.is_file():
        raise TrustError(f"{begin}, so its snap-declaration must let {authority.account_id!r} sign it, and there is no"
                         f" {beside.name}", hint="put there the declaration that the store signed, with the accounts"
                         " and keys that prove it; or take the provenance out of the snap.yaml")
    found = decode_stream(read_file(beside, limit=MAX_FILE), name=str(beside))
    declared = [item for item in found if item.type == "snap-declaration" and item.text("snap-name") == info.name]
    if len(declared) != 1:
        raise TrustError(f"{begin}, and {beside} has {len(declared)} snap-declarations of {info.name}, one is needed")
    database = Database(authority.trusted)
    for item in found:
        database.add(item)
    database.verify(declared[0], now=now)
    value = parse_snap_declaration(declared[0])
    if not any(item.permits(authority.account_id, info.provenance, number) for item in value.revision_authorities):
        listed = [f"{item.account_id} ({', '.join(item.provenances)})" for item in value.revision_authorities]
        raise TrustError(f"{begin}, and its snap-declaration does not let {authority.account_id!r} sign revision"
                         f" {number} of that", hint=f"it lets sign: {', '.join(listed) or 'nobody else'}")
    return declared[0], tuple(item for item in found if item is not declared[0])


def _refuse_other_file(target: Path, revision: Mapping[str, Header], before: list[Assertion]) -> None:
    """
    Raises:
        PlanError: it was said with a good signature that this revision of the package is another file.
    """
    named = ("authority-id", "snap-id", "snap-revision")
    for item in before:
        same = item.type == "snap-revision" and all(item.headers.get(name) == revision[name] for name in named)
        if same and item.headers.get("snap-sha3-384") != revision["snap-sha3-384"]:
            raise PlanError(f"cannot sign {target.stem}.snap: {target} says that another file is this revision, and a"
                            " revision never changes",
                            hint=f"raise its revision; or delete {target}, if nobody else has seen it")


def _kept(headers: Mapping[str, Header], before: list[Assertion]) -> Assertion | None:
    """What says the same already, a snap-revision perhaps at another time; so nobody is asked for a PIN again."""
    return next((item for item in before if _said(item.headers) == _said(headers)), None)


def _said(headers: Mapping[str, Header]) -> dict[str, Header]:
    left_out = {"sign-key-sha3-384", *(("timestamp",) if headers["type"] == "snap-revision" else ())}
    return {name: value for name, value in headers.items() if name not in left_out}


def _signed_before(target: Path, authority: Authority) -> list[Assertion]:
    """What in `target` was signed by this key; a broken file has nothing, and is replaced by a good one."""
    found = []
    try:
        for item in decode_stream(read_file(target, limit=MAX_FILE), name=str(target)) if target.is_file() else ():
            if item.type in ("snap-declaration", "snap-revision") and item.key_id == authority.key.public.key_id:
                verify_signature(authority.key.public, item.content, unarmor(item.signature, what="signature"))
                found.append(item)
    except (DocumentError, TrustError):
        return []
    return found


def _prove(found: tuple[Assertion, ...], authority: Authority, now: datetime, *,
           others: tuple[Assertion, ...] = ()) -> tuple[Assertion, ...]:
    """Verify what was signed as its reader will; the accounts and keys that this takes, of `others` too.

    Among them are the accounts of all who speak or are named, as far as they are at hand, and what proves those.
    """
    database = Database(authority.trusted)
    for assertion in others:
        database.add(assertion)
    proof: dict[bytes, Assertion] = {}
    for assertion in found:
        if assertion.type in ("snap-declaration", "snap-revision"):
            database.add(assertion)
        chain = database.verify(assertion, now=now)
        for item in chain.assertions[:-1]:
            if item not in found:
                proof[item.content] = item
    return tuple(sorted(proof.values(), key=lambda item: (item.type, item.primary_key)))


def _target(source: Path, output: Path | None, name: str, taken: Collection[Path]) -> Path:
    """Where the result goes. Raises: UsageError: it would replace what is signed, or another result."""
    target = source.with_name(name) if output is None else output / name if output.is_dir() else output
    if target.exists() and target.samefile(source):
        raise UsageError(f"cannot sign {source}: the result {target} would take its place",
                         hint="name another file, or a folder, with -o")
    if target in taken:
        raise UsageError(f"cannot sign {source}: {target} is the result of another of these files",
                         hint="sign them one by one, each with an -o of its own")
    return target
