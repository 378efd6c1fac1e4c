"""What assertions about accounts, their keys and packages say. Models are in `imagekit.assertions.model`.

A constructor here checks shape and meaning of one assertion by itself; whether it may be believed is decided in
`imagekit.assertions.database`. Headers that a type does not know are kept and mean nothing. Source: snapd's assertion
types (docs/reference/assertions.md).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from imagekit.assertions.fields import ACCOUNT_ID, SNAP_ID, SNAP_NAME, Fields
from imagekit.assertions.wire import DIGEST, Assertion, unarmor
from imagekit.errors import DocumentError
from imagekit.keys import PublicKey, decode_public_key

SERIES = "16"  # the only one there is
PROVENANCE = "global-upload"
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_ACCOUNT = "an account id: 32 letters and digits, or 2 to 28 of a-z, 0-9 and hyphen"
_KEY_NAME = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*\Z")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Validation(StrEnum):
    """What an authority says of an account's identity."""

    UNPROVEN = "unproven"
    VERIFIED = "verified"
    STARRED = "starred"
    CERTIFIED = "certified"  # an old word for verified, still in the oldest accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who an account id is."""

    account_id: str
    display_name: str
    username: str
    validation: Validation
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKey:
    """A public key that belongs to an account, in force from `since` until just before `until`."""

    key: PublicKey
    key_id: str
    account_id: str
    name: str
    since: datetime
    until: datetime | None
    assertion: Assertion

    def valid_at(self, when: datetime) -> bool:
        return self.since <= when and (self.until is None or when < self.until)

    @property
    def self_signed(self) -> bool:
        return self.assertion.key_id == self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapDeclaration:
    """Which name and publisher a snap-id stands for."""

    snap_id: str
    snap_name: str
    publisher_id: str
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapRevision:
    """Which package file is which revision. `verity_root` is of those that run from a slot."""

    snap_sha3_384: str
    snap_id: str
    snap_revision: int
    snap_size: int
    developer_id: str
    provenance: str
    verity_root: str | None
    timestamp: datetime
    assertion: Assertion


def snap_id(brand: str, name: str) -> str:
    """The id of a brand's own package: 32 letters and digits out of SHA-256 of `brand/name`."""
    number = int.from_bytes(hashlib.sha256(f"{brand}/{name}".encode()).digest(), "big")
    digits = []
    for _ in range(32):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(digits)


def parse_account(assertion: Assertion) -> Account:
    fields = _fields(assertion, "account")
    account = Account(
        account_id=fields.text("account-id", pattern=ACCOUNT_ID, what=_ACCOUNT),
        display_name=fields.text("display-name"),
        username=fields.text("username", default=""),
        validation=fields.choice("validation", Validation, default=Validation.UNPROVEN),
        timestamp=fields.time("timestamp"),
        assertion=assertion)
    fields.finish(assertion.label)
    return account


def parse_account_key(assertion: Assertion) -> AccountKey:
    fields = _fields(assertion, "account-key")
    if "constraints" in fields.headers:
        fields.problem("keys that may sign only some things are not supported yet", "constraints")
    key_id = fields.text("public-key-sha3-384", pattern=DIGEST, what="a digest of 64 characters")
    since = fields.time("since")
    until = fields.time("until") if "until" in fields.headers else None
    if until is not None and until <= since:
        fields.problem("must be later than 'since'", "until")
    account_id = fields.text("account-id", pattern=ACCOUNT_ID, what=_ACCOUNT)
    name = fields.text("name", default="", pattern=_KEY_NAME, what="a key name: letters, digits, single inner hyphens")
    fields.finish(assertion.label)
    key = decode_public_key(unarmor(assertion.body, what=f"body of {assertion.label}"))
    if key.key_id != key_id:
        raise DocumentError(f"cannot use {assertion.label}: the key in its body has the id {key.key_id}")
    return AccountKey(key=key, key_id=key_id, account_id=account_id, name=name, since=since, until=until,
                      assertion=assertion)


def parse_snap_declaration(assertion: Assertion) -> SnapDeclaration:
    fields = _fields(assertion, "snap-declaration")
    _check_series(fields)
    declaration = SnapDeclaration(
        snap_id=fields.text("snap-id", pattern=SNAP_ID, what="a snap id: 32 letters and digits"),
        snap_name=fields.text("snap-name", pattern=SNAP_NAME, what="a snap name"),
        publisher_id=fields.text("publisher-id", pattern=ACCOUNT_ID, what=_ACCOUNT),
        timestamp=fields.time("timestamp"),
        assertion=assertion)
    fields.finish(assertion.label)
    return declaration


def parse_snap_revision(assertion: Assertion) -> SnapRevision:
    fields = _fields(assertion, "snap-revision")
    root = fields.text("verity-root", default="", pattern=_HEX_SHA256, what="64 lower-case hexadecimal digits")
    revision = SnapRevision(
        snap_sha3_384=fields.text("snap-sha3-384", pattern=DIGEST, what="a digest of 64 characters"),
        snap_id=fields.text("snap-id", pattern=SNAP_ID, what="a snap id: 32 letters and digits"),
        snap_revision=fields.number("snap-revision", least=1),
        snap_size=fields.number("snap-size", least=1),
        developer_id=fields.text("developer-id", pattern=ACCOUNT_ID, what=_ACCOUNT),
        provenance=fields.text("provenance", default=PROVENANCE),
        verity_root=root or None,
        timestamp=fields.time("timestamp"),
        assertion=assertion)
    fields.finish(assertion.label)
    return revision


def _fields(assertion: Assertion, kind: str) -> Fields:
    if assertion.type != kind:
        raise DocumentError(f"cannot use {assertion.label}: expected {kind}")
    return Fields(assertion.headers)


def _check_series(fields: Fields) -> None:
    if fields.headers.get("series") != SERIES:
        fields.problem(f"{fields.headers.get('series')!r} is not {SERIES!r}, the only series", "series")
