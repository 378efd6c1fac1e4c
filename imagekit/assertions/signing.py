"""Making assertions: headers and a key in, one signed assertion out.

What is signed has been held to the rules of its type before the key is used, and is verified after. Time comes in as a
parameter; with equal arguments the bytes are equal. Whether anybody will believe the key is not asked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from imagekit.assertions.careful import check_careful
from imagekit.assertions.fields import format_time
from imagekit.assertions.headers import Header
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.snaps import GLOBAL_UPLOAD, SERIES, snap_id
from imagekit.assertions.types import PARSERS
from imagekit.assertions.wire import Assertion, armor, decode_one, encode_content
from imagekit.errors import DocumentError
from imagekit.keys import PublicKey, Signer, sign_content
from imagekit.schema import DocumentProblems, Problem

_PLACE = armor(b"\x01 stands where the signature will be")


def draft(headers: Mapping[str, Header], *, key: PublicKey, body: bytes = b"") -> Assertion:
    """The assertion that `key` would sign, held to all rules, its signature a mere stand-in.

    Raises:
        DocumentError: it breaks the rules of its type, or the type has none here.
    """
    kind = kind_of(str(headers.get("type"))).name
    if kind not in PARSERS:
        raise DocumentError(f"cannot sign {kind}: its rules are not known, only those of {', '.join(PARSERS)}")
    content = encode_content({**headers, "sign-key-sha3-384": key.key_id}, body)
    assertion = decode_one(content + b"\n\n" + _PLACE + b"\n", name=kind)
    problems: dict[Problem, None] = {}  # in order, each once
    for check in (PARSERS[kind], check_careful):
        try:
            check(assertion)
        except DocumentProblems as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise DocumentProblems(next(iter(problems)).name, tuple(problems))
    return assertion


def sign(headers: Mapping[str, Header], *, key: Signer, created: datetime, body: bytes = b"") -> Assertion:
    """Sign headers and body; `sign-key-sha3-384` and `body-length` are set here.

    Raises:
        DocumentError: as `draft`.
        TrustError, HostError: as `imagekit.keys.sign_content`.
    """
    drafted = draft(headers, key=key.public, body=body)
    revision = f" revision {drafted.revision}" if drafted.revision else ""
    signature = sign_content(key, drafted.content, created=created, what=drafted.label + revision)
    return decode_one(drafted.content + b"\n\n" + armor(signature) + b"\n", name=drafted.type)


def sign_account(account_id: str, *, authority_id: str, key: Signer, timestamp: datetime,
                 display_name: str | None = None) -> Assertion:
    return sign({"type": "account", "authority-id": authority_id, "account-id": account_id,
                 "display-name": display_name or account_id, "validation": "unproven",
                 "timestamp": format_time(timestamp)}, key=key, created=timestamp)


def sign_account_key(public: PublicKey, *, account_id: str, authority_id: str, name: str, since: datetime,
                     key: Signer, until: datetime | None = None, revision: int = 0) -> Assertion:
    """Say that `public` belongs to `account_id`. Signed by its own private part it is a root of trust."""
    headers: dict[str, Header] = {
        "type": "account-key", "authority-id": authority_id, "revision": str(revision),
        "public-key-sha3-384": public.key_id, "account-id": account_id, "name": name, "since": format_time(since)}
    if until is not None:
        headers["until"] = format_time(until)
    return sign(headers, key=key, created=since, body=armor(public.encode()))


def declaration_headers(brand: str, name: str, *, timestamp: datetime) -> dict[str, Header]:
    """Say that the brand's own snap-id of `name` is its package of that name."""
    return {"type": "snap-declaration", "authority-id": brand, "series": SERIES, "snap-id": snap_id(brand, name),
            "snap-name": name, "publisher-id": brand, "timestamp": format_time(timestamp)}


def sign_declaration(brand: str, name: str, *, key: Signer, timestamp: datetime) -> Assertion:
    return sign(declaration_headers(brand, name, timestamp=timestamp), key=key, created=timestamp)


def revision_headers(brand: str, of_snap_id: str, revision: int, *, sha3_384: str, size: int, timestamp: datetime,
                     provenance: str = GLOBAL_UPLOAD, verity_root: str | None = None) -> dict[str, Header]:
    """Say that the file with this digest and size is this revision of a package."""
    headers: dict[str, Header] = {
        "type": "snap-revision", "authority-id": brand, "snap-sha3-384": sha3_384, "snap-id": of_snap_id,
        "snap-revision": str(revision), "snap-size": str(size), "developer-id": brand,
        "timestamp": format_time(timestamp)}
    if provenance != GLOBAL_UPLOAD:
        headers["provenance"] = provenance
    if verity_root is not None:
        headers["verity-root"] = verity_root
    return headers


def sign_revision(brand: str, name: str, revision: int, *, sha3_384: str, size: int, key: Signer,
                  timestamp: datetime, verity_root: str | None = None) -> Assertion:
    headers = revision_headers(brand, snap_id(brand, name), revision, sha3_384=sha3_384, size=size, timestamp=timestamp,
                               verity_root=verity_root)
    return sign(headers, key=key, created=timestamp)
