"""Deciding what to believe.

A `Database` begins with what the user trusts and is filled with what came along; nothing that was added is believed
until `verify` has led it back to a root. A root is a self-signed account-key among the trusted assertions. It speaks
for its own account, and may vouch for accounts that are not roots themselves: what two roots are trusted for never
mixes.

An assertion is verified in this order: its key is known; the key belongs to the account that is said to speak; the key
is in force now; its constraints permit it to sign this; the signature holds; the key was in force at the assertion's
own time; the key leads back to a root; the rules of the type hold (`imagekit.assertions.consistency`); nothing newer
has taken its place.

What a proof rests on (the account-key of the signer, an account, a declaration, a model) is the highest revision at
hand that is believed itself: a forged one takes no place, and an older one is never taken instead of a newer. A newer
account-key that a root truly signed counts even if its signer's time is over, so that a key which was ended stays so.

Sources: snapd's database checks (docs/reference/assertions.md, "Believing").
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from imagekit.assertions.accounts import AccountKey, AccountKeyRequest, parse_account_key
from imagekit.assertions.consistency import RULES, Witness
from imagekit.assertions.devices import SerialRequest
from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.proof import AuthorityUnproven, Chain, Disbelief, Link, OutOfTime, Replaced, UnknownKey
from imagekit.assertions.types import PARSERS
from imagekit.assertions.wire import Assertion, unarmor
from imagekit.digests import short
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import PublicKey, verify_signature

__all__ = ["AuthorityUnproven", "Chain", "Database", "Disbelief", "Link", "OutOfTime", "Replaced", "UnknownKey"]

DEEPEST_PROOF = 16  # assertions that wait for each other

Key = tuple[str, tuple[str, ...]]


class Database:
    """Assertions by type and primary key, every revision that came along.

    `trusted` are those that the user named; `public_keys` are known by their numbers alone and vouch for nothing.

    Raises:
        TrustError, DocumentError: what is trusted is malformed or at odds.
    """

    def __init__(self, trusted: Iterable[Assertion], *, public_keys: Iterable[PublicKey] = ()) -> None:
        self._stored: dict[Key, list[Assertion]] = {}
        self._roots: dict[str, AccountKey] = {}
        self._fixed: set[Key] = set()
        self._bare = {key.key_id: key for key in public_keys}
        self._proved: dict[tuple[bytes, bytes, datetime], Chain] = {}
        others = []
        for assertion in trusted:
            if assertion.type == "account-key" and assertion.key_id == assertion.text("public-key-sha3-384"):
                self._add_root(parse_account_key(assertion))
            else:
                others.append(assertion)
        for assertion in others:
            self.add(assertion)
        self._fixed |= {("account", (account,)) for account in self.root_accounts
                        if ("account", (account,)) in self._stored}

    @property
    def root_accounts(self) -> frozenset[str]:
        """The accounts that are believed by themselves."""
        return frozenset(root.account_id for root in self._roots.values())

    @property
    def roots(self) -> tuple[AccountKey, ...]:
        """The keys that are believed by themselves."""
        return tuple(self._roots[key_id] for key_id in sorted(self._roots))

    def _add_root(self, root: AccountKey) -> None:
        label = root.assertion.label
        if root.assertion.authority_id != root.account_id:
            raise TrustError(f"cannot trust {label}: it is signed by itself, but says that"
                             f" {root.assertion.authority_id!r} speaks and that {root.account_id!r} owns it")
        _check_signature(root.assertion, root.key)
        key = _key(root.assertion)
        known = self._roots.get(root.key_id)
        if known is not None and known.assertion.revision == root.assertion.revision:
            if known.assertion.content != root.assertion.content:
                raise TrustError(f"cannot trust {label}: there is another root of that name and revision"
                                 f" {known.assertion.revision}, and they differ",
                                 hint="keep the right one of the two files")
            return
        if known is None or known.assertion.revision < root.assertion.revision:
            self._stored[key] = [root.assertion]
            self._roots[root.key_id] = root
            self._fixed.add(key)

    def add(self, assertion: Assertion) -> None:
        """Keep an assertion, believed or not.

        Raises:
            TrustError: a root or its account has that name and is older or differs.
            DocumentError: its type is not named by a primary key.
        """
        if not kind_of(assertion.type).has_authority:
            raise DocumentError(f"cannot keep {assertion.label}: a {assertion.type} is only passed on, never kept")
        key = _key(assertion)
        kept = self._stored.setdefault(key, [])
        if any(item.content == assertion.content and item.signature == assertion.signature for item in kept):
            return
        if key in self._fixed:
            if assertion.revision < kept[0].revision or assertion.content == kept[0].content:
                return
            raise TrustError(f"cannot add {assertion.label}: a root of trust has that name and says something else",
                             hint="only the folder with your roots of trust can change a root")
        kept.append(assertion)
        kept.sort(key=lambda item: -item.revision)
        self._proved.clear()

    def find(self, kind: str, **headers: str) -> Assertion | None:
        """The first assertion of a type with these header values (underscores stand for hyphens). Not verified."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        key = kind_of(kind).primary_key
        full = tuple(wanted.get(name, kind_of(kind).defaults.get(name, "")) for name in key)
        candidates = self._stored[kind, full][:1] if self._stored.get((kind, full)) else self.all(kind)
        return next((found for found in candidates
                     if all(found.text(name) == value for name, value in wanted.items())), None)

    def all(self, kind: str) -> tuple[Assertion, ...]:
        """The assertions of a type by primary key, the highest revision of each. Not verified."""
        return tuple(self._stored[key][0] for key in sorted(self._stored) if key[0] == kind)

    def believed(self, kind: str, *primary_key: str, now: datetime) -> Chain | None:
        """The proof of the assertion of that name, of the highest revision that is believed; None: none is at hand.

        Raises:
            TrustError, DocumentError: there are some, and none is believed.
        """
        found = self._evidence((kind, primary_key), now, ())
        return None if found is None else found[1]

    def verify(self, assertion: Assertion, *, now: datetime) -> Chain:
        """Lead an assertion back to a root.

        Raises:
            UnknownKey: nothing at hand has its key.
            AuthorityUnproven: its signature is valid, but its key leads back to no root.
            OutOfTime: its key is not in force.
            TrustError: anything else that forbids to believe it.
            DocumentError: it breaks the rules of its type, or the type has none here.
        """
        chain = self._prove(assertion, now, ())
        self._check_newest(assertion, now)
        return chain

    def _prove(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...]) -> Chain:
        """`above` are the contents of the assertions whose own proof is waiting for this one."""
        known = self._proved.get((assertion.content, assertion.signature, now))
        if known is not None:
            return known
        if assertion.type not in RULES or assertion.type not in PARSERS:
            raise DocumentError(f"cannot verify {assertion.label}: the rules of a {assertion.type} are not known,"
                                f" only those of {', '.join(sorted(RULES))}")
        if assertion.content in above or len(above) == DEEPEST_PROOF:
            raise AuthorityUnproven(assertion.label, "its proof runs in circles or has no end")
        value = PARSERS[assertion.type](assertion)
        above = (*above, assertion.content)
        if kind_of(assertion.type).has_authority:
            links = self._prove_signature(assertion, value, now, above)
        else:
            _check_signature(assertion, _own_key(value))
            links = (Link(assertion=assertion, signer=None),)
        found: dict[bytes, Assertion] = {}
        for link in links[:-1]:
            found.update((item.content, item) for item in self._prove(link.assertion, now, above).evidence)
        for item in self._ask_rules(assertion, value, now, above):
            found[item.content] = item
        for link in links:
            found.pop(link.assertion.content, None)
        chain = Chain(links=links, evidence=tuple(found.values()))
        self._proved[assertion.content, assertion.signature, now] = chain
        return chain

    def _prove_signature(self, assertion: Assertion, value: Any, now: datetime,
                         above: tuple[bytes, ...]) -> tuple[Link, ...]:
        """The links up to the assertion itself."""
        signer, proof = self._signer(assertion, now, above)
        if signer.account_id != assertion.authority_id:
            raise Disbelief(assertion.label, f"{assertion.authority_id!r} is said to speak, but the key that signed"
                            f" belongs to {signer.account_id!r}", verb="verify")
        if not signer.valid_at(now):
            raise self._out_of_time(assertion, signer, proof, now)
        if not signer.permits(assertion):
            raise Disbelief(assertion.label, f"the constraints of key {short(signer.key_id)} of {signer.account_id!r}"
                            " do not let it sign this", verb="verify")
        _check_signature(assertion, signer.key)
        _check_own_time(assertion, value, signer)
        if isinstance(proof, (UnknownKey, AuthorityUnproven)):
            raise AuthorityUnproven(assertion.label, _without_root(proof, signer),
                                    hint="add the file with the missing account-key, or name its root: imagekit trust"
                                    " add FILE, if you trust it") from proof
        if isinstance(proof, Exception):
            raise proof
        if assertion.content == signer.assertion.content:
            return proof
        return (*proof, Link(assertion=assertion, signer=signer))

    def _out_of_time(self, assertion: Assertion, signer: AccountKey, proof: tuple[Link, ...] | Exception,
                     now: datetime) -> OutOfTime:
        """Why a key is not in force; what a root says of a key by such a one still counts against that key."""
        problem = (f"is valid from {format_time(signer.since)} only" if now < signer.since
                   else f"expired at {format_time(signer.until or now)}")
        vouched = proof.counts if isinstance(proof, OutOfTime) else not isinstance(proof, Exception)
        counts = (vouched and assertion.type == "account-key" and assertion.authority_id in self.root_accounts
                  and _is_signed(assertion, signer))
        return OutOfTime(assertion.label, f"key {short(signer.key_id)} of {signer.account_id!r} {problem}, and now it"
                         f" is {format_time(now)}", hint="look at the clock of this machine, then at the key",
                         counts=counts)

    def _signer(self, assertion: Assertion, now: datetime, above: tuple[bytes, ...],
                ) -> tuple[AccountKey, tuple[Link, ...] | TrustError | DocumentError]:
        """The key that is said to have signed, and the links that prove it or the reason why there are none."""
        root = self._roots.get(assertion.key_id)
        if root is not None:
            return root, (Link(assertion=root.assertion, signer=root),)
        if assertion.type == "account-key" and assertion.key_id == assertion.text("public-key-sha3-384"):
            own = parse_account_key(assertion)
            return own, AuthorityUnproven(assertion.label, _no_root(own))
        try:
            found = self._evidence(("account-key", (assertion.key_id,)), now, above)
        except (TrustError, DocumentError) as error:
            return self._likely_signer(assertion), error
        if found is None:
            raise self._unknown(assertion)
        return parse_account_key(found[0]), found[1].links

    def _likely_signer(self, assertion: Assertion) -> AccountKey:
        """Of account-keys that are not believed, the one that fits. Raises: DocumentError: all are malformed."""
        candidates = self._stored["account-key", (assertion.key_id,)]
        wellformed = []
        for candidate in candidates:
            with contextlib.suppress(DocumentError):
                wellformed.append(parse_account_key(candidate))
        fitting = [item for item in wellformed if item.account_id == assertion.authority_id]
        for found in (*fitting, *wellformed):
            return found
        return parse_account_key(candidates[0])

    def _unknown(self, assertion: Assertion) -> Disbelief:
        """No account-key at hand has the key; its bare numbers may be known all the same."""
        key_id = short(assertion.key_id)
        bare = self._bare.get(assertion.key_id)
        if bare is None:
            return UnknownKey(assertion.label, f"no account-key at hand has its key {key_id}", verb="verify",
                              hint="add the file with that account-key, or name its root: imagekit trust add FILE")
        _check_signature(assertion, bare)
        return AuthorityUnproven(assertion.label, f"its signature by key {key_id} is valid, but that key is known by"
                                 " its numbers alone: no account-key says whose it is",
                                 hint="ask its owner for the account-key")

    def _evidence(self, key: Key, now: datetime, above: tuple[bytes, ...]) -> tuple[Assertion, Chain] | None:
        """The highest revision of that name that is believed, and its proof; None: none is at hand.

        Raises:
            TrustError, DocumentError: there are some, and none is believed, or two of one revision are.
        """
        believed: tuple[Assertion, Chain] | None = None
        first: TrustError | DocumentError | None = None
        for candidate in self._stored.get(key, ()):
            if believed is not None and candidate.revision < believed[0].revision:
                break
            try:
                chain = self._prove(candidate, now, above)
            except (TrustError, DocumentError) as error:
                if believed is None and isinstance(error, OutOfTime) and error.counts:
                    raise
                first = first or error
                continue
            if believed is not None and candidate.content != believed[0].content:
                raise Disbelief(candidate.label, f"there is another one of revision {candidate.revision}, and they"
                                " differ", hint="keep the right one of the two")
            believed = believed or (candidate, chain)
        if believed is None and first is not None:
            raise first
        return believed

    def _ask_rules(self, assertion: Assertion, value: Any, now: datetime,
                   above: tuple[bytes, ...]) -> Iterable[Assertion]:
        """Hold it to the rules of its type; all that had to be believed for that. A root stands by itself."""
        root = self._roots.get(assertion.key_id)
        if root is not None and assertion.content == root.assertion.content:
            return ()
        asked: dict[bytes, Assertion] = {}

        def believe(kind: str, *primary_key: str) -> Assertion | None:
            found = self._evidence((kind, primary_key), now, above)
            if found is None:
                return None
            asked.update((item.content, item) for item in found[1].assertions)
            return found[0]

        witness = Witness(assertion=assertion, root_accounts=self.root_accounts, believe=believe,
                          all_of=lambda kind: [key[1] for key in sorted(self._stored) if key[0] == kind])
        RULES[assertion.type](witness, value)
        return asked.values()

    def _check_newest(self, assertion: Assertion, now: datetime) -> None:
        """Raises: Disbelief: a verified assertion of the same name has a higher revision, or a root has that name."""
        if not kind_of(assertion.type).has_authority:
            return
        kept = self._stored.get(_key(assertion), [])
        if _key(assertion) in self._fixed and kept[0].revision <= assertion.revision and (
                kept[0].content != assertion.content):
            raise Disbelief(assertion.label, "a root of trust has that name and says something else",
                            hint="only the folder with your roots of trust can change a root")
        for newer in kept:
            if newer.revision <= assertion.revision:
                return
            ended = False
            try:
                self._prove(newer, now, ())
            except OutOfTime as error:
                if not error.counts:
                    continue
                ended = True
            except (TrustError, DocumentError):
                continue
            raise Replaced(assertion.label, f"its revision {assertion.revision} was replaced by revision"
                           f" {newer.revision}", ended=ended)


