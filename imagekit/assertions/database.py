"""Deciding what to believe.

A `Database` begins with what the user trusts and is filled with what came along; nothing that was added is believed
until `verify` has led it back to a root. A root is a self-signed account-key among the trusted assertions. It speaks
for its own account, and may vouch for accounts that are not roots themselves: what two roots are trusted for never
mixes.

An assertion is verified in this order: its key is known; the key belongs to the account that is said to speak; the key
is in force now; the signature holds; the key was in force at the assertion's own time; the key leads back to a root;
the rules of the type hold; nothing newer has taken its place. The rules of the types:

    account, account-key    only a root's account vouches; another root's account is never vouched for
    model                   signed by the brand (`imagekit.assertions.model`), whose account is verified
    snap-declaration        only a root's account; its snap-id is not that of another root's package of the same name
    snap-revision           only a root's account, which has declared the snap-id too

Sources: snapd's database checks (docs/reference/assertions.md, "Believing").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.signing import PARSERS
from imagekit.assertions.types import (
    PROVENANCE,
    SERIES,
    AccountKey,
    parse_account_key,
    parse_snap_declaration,
    parse_snap_revision,
    snap_id,
)
from imagekit.assertions.wire import Assertion, unarmor
from imagekit.digests import short
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import verify_signature

DEEPEST_PROOF = 16  # assertions that wait for each other

Key = tuple[str, tuple[str, ...]]


class UnknownKey(TrustError):
    """Nothing at hand says whose key signed, so that the signature cannot even be checked."""


class AuthorityUnproven(TrustError):
    """The signature is valid, but no trusted root vouches for the key that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One assertion of a chain, and the key that signed it."""

    assertion: Assertion
    signer: AccountKey

    @property
    def account_key(self) -> AccountKey | None:
        """The key that this link brings, if it is an account-key."""
        return parse_account_key(self.assertion) if self.assertion.type == "account-key" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """From the trusted root (first) to what was verified (last); each link's key is brought by the one before it.

    `accounts` are those of everybody who speaks in it, as far as they are at hand: whoever verifies it elsewhere may
    need them.
    """

    links: tuple[Link, ...]
    accounts: tuple[Assertion, ...]


class Database:
    """Assertions by type and primary key, the highest revision of each.

    `trusted` are those that the user named. Raises: TrustError, DocumentError: they are malformed or at odds.
    """

    def __init__(self, trusted: Iterable[Assertion]) -> None:
        self._stored: dict[Key, Assertion] = {}
        self._roots: dict[str, AccountKey] = {}
        self._fixed: set[Key] = set()
        others = []
        for assertion in trusted:
            if assertion.type == "account-key" and assertion.key_id == assertion.text("public-key-sha3-384"):
                self._add_root(parse_account_key(assertion))
            else:
                others.append(assertion)
        for assertion in others:
            self.add(assertion)

    @property
    def root_accounts(self) -> frozenset[str]:
        """The accounts that are believed by themselves."""
        return frozenset(root.account_id for root in self._roots.values())

    def _add_root(self, root: AccountKey) -> None:
        label = root.assertion.label
        if root.assertion.authority_id != root.account_id:
            raise TrustError(f"cannot trust {label}: it is signed by itself, but says that"
                             f" {root.assertion.authority_id!r} speaks and that {root.account_id!r} owns it")
        _check_signature(root.assertion, root)
        key = _key(root.assertion)
        self._fixed.discard(key)  # two folders may hold it; the rules of `add` pick the newer
        self.add(root.assertion)
        self._roots[root.key_id] = parse_account_key(self._stored[key])
        self._fixed.add(key)

    def add(self, assertion: Assertion) -> None:
        """Keep an assertion, believed or not. An older revision than the one kept is let go.

        Raises:
            TrustError: one of the same name and revision says something else, or the other is a root.
            DocumentError: its type is not named by a primary key.
        """
        if not kind_of(assertion.type).has_authority:
            raise DocumentError(f"cannot keep {assertion.label}: a {assertion.type} is only passed on, never kept")
        key = _key(assertion)
        kept = self._stored.get(key)
        if kept is not None:
            if kept.content == assertion.content or assertion.revision < kept.revision:
                return
            if key in self._fixed:
                raise TrustError(f"cannot add {assertion.label}: a root of trust has that name and says something else",
                                 hint="only the folder with your roots of trust can change a root")
            if assertion.revision == kept.revision:
                raise TrustError(f"cannot add {assertion.label}: there is another one of revision {kept.revision},"
                                 " and they differ", hint="keep the right one of the two files")
        self._stored[key] = assertion

    def find(self, kind: str, **headers: str) -> Assertion | None:
        """The first assertion of a type with these header values (underscores stand for hyphens). Not verified."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        key = kind_of(kind).primary_key
        full = tuple(wanted.get(name, kind_of(kind).defaults.get(name, "")) for name in key)
        candidates = [self._stored[(kind, full)]] if (kind, full) in self._stored else self.all(kind)
        return next((found for found in candidates
                     if all(found.text(name) == value for name, value in wanted.items())), None)

    def all(self, kind: str) -> tuple[Assertion, ...]:
        """All assertions of a type, by primary key. Not verified."""
        return tuple(self._stored[key] for key in sorted(self._stored) if key[0] == kind)

    def verify(self, assertion: Assertion, *, now: datetime) -> Chain:
        """Lead an assertion back to a root.

        Raises:
            UnknownKey: no account-key at hand has its key.
            AuthorityUnproven: its signature is valid, but its key leads back to no root.
            TrustError: anything else that forbids to believe it.
            DocumentError: it breaks the rules of its type, or the type has none here.
        """
        links = self._verify(assertion, now, ())
        speakers = dict.fromkeys(link.signer.account_id for link in links)
        accounts = (self._stored.get(("account", (speaker,))) for speaker in speakers)
        return Chain(links=links, accounts=tuple(account for account in accounts if account is not None))

    def _verify(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> tuple[Link, ...]:
        """`above` are the contents of the assertions whose own proof is waiting for this one."""
        if assertion.type not in PARSERS:
            raise DocumentError(f"cannot verify {assertion.label}: the rules of a {assertion.type} are not known,"
                                f" only those of {', '.join(PARSERS)}")
        if assertion.content in above or len(above) == DEEPEST_PROOF:
            raise AuthorityUnproven(f"cannot believe {assertion.label}: its proof runs in circles or has no end")
        PARSERS[assertion.type](assertion)
        above = (*above, assertion.content)
        signer = self._signer(assertion)
        _check_now(assertion, signer, now)
        _check_signature(assertion, signer)
        _check_own_time(assertion, signer)
        links = self._vouched(assertion, signer, now, above)
        if assertion.content != signer.assertion.content:
            self._check_rules(assertion, now, above)
            self._check_newest(assertion, now, above)
            links = (*links, Link(assertion=assertion, signer=signer))
        return links

    def _signer(self, assertion: Assertion) -> AccountKey:
        found = self._stored.get(("account-key", (assertion.key_id,)))
        if found is None:
            raise UnknownKey(f"cannot verify {assertion.label}: no account-key at hand has its key"
                             f" {short(assertion.key_id)}",
                             hint="add the file with that account-key, or name the folder of its root with --trust")
        signer = parse_account_key(found)
        if signer.account_id != assertion.authority_id:
            raise TrustError(f"cannot verify {assertion.label}: {assertion.authority_id!r} is said to speak,"
                             f" but the key that signed belongs to {signer.account_id!r}")
        return signer

    def _vouched(self, assertion: Assertion, signer: AccountKey, now: datetime,
                 above: tuple[bytes, ...]) -> tuple[Link, ...]:
        """The links that prove the signer's key, the root's first."""
        root = self._roots.get(signer.key_id)
        if root is not None:
            return (Link(assertion=root.assertion, signer=root),)
        unproven = AuthorityUnproven(
            f"cannot believe {assertion.label}: its signature by key {short(signer.key_id)} is valid, but no trusted"
            f" root vouches that this key belongs to {signer.account_id!r}",
            hint=f"name the folder that holds the root of {signer.account_id!r} with --trust, if you trust it")
        if signer.self_signed:
            raise unproven
        try:
            return self._verify(signer.assertion, now, above)
        except (UnknownKey, AuthorityUnproven) as error:
            raise unproven from error

    def _check_rules(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> None:
        authority = assertion.authority_id
        if assertion.type == "model":
            self._require_account(assertion, authority, now, above)
            return
        if authority not in self.root_accounts:
            raise TrustError(f"cannot believe {assertion.label}: {authority!r} is no root of trust,"
                             f" and only such an account may sign a {assertion.type}")
        if assertion.type in ("account", "account-key"):
            account = assertion.text("account-id")
            if account != authority and account in self.root_accounts:
                raise TrustError(f"cannot believe {assertion.label}: {account!r} is a root of trust of its own,"
                                 f" {authority!r} cannot vouch for it")
            if assertion.type == "account-key":
                self._require_account(assertion, account, now, above)
        elif assertion.type == "snap-declaration":
            self._check_declaration(assertion, now, above)
        else:
            self._check_revision(assertion, now, above)

    def _check_declaration(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> None:
        declared = parse_snap_declaration(assertion)
        for other in sorted(self.root_accounts - {assertion.authority_id}):
            if other == declared.publisher_id or snap_id(other, declared.snap_name) == declared.snap_id:
                raise TrustError(f"cannot believe {assertion.label}: package {declared.snap_name!r} is"
                                 f" {other!r}'s, {assertion.authority_id!r} cannot declare it")
        self._require_account(assertion, declared.publisher_id, now, above)

    def _check_revision(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> None:
        revision = parse_snap_revision(assertion)
        if revision.provenance != PROVENANCE:
            raise TrustError(f"cannot believe {assertion.label}: provenance {revision.provenance!r} is not supported,"
                             f" only {PROVENANCE!r}")
        declared = self._stored.get(("snap-declaration", (SERIES, revision.snap_id)))
        if declared is None:
            raise TrustError(f"cannot believe {assertion.label}: no snap-declaration at hand says which package"
                             f" {revision.snap_id} is", hint="add the file that came with the package")
        if declared.authority_id != assertion.authority_id:
            raise TrustError(f"cannot believe {assertion.label}: {assertion.authority_id!r} signed it, but"
                             f" {declared.authority_id!r} declared the package")
        self._verify(declared, now, above)
        self._require_account(assertion, revision.developer_id, now, above)

    def _require_account(self, assertion: Assertion, account_id: str, now: datetime,
                         above: tuple[bytes, ...]) -> None:
        """An account that is not a root itself must be vouched for."""
        if account_id in self.root_accounts:
            return
        account = self._stored.get(("account", (account_id,)))
        if account is None:
            raise TrustError(f"cannot believe {assertion.label}: nothing at hand says who {account_id!r} is",
                             hint="add the file with the account assertion")
        self._verify(account, now, above)

    def _check_newest(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> None:
        kept = self._stored.get(_key(assertion))
        if kept is None or kept.revision <= assertion.revision:
            return
        try:
            self._verify(kept, now, above)
        except (TrustError, DocumentError):
            return
        raise TrustError(f"cannot believe {assertion.label}: its revision {assertion.revision} was replaced by"
                         f" revision {kept.revision}")


def _key(assertion: Assertion) -> Key:
    return assertion.type, assertion.primary_key


def _check_signature(assertion: Assertion, signer: AccountKey) -> None:
    signature = unarmor(assertion.signature, what=f"signature of {assertion.label}")
    try:
        verify_signature(signer.key, assertion.content, signature)
    except (TrustError, DocumentError) as error:
        raise type(error)(f"cannot verify {assertion.label}: {error.message}", hint=error.hint) from error


def _check_now(assertion: Assertion, signer: AccountKey, now: datetime) -> None:
    if signer.valid_at(now):
        return
    problem = (f"is valid from {format_time(signer.since)} only" if now < signer.since
               else f"expired at {format_time(signer.until or now)}")
    raise TrustError(f"cannot verify {assertion.label}: key {short(signer.key_id)} of {signer.account_id!r} {problem},"
                     f" and now it is {format_time(now)}", hint="look at the clock of this machine, then at the key")


def _check_own_time(assertion: Assertion, signer: AccountKey) -> None:
    """An account-key has no time of its own; all other types that are verified have."""
    when = getattr(PARSERS[assertion.type](assertion), "timestamp", None)
    if when is None or signer.valid_at(when):
        return
    end = f" to {format_time(signer.until)}" if signer.until else ""
    raise TrustError(f"cannot verify {assertion.label}: its timestamp {format_time(when)} lies outside the validity of"
                     f" the key that signed it, from {format_time(signer.since)}{end}")
