"""Whose a key is, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from imagekit.assertions import Database, parse_account_key
from imagekit.build.accountkeys import make_root, revise, vouch
from imagekit.build.sign import Authority, authority_for
from imagekit.errors import TrustError, UsageError
from imagekit.testing.documents import NOW, SIGNED, SINCE, Brand, signing_key

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def brand() -> Brand:
    return Brand()


@pytest.fixture
def root(brand: Brand) -> Authority:
    return authority_for(brand.key, brand.roots, name="acme")


def test_root_vouches_for_itself_and_its_account() -> None:
    made = make_root(signing_key("brand"), account_id="acme", name="acme-1", since=SINCE, until=LATER)
    key = made.account_key
    assert (key.account_id, key.name, key.since, key.until, key.self_signed) == ("acme", "acme-1", SINCE, LATER, True)
    assert made.account is not None
    Database([key.assertion]).verify(made.account, now=NOW)


def test_root_vouches_for_a_second_key_of_its_brand(root: Authority) -> None:
    made = vouch(signing_key("stranger").public, root, account_id="acme", name="second", since=SIGNED, until=None,
                 now=NOW)
    assert made.account is None and not made.account_key.self_signed
    second = authority_for(signing_key("stranger"), (*root.trusted, made.account_key.assertion), name="second")
    assert second.account_id == "acme"


def test_root_vouches_for_another_brand_and_says_who_that_is(root: Authority) -> None:
    early = SINCE - timedelta(days=9)
    made = vouch(signing_key("stranger").public, root, account_id="other", name="other", since=early, until=None,
                 now=NOW)
    assert made.account is not None and made.account.text("account-id") == "other"
    database = Database([*root.trusted, *made.assertions])
    database.verify(made.account_key.assertion, now=NOW)
    again = vouch(signing_key("store").public, Authority(key=root.key, account_key=root.account_key,
                                                         trusted=(*root.trusted, *made.assertions)),
                  account_id="other", name="more", since=SINCE, until=None, now=NOW)
    assert again.account is None


def test_brand_that_is_no_root_cannot_vouch(root: Authority) -> None:
    stranger = signing_key("stranger")
    made = vouch(stranger.public, root, account_id="other", name="other", since=SINCE, until=None, now=NOW)
    other = authority_for(stranger, (*root.trusted, *made.assertions), name="other")
    with pytest.raises(TrustError, match="no root of trust"):
        vouch(signing_key("store").public, other, account_id="other", name="x", since=SINCE, until=None, now=NOW)


def test_root_cannot_vouch_for_another_root(root: Authority) -> None:
    store = Brand("store")
    by = Authority(key=root.key, account_key=root.account_key, trusted=(*root.trusted, *store.roots))
    with pytest.raises(TrustError, match="a root of trust of its own"):
        vouch(signing_key("stranger").public, by, account_id="store", name="x", since=SINCE, until=None, now=NOW)


def test_period_that_ends_before_it_begins_is_refused(root: Authority) -> None:
    with pytest.raises(UsageError, match="ends 2025-01-01T00:00:00Z: it begins 2025-01-01"):
        make_root(root.key, account_id="acme", name="a", since=SINCE, until=SINCE)
    with pytest.raises(UsageError):
        vouch(root.key.public, root, account_id="acme", name="a", since=SINCE, until=SINCE, now=NOW)
    with pytest.raises(UsageError):
        revise(root.account_key, root, until=SINCE, created=NOW, now=NOW)


def test_revision_changes_the_end_alone_and_replaces_what_was(root: Authority, brand: Brand) -> None:
    made = vouch(signing_key("stranger").public, root, account_id="acme", name="second", since=SIGNED, until=None,
                 now=NOW).account_key
    by = Authority(key=root.key, account_key=root.account_key, trusted=(*root.trusted, made.assertion))
    ended = revise(made, by, until=NOW - timedelta(days=1), created=NOW, now=NOW)
    assert (ended.assertion.revision, ended.until) == (1, NOW - timedelta(days=1))
    same = {"type", "authority-id", "public-key-sha3-384", "account-id", "name", "since"}
    assert {name: ended.assertion.headers[name] for name in same} == {
        name: made.assertion.headers[name] for name in same}
    model = Brand(key="stranger").model()
    database = Database([*brand.roots, made.assertion])
    database.verify(model, now=NOW)
    database.add(ended.assertion)
    with pytest.raises(TrustError, match="expired"):
        database.verify(model, now=NOW)
    renewed = revise(ended, Authority(key=root.key, account_key=root.account_key,
                                      trusted=(*root.trusted, ended.assertion)), until=None, created=NOW, now=NOW)
    assert (renewed.assertion.revision, renewed.until) == (2, None)
    database.add(renewed.assertion)
    database.verify(model, now=NOW)


def test_root_may_end_itself_and_be_renewed(root: Authority, brand: Brand) -> None:
    ended = revise(root.account_key, root, until=SIGNED, created=NOW, now=NOW)
    assert ended.self_signed and ended.until == SIGNED
    database = Database([*brand.roots, ended.assertion])
    with pytest.raises(TrustError, match="expired"):
        database.verify(brand.model(), now=NOW)
    renewed = revise(ended, root, until=LATER, created=NOW, now=NOW)
    Database([*brand.roots, ended.assertion, renewed.assertion]).verify(brand.model(), now=NOW)


def test_change_that_changes_nothing_is_refused(root: Authority) -> None:
    with pytest.raises(UsageError, match="has no end already"):
        revise(root.account_key, root, until=None, created=NOW, now=NOW)
    ended = revise(root.account_key, root, until=LATER, created=NOW, now=NOW)
    with pytest.raises(UsageError, match="ends at 2030-01-01T00:00:00Z already"):
        revise(parse_account_key(ended.assertion), root, until=LATER, created=NOW, now=NOW)
