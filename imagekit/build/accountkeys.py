"""Say whose a key is, and until when: the account-keys of one's own brands.

An account-key is signed by its own private part, which makes it a root of trust for those who name it, or by the key
of a root. It changes by a further revision: the same key and account, another end (snapd's account-key rules). Decides
what is said and that it will be believed; where it is kept is `imagekit.host.trust`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions import AccountKey, parse_account_key
from imagekit.assertions.accounts import AccountKeyRequest, parse_account_key_request
from imagekit.assertions.database import Database
from imagekit.assertions.fields import format_time
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import sign, sign_account, sign_account_key
from imagekit.assertions.wire import Assertion, armor, decode_one, unarmor
from imagekit.build.sign import Authority
from imagekit.errors import UsageError
from imagekit.keys import PublicKey, Signer, verify_signature

_SET_BY_SIGNING = ("sign-key-sha3-384", "body-length")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """An account-key, and the account if nobody had said who that is."""

    account_key: AccountKey
    account: Assertion | None

    @property
    def assertions(self) -> tuple[Assertion, ...]:
        return (*((self.account,) if self.account else ()), self.account_key.assertion)


def make_root(key: Signer, *, account_id: str, name: str, since: datetime, until: datetime | None) -> Vouched:
    """A key that speaks for its own account and is vouched for by itself."""
    check_period(since, until)
    account = sign_account(account_id, authority_id=account_id, key=key, timestamp=since)
    account_key = sign_account_key(key.public, account_id=account_id, authority_id=account_id, name=name, since=since,
                                   until=until, key=key)
    return Vouched(account=account, account_key=parse_account_key(account_key))


def vouch(public: PublicKey, by: Authority, *, account_id: str, name: str, since: datetime, until: datetime | None,
          now: datetime) -> Vouched:
    """Say as a root that a key belongs to an account, its own or another.

    Raises:
        TrustError: nobody would believe it, as `by` is no root.
        UsageError: it ends before it begins.
    """
    check_period(since, until)
    database = Database(by.trusted)
    account = None
    if account_id not in database.root_accounts and database.find("account", account_id=account_id) is None:
        account = sign_account(account_id, authority_id=by.account_id, key=by.key,
                               timestamp=max(since, by.account_key.since))
        database.add(account)
    signed = sign_account_key(public, account_id=account_id, authority_id=by.account_id, name=name, since=since,
                              until=until, key=by.key)
    database.add(signed)
    database.verify(signed, now=now)
    return Vouched(account=account, account_key=parse_account_key(signed))


def request(key: Signer, *, account_id: str, name: str, since: datetime, until: datetime | None) -> Assertion:
    """Ask for an account-key: whoever vouches sees that the private part is at hand, and never gets it."""
    check_period(since, until)
    headers: dict[str, Header] = {
        "type": "account-key-request", "public-key-sha3-384": key.public.key_id, "account-id": account_id,
        "name": name, "since": format_time(since)}
    if until is not None:
        headers["until"] = format_time(until)
    return sign(headers, key=key, created=since, body=armor(key.public.encode()))


def read_request(raw: bytes, *, name: str) -> AccountKeyRequest:
    """Read what `request` made, elsewhere.

    Raises:
        DocumentError: it is none.
        TrustError: it was not signed by the key that it is about.
    """
    assertion = decode_one(raw, name=name)
    asked = parse_account_key_request(assertion)
    verify_signature(asked.key, assertion.content, unarmor(assertion.signature, what=f"signature of {name}"))
    return asked


def revise(current: AccountKey, by: Authority, *, until: datetime | None, created: datetime,
           now: datetime) -> AccountKey:
    """The next revision of an account-key, which differs in its end alone.

    Raises:
        TrustError: nobody would believe it.
        UsageError: it ends before it begins, or says nothing new.
    """
    check_period(current.since, until)
    if until == current.until:
        end = f"ends at {format_time(until)}" if until else "has no end"
        raise UsageError(f"cannot change key {current.name!r} of {current.account_id}: it {end} already")
    headers: dict[str, Header] = {name: value for name, value in current.assertion.headers.items()
                                  if name not in _SET_BY_SIGNING and name != "until"}
    headers["revision"] = str(current.assertion.revision + 1)
    if until is not None:
        headers["until"] = format_time(until)
    signed = sign(headers, key=by.key, created=created, body=current.assertion.body)
    if not current.self_signed:  # a root is believed for lying in the folder of trust; nobody else can vouch for it
        database = Database(by.trusted)
        database.add(signed)
        database.verify(signed, now=now)
    return parse_account_key(signed)


def check_period(since: datetime, until: datetime | None) -> None:
    """Raises: UsageError: it ends before it begins."""
    if until is not None and until <= since:
        raise UsageError(f"cannot make a key that ends {format_time(until)}: it begins {format_time(since)}")
