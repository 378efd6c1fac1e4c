"""What assertions say of accounts, their keys and stores.

Sources: snapd's asserts/account.go, account_key.go, store_asserts.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from imagekit.assertions.constraints import Constraint, Each, parse_constraint
from imagekit.assertions.fields import Fields, Form, check_type
from imagekit.assertions.headers import Header, shown, unlike
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.regexps import literal
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion, unarmor
from imagekit.errors import DocumentError
from imagekit.keys import PublicKey, decode_public_key

KEY_NAME = Form(re.compile(r"(?=[0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z"),
                "a key name: a-z, 0-9 and single inner hyphens, with a letter", AssertionRules.KEY_NAME)
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(?://(?P<host>(?:[^\s/?#\\@]*@)?[^\s/?#\\@:\[\]]*|\[[0-9A-Fa-f:.]+\])"
                  r"(?::[0-9]*)?(?=[/?#]|\Z))?(?P<path>[^\s?#\\]*)(?:\?(?P<query>[^\s#]*))?(?:#(?P<fragment>\S*))?\Z")
_NO_KEY = PublicKey(n=0, e=0)


class Validation(StrEnum):
    """What an authority says of an account's identity; words that come later count as `unproven`."""

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
    """A public key that belongs to an account, in force from `since` until just before `until`.

    With `constraints` it signs only what matches one of them.
    """

    key: PublicKey
    key_id: str
    account_id: str
    name: str
    since: datetime
    until: datetime | None
    constraints: tuple[Constraint, ...]
    assertion: Assertion

    def valid_at(self, when: datetime) -> bool:
        return self.since <= when and (self.until is None or when < self.until)

    def permits(self, assertion: Assertion) -> bool:
        """Whether the constraints of this key let it sign such an assertion."""
        return self.permits_headers(assertion.headers)

    def permits_headers(self, headers: Mapping[str, Header]) -> bool:
        """As `permits`, for what is not yet signed."""
        complete = {**kind_of(str(headers.get("type"))).defaults, **headers}
        return not self.constraints or any(constraint.matches(complete) for constraint in self.constraints)

    @property
    def self_signed(self) -> bool:
        return self.assertion.key_id == self.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountKeyRequest:
    """Somebody who holds a private key asks for an account-key; signed by that key."""

    key: PublicKey
    key_id: str
    account_id: str
    name: str
    since: datetime
    until: datetime | None
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Who runs a store, and where it is. `friendly_stores` are those whose snaps its devices may use too.

    `mirrors`, a header of ours, are URLs that serve the same files.
    """

    store: str
    operator_id: str
    url: str
    friendly_stores: tuple[str, ...]
    location: str
    timestamp: datetime
    assertion: Assertion
    mirrors: tuple[str, ...] = ()


def parse_account(assertion: Assertion) -> Account:
    fields = check_type(assertion, "account")
    word = fields.text("validation")
    account = Account(
        account_id=fields.text("account-id"),
        display_name=fields.text("display-name"),
        username=fields.optional("username"),
        validation=Validation(word) if word in list(Validation) else Validation.UNPROVEN,
        timestamp=fields.time("timestamp"),
        assertion=assertion)
    fields.finish()
    return account


def parse_account_key(assertion: Assertion) -> AccountKey:
    fields = check_type(assertion, "account-key")
    since, until = parse_period(fields)
    key, key_id = parse_key_body(fields, assertion)
    account_key = AccountKey(
        key=key, key_id=key_id, account_id=fields.text("account-id"),
        name=fields.text("name", form=KEY_NAME) if "name" in fields else "",
        since=since, until=until, constraints=_constraints(fields), assertion=assertion)
    fields.finish()
    return account_key


def parse_account_key_request(assertion: Assertion) -> AccountKeyRequest:
    fields = check_type(assertion, "account-key-request")
    since, until = parse_period(fields)
    key, key_id = parse_key_body(fields, assertion)
    if key_id != assertion.key_id:
        fields.problem("the key in the body did not sign", "sign-key-sha3-384", rule=AssertionRules.PUBLIC_KEY)
    request = AccountKeyRequest(
        key=key, key_id=key_id, account_id=fields.text("account-id"), name=fields.text("name", form=KEY_NAME),
        since=since, until=until, assertion=assertion)
    fields.finish()
    return request


def parse_store(assertion: Assertion) -> Store:
    fields = check_type(assertion, "store")
    url = fields.optional("url")
    if url and (reason := url_problem(url)):
        fields.problem(f"{shown(url)} {reason}", "url", rule=AssertionRules.STORE_URL)
    mirrors = fields.texts("mirrors")
    for mirror in mirrors:
        if reason := url_problem(mirror):
            fields.problem(f"{shown(mirror)} {reason}", "mirrors", rule=AssertionRules.STORE_URL)
    store = Store(
        store=fields.text("store"), operator_id=fields.text("operator-id"), url=url,
        friendly_stores=fields.texts("friendly-stores"), location=fields.optional("location"),
        timestamp=fields.time("timestamp"), assertion=assertion, mirrors=mirrors)
    fields.finish()
    return store


def url_problem(url: str) -> str | None:
    """What keeps a text from being a store's URL, if anything does."""
    found = _URL.match(url)
    if found is None or not url.isprintable():
        return "is not a URL, as in https://HOST/PATH"
    if found["scheme"].lower() not in ("http", "https"):
        return "is not of the schemes http and https"
    if not found["host"]:
        return "has no host"
    return "has a query, none is allowed" if found["query"] else "has a fragment, none is allowed" \
        if found["fragment"] else None


def parse_period(fields: Fields) -> tuple[datetime, datetime | None]:
    """`since` and, if it is there, `until`."""
    since, until = fields.time("since"), fields.time_or_none("until")
    if until is not None and until < since:
        fields.problem("ends before it begins with 'since'", "until", rule=AssertionRules.PERIOD)
    return since, until


def parse_key_body(fields: Fields, assertion: Assertion) -> tuple[PublicKey, str]:
    """The key in the body, and its id, which must be the one in the header."""
    key_id = fields.text("public-key-sha3-384")
    key = parse_key(fields, assertion.body, "body")
    if key != _NO_KEY and key.key_id != key_id:
        fields.problem(f"is not the id of the key in the body, {key.key_id}", "public-key-sha3-384",
                       rule=AssertionRules.PUBLIC_KEY)
    return key, key_id


def parse_key(fields: Fields, text: bytes, place: str) -> PublicKey:
    """A public key in base64, told as a problem of `place` if it is none."""
    try:
        return decode_public_key(unarmor(text, what="public key"))
    except DocumentError as error:
        fields.problem(f"not a public key: {error.message.removeprefix('cannot decode public key: ')}", place,
                       rule=AssertionRules.PUBLIC_KEY)
        return _NO_KEY


def _constraints(fields: Fields) -> tuple[Constraint, ...]:
    found = []
    for entry in fields.maps("constraints"):
        headers = entry.map("headers")
        if headers is None:
            entry.require("headers", "a map of headers")
            continue
        kind = headers.headers.get("type")
        if not isinstance(kind, str) or not literal(kind):
            headers.problem(unlike(kind, "an exact type, one to each constraint"), "type",
                            rule=AssertionRules.KEY_CONSTRAINTS)
        constraint = parse_constraint(entry, "headers", special=False, top=True)
        assert isinstance(constraint, Each)
        found.append(constraint)
    return tuple(found)