def _key(assertion: Assertion) -> Key:
    return assertion.type, assertion.primary_key


def _no_root(signer: AccountKey) -> str:
    return (f"its signature is valid, but leads to key {short(signer.key_id)} of {signer.account_id!r}, which signed"
            " itself and is no trusted root")


def _without_root(error: Disbelief, signer: AccountKey) -> str:
    """Why a key leads to no root: the end of the way, which is the same for all that it signed."""
    if isinstance(error, AuthorityUnproven):
        return error.cause
    return (f"its signature is valid, but leads to key {short(signer.key_id)} of {signer.account_id!r}, and"
            f" {error.cause}")


def _check_signature(assertion: Assertion, key: PublicKey) -> None:
    try:
        verify_signature(key, assertion.content, unarmor(assertion.signature, what="signature"))
    except TrustError as error:
        raise Disbelief(assertion.label, error.message, hint=error.hint, verb="verify") from error
    except DocumentError as error:
        raise DocumentError(f"cannot verify {assertion.label}: {error.message}", hint=error.hint) from error


def _own_key(value: AccountKeyRequest | SerialRequest) -> PublicKey:
    """The key that a request brings, and that signs it."""
    return value.key if isinstance(value, AccountKeyRequest) else value.device_key


def _is_signed(assertion: Assertion, signer: AccountKey) -> bool:
    try:
        _check_signature(assertion, signer.key)
    except (TrustError, DocumentError):
        return False
    return True


def _check_own_time(assertion: Assertion, value: Any, signer: AccountKey) -> None:
    """An account-key and a system-user have no time of their own; the other types that are verified have."""
    when = getattr(value, "timestamp", None)
    if when is None or signer.valid_at(when):
        return
    end = f" to {format_time(signer.until)}" if signer.until else ""
    raise Disbelief(assertion.label, f"its timestamp {format_time(when)} lies outside the validity of the key that"
                    f" signed it, from {format_time(signer.since)}{end}", verb="verify")
