"""What is believed, and what an attacker tries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from imagekit.assertions import (
    Assertion,
    AuthorityUnproven,
    Database,
    UnknownKey,
    decode_one,
    parse_account_key,
    snap_id,
)
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import sign, sign_account, sign_account_key, sign_declaration, sign_revision
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import sign_content
from imagekit.testing.documents import NOW, REAL_ROOT_KEY, SIGNED, SINCE, Brand, real, signing_key

REAL_ROOT = (*real("canonical-root.account"), *real("canonical-root.account-key"))
STRANGER = signing_key("stranger")
STORE = signing_key("store")
SHA3 = "A" * 64


def real_database() -> Database:
    database = Database(REAL_ROOT)
    for name in ("store-key-and-publisher.assertions", "valid-for-testing.account", "valid-for-testing.account-key"):
        for assertion in real(name):
            database.add(assertion)
    return database


def types(database: Database, assertion: Assertion, *, now: datetime = NOW) -> list[str]:
    return [link.assertion.type for link in database.verify(assertion, now=now).links]


# --- what holds


@pytest.mark.parametrize("name", ["valid-for-testing-pc-18.model", "valid-for-testing-pc-20.model"])
def test_real_model_is_led_back_to_the_real_root(name: str) -> None:
    chain = real_database().verify(real(name)[0], now=NOW)
    assert [link.assertion.type for link in chain.links] == ["account-key"] * 3 + ["model"]
    assert [link.signer.name for link in chain.links] == ["root", "root", "store", "phelps-test-key"]
    root = chain.links[0].account_key
    assert root is not None and root.key_id == REAL_ROOT_KEY
    assert [account.text("account-id") for account in chain.accounts] == ["canonical", "test-snapd"]


def test_everything_real_is_believed() -> None:
    database = real_database()
    for kind in ("account", "account-key"):
        assert len(database.all(kind)) == {"account": 3, "account-key": 4}[kind]
        for assertion in database.all(kind):
            database.verify(assertion, now=NOW)


def test_own_brand_is_its_own_root() -> None:
    brand = Brand()
    model, revision = brand.model(), brand.revision("pc-kernel", 1, sha3=SHA3, size=4096)
    database = brand.database()
    assert types(database, model) == ["account-key", "model"]
    assert types(database, revision) == ["account-key", "snap-revision"]
    assert types(database, brand.declaration("pc-kernel")) == ["account-key", "snap-declaration"]
    assert types(database, brand.account) == ["account-key", "account"]
    assert types(database, brand.account_key) == ["account-key"]


def test_root_key_alone_is_enough_to_trust_a_brand() -> None:
    brand = Brand()
    assert types(Database([brand.account_key]), brand.model()) == ["account-key", "model"]


def test_root_vouches_for_a_second_key_of_its_own_and_for_a_brand() -> None:
    store = Brand("store")
    second = sign_account_key(STRANGER.public, account_id="store", authority_id="store", name="second", since=SINCE,
                              key=store.key)
    brand = Brand("acme")
    vouched = sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                               key=STRANGER)
    account = sign_account("acme", authority_id="store", key=STRANGER, timestamp=SIGNED)
    database = Database(store.roots)
    for assertion in (second, vouched, account):
        database.add(assertion)
    assert types(database, brand.model()) == ["account-key", "account-key", "account-key", "model"]


def test_find_takes_defaults_of_the_primary_key_and_other_headers() -> None:
    brand = Brand()
    revision = brand.revision("pc", 3, sha3=SHA3, size=10)
    database = brand.database()
    assert database.find("snap-revision", **{"snap-sha3-384": SHA3}) == revision
    assert database.find("snap-revision", snap_sha3_384=SHA3, provenance="global-upload") == revision
    assert database.find("snap-revision", snap_revision="3", snap_id=snap_id("acme", "pc")) == revision
    assert database.find("snap-revision", snap_revision="4") is None
    assert database.find("snap-revision", snap_sha3_384=SHA3, snap_revision="4") is None
    assert database.find("snap-revision", snap_sha3_384="B" * 64) is None


# --- keys that must not be believed


def test_stranger_signs_a_model_in_the_brands_name() -> None:
    forged = Brand("acme", key="stranger").model()
    with pytest.raises(UnknownKey, match="no account-key at hand"):
        Brand().database().verify(forged, now=NOW)


def test_stranger_brings_a_self_signed_key_in_the_brands_name() -> None:
    stranger = Brand("acme", key="stranger")
    database = Brand().database(stranger.account_key)
    with pytest.raises(AuthorityUnproven, match=r"signature is valid, but leads to key .* signed itself and is no"):
        database.verify(stranger.model(), now=NOW)
    with pytest.raises(AuthorityUnproven):
        database.verify(stranger.account_key, now=NOW)
    with pytest.raises(AuthorityUnproven):
        database.verify(stranger.account, now=NOW)


def test_nothing_is_believed_without_a_root() -> None:
    brand = Brand()
    database = Database([])
    for assertion in (*brand.roots, brand.model()):
        database.add(assertion)
    with pytest.raises(AuthorityUnproven):
        database.verify(brand.model(), now=NOW)


def test_key_whose_own_signer_is_unknown_leaves_the_authority_unproven() -> None:
    database = Database([])
    database.add(real("valid-for-testing.account-key")[0])
    with pytest.raises(AuthorityUnproven):
        database.verify(real("valid-for-testing-pc-20.model")[0], now=NOW)


def test_real_chain_is_unproven_for_a_user_of_another_root() -> None:
    database = Database(Brand().roots)
    for name in ("canonical-root.account-key", "canonical-root.account", "store-key-and-publisher.assertions",
                 "valid-for-testing.account", "valid-for-testing.account-key"):
        for assertion in real(name):
            database.add(assertion)
    with pytest.raises(AuthorityUnproven):
        database.verify(real("valid-for-testing-pc-20.model")[0], now=NOW)


def test_key_of_another_account_signs_in_the_brands_name() -> None:
    stranger = Brand("stranger")
    headers: dict[str, Header] = {**Brand().model().headers, "sign-key-sha3-384": STRANGER.public.key_id}
    forged = sign(headers, key=STRANGER, created=SIGNED)
    database = Database([*Brand().roots, *stranger.roots])
    with pytest.raises(TrustError, match="'acme' is said to speak, but the key that signed belongs to 'stranger'"):
        database.verify(forged, now=NOW)


def test_brand_that_is_no_root_vouches_for_a_key() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    assert types(database, brand.model()) == ["account-key", "account-key", "model"]
    for forged in (
            sign_account_key(STRANGER.public, account_id="acme", authority_id="acme", name="mine", since=SINCE,
                             key=brand.key),
            sign_account_key(STRANGER.public, account_id="store", authority_id="acme", name="mine", since=SINCE,
                             key=brand.key),
            sign_account("victim", authority_id="acme", key=brand.key, timestamp=SIGNED)):
        with pytest.raises(TrustError, match="'acme' is no root of trust"):
            database.verify(forged, now=NOW)
        assert not isinstance(_error(lambda forged=forged: database.verify(forged, now=NOW)), AuthorityUnproven)


def _error(act: Callable[[], object]) -> BaseException:
    with pytest.raises(TrustError) as caught:
        act()
    return caught.value


def test_one_root_vouches_for_a_key_of_another_root() -> None:
    acme, store = Brand("acme"), Brand("store")
    forged_key = sign_account_key(STRANGER.public, account_id="acme", authority_id="store", name="mine", since=SINCE,
                                  key=store.key)
    forged = Brand("acme", key="stranger").model()
    database = Database([*acme.roots, *store.roots])
    database.add(forged_key)
    with pytest.raises(TrustError, match="'acme' is a root of trust of its own, 'store' cannot vouch for it"):
        database.verify(forged, now=NOW)


def test_root_names_another_account_as_its_owner() -> None:
    forged = sign_account_key(STRANGER.public, account_id="acme", authority_id="stranger", name="root", since=SINCE,
                              key=STRANGER)
    with pytest.raises(TrustError, match="signed by itself"):
        Database([forged])


def test_root_with_a_broken_signature_in_the_folder_of_trust() -> None:
    root = Brand().account_key
    with pytest.raises(TrustError, match="changed after it was signed"):
        Database([decode_one(root.encode().replace(b"name: root", b"name: toor"), name="root")])


def test_keys_that_vouch_for_each_other_in_a_circle() -> None:
    one, two = Brand("one", key="stranger"), Brand("two", key="store")
    database = Database(Brand().roots)
    for owner, signer in ((one, two), (two, one)):
        database.add(sign_account_key(owner.key.public, account_id=owner.name, authority_id=signer.name, name="key",
                                      since=SINCE, key=signer.key))
        database.add(sign_account(owner.name, authority_id=signer.name, key=signer.key, timestamp=SIGNED))
    with pytest.raises(AuthorityUnproven):
        database.verify(one.model(), now=NOW)


def test_account_that_needs_itself_as_its_proof() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    database.add(brand.account)
    with pytest.raises(TrustError):
        database.verify(brand.model(), now=NOW)


def test_key_that_is_known_by_its_numbers_alone_proves_the_signature_and_no_authority() -> None:
    brand = Brand()
    database = Database([], public_keys=[brand.key.public])
    with pytest.raises(AuthorityUnproven, match="is valid, but that key is known by its numbers alone"):
        database.verify(brand.model(), now=NOW)
    with pytest.raises(TrustError, match="changed after it was signed") as caught:
        database.verify(changed(brand.model(), "amd64", "arm64"), now=NOW)
    assert not isinstance(caught.value, AuthorityUnproven)


def test_signature_that_does_not_hold_is_refused_before_its_authority_is_unproven() -> None:
    stranger = Brand("acme", key="stranger")
    database = Brand().database(stranger.account_key)
    with pytest.raises(TrustError, match="changed after it was signed") as caught:
        database.verify(changed(stranger.model(), "amd64", "arm64"), now=NOW)
    assert not isinstance(caught.value, AuthorityUnproven)


def test_brand_without_an_account_assertion_is_nobody() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    with pytest.raises(TrustError, match="nothing at hand says who 'acme' is"):
        database.verify(brand.model(), now=NOW)


def test_account_key_whose_id_is_that_of_another_key() -> None:
    acme = Brand()
    forged = decode_one(acme.account_key.encode().replace(acme.account_key.body, armor(STRANGER.public.encode())),
                        name="forged")
    assert forged.body != acme.account_key.body
    with pytest.raises(DocumentError, match="is not the id of the key in the body"):
        Database([forged])


# --- times


@pytest.mark.parametrize(("now", "reason"), [
    (SINCE - timedelta(seconds=1), "is valid from 2025-01-01T00:00:00Z only"),
    (SIGNED + timedelta(days=30), "expired at 2026-01-31T00:00:00Z"),
])
def test_key_outside_of_its_time_now(now: datetime, reason: str) -> None:
    brand = Brand(until=SIGNED + timedelta(days=30))
    types(brand.database(), brand.model(), now=SIGNED)
    with pytest.raises(TrustError, match=reason) as caught:
        brand.database().verify(brand.model(), now=now)
    assert caught.value.hint is not None


@pytest.mark.parametrize("since", [SIGNED + timedelta(seconds=1), None])
def test_model_dated_outside_of_its_keys_time(since: datetime | None) -> None:
    brand = Brand(since=since) if since else Brand(until=SIGNED)
    now = NOW if since else SIGNED - timedelta(seconds=1)
    with pytest.raises(TrustError, match="lies outside the validity of the key"):
        brand.database().verify(brand.model(), now=now)


def test_expired_key_in_the_middle_of_the_chain() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    database.add(sign_account_key(STRANGER.public, account_id="store", authority_id="store", name="second", since=SINCE,
                                  until=SIGNED, key=store.key))
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=STRANGER))
    assert len(types(database, brand.model(timestamp="2025-12-01T00:00:00Z"), now=SIGNED - timedelta(days=1))) == 4
    with pytest.raises(TrustError, match="expired"):
        database.verify(brand.model(), now=NOW)


def test_key_ended_by_a_newer_account_key() -> None:
    store, brand = Brand("store"), Brand("acme")

    def vouch(until: datetime | None, revision: int) -> Assertion:
        return sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                until=until, revision=revision, key=store.key)

    database = Database(store.roots)
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    database.add(vouch(None, 0))
    types(database, brand.model())
    database.add(vouch(SIGNED + timedelta(days=1), 1))
    with pytest.raises(TrustError, match="expired"):
        database.verify(brand.model(), now=NOW)
    database.add(vouch(None, 0))  # the attacker brings back the old one
    with pytest.raises(TrustError, match="expired"):
        database.verify(brand.model(), now=NOW)
    with pytest.raises(TrustError, match="revision 0 was replaced by revision 1"):
        database.verify(vouch(None, 0), now=NOW)


def test_ended_key_stays_ended_when_the_signer_of_its_end_is_over_too() -> None:
    store, brand = Brand("store"), Brand("acme")
    ending = sign_account_key(STRANGER.public, account_id="store", authority_id="store", name="second", since=SINCE,
                              until=SIGNED + timedelta(days=2), key=store.key)
    database = Database([*store.roots, ending])
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    types(database, brand.model())
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  until=SIGNED + timedelta(days=1), revision=1, key=STRANGER))
    with pytest.raises(TrustError, match="expired"):
        database.verify(brand.model(), now=NOW)


def test_forged_end_of_a_key_by_an_expired_signer_ends_nothing() -> None:
    store, brand = Brand("store"), Brand("acme")
    expired = sign_account_key(STRANGER.public, account_id="store", authority_id="store", name="second", since=SINCE,
                               until=SIGNED, key=store.key)
    database = Database([*store.roots, expired])
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    real_key = sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                key=store.key)
    ended = sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                             until=SIGNED, revision=1, key=STRANGER)
    database.add(real_key)
    database.add(changed(ended, "name: acme", "name: emca"))
    types(database, brand.model())


@pytest.mark.parametrize("signer", ["self-signed", "vouched"])
def test_expired_key_of_somebody_who_is_no_root_ends_the_key_of_a_brand(signer: str) -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    account = sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED)
    free = sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                            key=store.key)
    said, by = ("store", STRANGER) if signer == "self-signed" else ("other", store.key)
    expired = sign_account_key(STRANGER.public, account_id=said, authority_id="store", name="x", since=SINCE,
                               until=SIGNED, key=by)
    other = sign_account("other", authority_id="store", key=store.key, timestamp=SIGNED)
    forged = sign_account_key(brand.key.public, account_id="acme", authority_id=said, name="acme", since=SINCE,
                              until=SIGNED, revision=9, key=STRANGER)
    for assertion in (account, free, expired, other, forged):
        database.add(assertion)
    types(database, brand.model())
    types(database, free)


# --- changed bytes


def changed(assertion: Assertion, old: str, new: str) -> Assertion:
    raw = assertion.encode()
    assert old.encode() in raw
    return decode_one(raw.replace(old.encode(), new.encode(), 1), name="changed")


@pytest.mark.parametrize(("old", "new"), [
    ("architecture: amd64", "architecture: arm64"),
    ("grade: signed", "grade: dangerous"),
    ("model: pc\n", "model: pd\n"),
    ("timestamp: 2026-01-01T00:00:00Z", "timestamp: 2026-01-01T00:00:01Z"),
    ("name: pc-kernel", "name: pc-kernem"),
    ("default-channel: latest/stable", "default-channel: latest/edge"),
    ("\ntimestamp", "\nrevision: 1\ntimestamp"),
    ("\ntimestamp", "\nrequired: added\ntimestamp"),
    ("timestamp: 2026", "timestamp:\n    2026"),
])
def test_one_changed_field_of_a_model(old: str, new: str) -> None:
    brand = Brand()
    with pytest.raises(TrustError, match="changed after it was signed"):
        brand.database().verify(changed(brand.model(), old, new), now=NOW)


@pytest.mark.parametrize("kind", ["model", "snap-revision", "snap-declaration", "account", "account-key"])
def test_one_flipped_bit_anywhere(kind: str) -> None:
    brand = Brand()
    revision = brand.revision("pc", 1, sha3=SHA3, size=10, verity_root="0f" * 32)
    victim = {"model": brand.model(), "snap-revision": revision,
              "snap-declaration": brand.declaration("pc"), "account": brand.account,
              "account-key": brand.account_key}[kind]
    raw = victim.encode()
    database = brand.database()
    database.verify(victim, now=NOW)
    for at in [*range(0, len(victim.content), 3), *range(len(victim.content), len(raw) - 1, 17)]:
        flipped = bytearray(raw)
        flipped[at] ^= 1 << at % 8
        with pytest.raises((TrustError, DocumentError)):
            database.verify(decode_one(bytes(flipped), name="flipped"), now=NOW)


def test_body_replaced_by_another_signed_one() -> None:
    acme = Brand()
    other = sign_account_key(STRANGER.public, account_id="acme", authority_id="acme", name="root", since=SINCE,
                             key=acme.key)
    swapped = acme.account_key.encode().replace(acme.account_key.body, other.body)
    with pytest.raises(DocumentError, match="is not the id of the key in the body"):
        Database(acme.roots).verify(decode_one(swapped, name="swapped"), now=NOW)


def test_signature_moved_to_another_assertion_of_the_same_key() -> None:
    brand = Brand()
    model, account = brand.model(), brand.account
    moved = dataclasses.replace(model, signature=account.signature)
    with pytest.raises(TrustError, match="changed after it was signed"):
        brand.database().verify(moved, now=NOW)


def test_headers_claim_more_than_the_signed_content() -> None:
    brand = Brand()
    revision = brand.revision("pc", 1, sha3=SHA3, size=10)
    raw = revision.encode()
    hidden = raw.replace(b"\n\n", b"\n\nverity-root: " + b"0f" * 32 + b"\n\n", 1)
    with pytest.raises((TrustError, DocumentError)):
        brand.database().verify(decode_one(hidden, name="hidden"), now=NOW)


# --- who may say what


def test_package_digest_signed_by_a_brand_that_is_no_root() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED))
    revision = brand.revision("pc", 1, sha3=SHA3, size=10)
    for assertion in (revision, brand.declaration("pc")):
        with pytest.raises(TrustError, match="only such an account may sign a snap-"):
            database.verify(assertion, now=NOW)


def test_package_of_one_root_signed_by_another_root() -> None:
    acme, other = Brand("acme"), Brand("store")
    declared = acme.declaration("pc")
    forged = sign({"type": "snap-revision", "authority-id": "store", "snap-sha3-384": SHA3,
                   "snap-id": snap_id("acme", "pc"), "snap-revision": "9", "snap-size": "10", "developer-id": "acme",
                   "timestamp": "2026-01-01T00:00:00Z"}, key=other.key, created=SIGNED)
    database = Database([*acme.roots, *other.roots])
    database.add(declared)
    with pytest.raises(TrustError, match="'store' signed it, but 'acme' declared the package"):
        database.verify(forged, now=NOW)


@pytest.mark.parametrize(("publisher", "name"), [("store", "pc"), ("acme", "pc"), ("acme", "other")])
def test_package_of_one_root_declared_by_another_root(publisher: str, name: str) -> None:
    acme, other = Brand("acme"), Brand("store")
    forged = sign({"type": "snap-declaration", "authority-id": "store", "series": "16",
                   "snap-id": snap_id("acme", "pc"), "snap-name": name, "publisher-id": publisher,
                   "timestamp": "2026-01-01T00:00:00Z"},
                  key=other.key, created=SIGNED)
    database = Database([*acme.roots, *other.roots])
    with pytest.raises(TrustError, match="'store' cannot declare it"):
        database.verify(forged, now=NOW)


def test_package_revision_without_a_declaration() -> None:
    brand = Brand()
    revision = sign_revision("acme", "pc", 1, sha3_384=SHA3, size=10, key=brand.key, timestamp=SIGNED)
    with pytest.raises(TrustError, match="no snap-declaration at hand"):
        brand.database().verify(revision, now=NOW)


def test_model_signed_by_another_authority_than_its_brand() -> None:
    brand = Brand()
    headers: dict[str, Header] = {**brand.model().headers, "brand-id": "victim"}
    content = b"\n".join(f"{name}: {value}".encode() for name, value in headers.items() if isinstance(value, str))
    raw = content + b"\n\n" + armor(sign_content(brand.key, content, created=SIGNED, what="it")) + b"\n"
    with pytest.raises(DocumentError, match=r"alone signs its models|problems"):
        brand.database().verify(decode_one(raw, name="forged"), now=NOW)


def test_type_without_rules_is_not_believed_for_its_signature_alone() -> None:
    brand = Brand()
    content = (f"type: cluster\nauthority-id: acme\ncluster-id: x\nsequence: 1\n"
               f"sign-key-sha3-384: {brand.key.public.key_id}").encode()
    raw = content + b"\n\n" + armor(sign_content(brand.key, content, created=SIGNED, what="it")) + b"\n"
    with pytest.raises(DocumentError, match="rules of a cluster are not known"):
        brand.database().verify(decode_one(raw, name="x"), now=NOW)


# --- taking the place of another


def test_older_revision_brought_back() -> None:
    brand = Brand()
    old, new = brand.model(architecture="amd64"), brand.model(revision="1", architecture="arm64")
    database = Database(brand.roots)
    database.add(new)
    database.add(old)
    assert database.find("model", model="pc") == new
    types(database, new)
    with pytest.raises(TrustError, match="revision 0 was replaced by revision 1"):
        database.verify(old, now=NOW)


def test_forged_higher_revision_does_not_make_the_real_one_old() -> None:
    brand = Brand()
    database = Database(brand.roots)
    database.add(changed(brand.model(), "\nseries", "\nrevision: 9\nseries"))
    types(database, brand.model())


def test_two_models_of_one_name_and_revision_are_judged_each_by_itself() -> None:
    brand = Brand()
    database = Database(brand.roots)
    for model in (brand.model(), brand.model(architecture="arm64"), brand.model()):
        database.add(model)
        types(database, model)
    assert len(database.all("model")) == 1


def test_two_accounts_of_one_revision_that_both_hold_prove_nothing() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    for name in ("Acme", "Emca"):
        database.add(sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED, display_name=name))
    with pytest.raises(TrustError, match="there is another one of revision 0, and they differ"):
        database.verify(brand.model(), now=NOW)


def test_account_that_was_changed_does_not_take_the_place_of_the_real_one() -> None:
    store, brand = Brand("store"), Brand("acme")
    database = Database(store.roots)
    account = sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED)
    database.add(changed(account, "display-name: acme", "display-name: emca"))
    database.add(account)
    database.add(sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                  key=store.key))
    assert database.verify(brand.model(), now=NOW).accounts[-1] == account


@pytest.mark.parametrize("revision", [0, 5])
def test_root_replaced_by_what_came_along(revision: int) -> None:
    brand = Brand()
    database = Database(brand.roots)
    forged = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="new", since=SINCE,
                              revision=revision, key=brand.key)
    with pytest.raises(TrustError, match="a root of trust has that name"):
        database.add(forged)
    with pytest.raises(TrustError, match="a root of trust has that name"):
        database.verify(forged, now=NOW)
    assert database.find("account-key", name="root") == brand.account_key


@pytest.mark.parametrize("revision", ["0", "5"])
def test_account_of_a_root_replaced_by_what_came_along(revision: str) -> None:
    brand = Brand()
    database = Database(brand.roots)
    forged = brand.sign({**brand.account.headers, "revision": revision, "display-name": "Emca"}, created=SINCE)
    with pytest.raises(TrustError, match="a root of trust has that name"):
        database.add(forged)
    assert database.find("account", display_name="acme") == brand.account


def test_two_roots_of_one_revision_that_differ_in_the_folders_of_trust() -> None:
    brand = Brand()
    other = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="other", since=SINCE,
                             key=brand.key)
    with pytest.raises(TrustError, match="there is another root of that name and revision 0, and they differ"):
        Database([*brand.roots, other])


def test_older_copy_of_a_root_that_came_along_is_let_go() -> None:
    brand = Brand()
    newer = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="root", since=SINCE,
                             revision=1, key=brand.key)
    database = Database([newer])
    database.add(brand.account_key)
    assert database.find("account-key", name="root") == newer


def test_newer_of_two_roots_in_the_folders_counts() -> None:
    brand = Brand()
    ended = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="root", since=SINCE,
                             until=SIGNED + timedelta(days=1), revision=1, key=brand.key)
    for folders in ((brand.account_key, ended), (ended, brand.account_key)):
        with pytest.raises(TrustError, match="expired"):
            Database(folders).verify(brand.model(), now=NOW)


def test_forged_higher_revision_of_a_key_neither_counts_nor_shadows_the_real_one() -> None:
    database = real_database()
    store = real("store-key-and-publisher.assertions")[0]
    forged = changed(store, "revision: 2", "revision: 99")
    database.add(forged)
    assert len(types(database, real("valid-for-testing-pc-20.model")[0])) == 4
    with pytest.raises(TrustError, match="changed after it was signed"):
        database.verify(forged, now=NOW)


def test_two_declarations_of_a_package_that_differ_prove_no_revision() -> None:
    brand = Brand()
    revision = brand.revision("pc", 1, sha3=SHA3, size=10)
    database = brand.database(sign_declaration("acme", "pc", key=brand.key, timestamp=NOW))
    with pytest.raises(TrustError, match="there is another one of revision 0, and they differ"):
        database.verify(revision, now=NOW)


def test_declaration_by_a_stranger_does_not_take_the_place_of_the_real_one() -> None:
    brand = Brand()
    revision = brand.revision("pc", 1, sha3=SHA3, size=10)
    types(brand.database(sign_declaration("acme", "pc", key=STORE, timestamp=NOW)), revision)


def test_request_types_are_never_kept() -> None:
    content = f"type: serial-request\nsign-key-sha3-384: {'A' * 64}".encode()
    with pytest.raises(DocumentError, match="never kept"):
        Database([]).add(decode_one(content + b"\n\nAQ==\n", name="x"))


def test_real_keys_are_not_in_force_before_their_time() -> None:
    assert not parse_account_key(real("valid-for-testing.account-key")[0]).valid_at(SINCE - timedelta(days=3650))
    with pytest.raises(TrustError, match="valid from 2023-09-27"):
        real_database().verify(real("valid-for-testing-pc-20.model")[0], now=datetime(2023, 1, 1, tzinfo=UTC))
