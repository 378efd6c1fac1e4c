"""Who may say what: each type's rule holds, and each way around it is an attack by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from imagekit.assertions import PARSERS, Assertion, Disbelief, Header, decode_one, encode_content, snap_id
from imagekit.assertions.consistency import RULES
from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.signing import sign, sign_account_key
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import sign_content
from imagekit.testing.documents import NOW, SIGNED, SINCE, Brand, VouchedBrand, holding, signing_key

SHA3 = "A" * 64
TIME = "2026-01-01T00:00:00Z"
STRANGER = signing_key("stranger")


class World:
    """A store that is the only root, and two brands under it that are strangers to each other."""

    def __init__(self) -> None:
        self.store = Brand("store")
        self.acme = VouchedBrand("acme", store=self.store)
        self.other = VouchedBrand("other", store=self.store, key="stranger")

    def verify(self, assertion: Assertion, *more: Assertion) -> list[str]:
        database = holding(self.store.roots, *self.acme.vouched, *self.other.vouched, *more)
        return [link.assertion.type for link in database.verify(assertion, now=NOW).links]

    def refuse(self, reason: str, assertion: Assertion, *more: Assertion) -> None:
        with pytest.raises(Disbelief, match=reason):
            self.verify(assertion, *more)


@pytest.fixture
def world() -> World:
    return World()


def device_key() -> dict[str, Header]:
    public = signing_key("stranger").public
    return {"device-key": armor(public.encode()).decode(), "device-key-sha3-384": public.key_id}


def serial(by: Brand, *, brand: str = "acme", **more: Header) -> Assertion:
    return by.sign({"type": "serial", "authority-id": by.name, "brand-id": brand, "model": "pc", "serial": "1",
                    **device_key(), "timestamp": TIME, **more})


def preseed(by: Brand, *, brand: str = "acme") -> Assertion:
    return by.sign({"type": "preseed", "authority-id": by.name, "series": "16", "brand-id": brand, "model": "pc",
                    "system-label": "20260101", "artifact-sha3-384": SHA3, "timestamp": TIME,
                    "snaps": ({"name": "pc", "id": snap_id("acme", "pc"), "revision": "1"},)})


def system_user(by: Brand, *, brand: str = "acme", models: tuple[str, ...] = ("pc",), **more: Header) -> Assertion:
    return by.sign({"type": "system-user", "authority-id": by.name, "brand-id": brand, "email": "x@acme.example",
                    "series": ("16",), "models": models, "name": "X", "username": "x", "password": "$6$salt$hash",
                    "since": TIME, "until": "2026-12-01T00:00:00Z", **more})


def validation_set(by: Brand, *, account: str | None = None, sequence: int = 1, **more: Header) -> Assertion:
    return by.sign({"type": "validation-set", "authority-id": by.name, "series": "16", "account-id": account or by.name,
                    "name": "tested", "sequence": str(sequence), "timestamp": TIME,
                    "snaps": ({"name": "pc", "id": snap_id("acme", "pc")},), **more})


def store_named(by: Brand, *, operator: str = "acme") -> Assertion:
    return by.sign({"type": "store", "authority-id": by.name, "store": "acme-store", "operator-id": operator,
                    "timestamp": TIME})


def declaration(by: Brand, *, publisher: str = "acme", name: str = "app", **more: Header) -> Assertion:
    return by.sign({"type": "snap-declaration", "authority-id": by.name, "series": "16",
                    "snap-id": snap_id("acme", name), "snap-name": name, "publisher-id": publisher, "timestamp": TIME,
                    **more})


def revision(by: Brand, *, number: int = 1, name: str = "app", developer: str = "acme", **more: Header) -> Assertion:
    return by.sign({"type": "snap-revision", "authority-id": by.name, "snap-sha3-384": SHA3,
                    "snap-id": snap_id("acme", name), "snap-revision": str(number), "snap-size": "10",
                    "developer-id": developer, "timestamp": TIME, **more})


def self_signed(headers: Mapping[str, Header], *, body: bytes = b"") -> Assertion:
    return sign(headers, key=STRANGER, created=SIGNED, body=body)


def serial_request() -> Assertion:
    return self_signed({"type": "serial-request", "brand-id": "acme", "model": "pc", "request-id": "r1",
                        "device-key": device_key()["device-key"]})


def key_request(account: str = "acme") -> Assertion:
    return self_signed({"type": "account-key-request", "account-id": account, "name": "next", "since": TIME,
                        "public-key-sha3-384": STRANGER.public.key_id}, body=armor(STRANGER.public.encode()))


def with_model(world: World, **headers: Header) -> Assertion:
    return world.acme.model(**headers)


# --- what holds


def test_every_type_with_values_has_a_rule_or_is_signed_by_a_key_that_no_account_has() -> None:
    assert set(PARSERS) - set(RULES) == {"device-session-request"}
    assert set(RULES) <= set(PARSERS) <= set(KINDS)


@pytest.mark.parametrize("make", [
    serial, preseed, system_user, validation_set,
    lambda by: by.sign({"type": "snap-build", "authority-id": by.name, "snap-sha3-384": SHA3, "snap-size": "1",
                        "snap-id": snap_id("acme", "app"), "grade": "stable", "timestamp": TIME}),
    lambda by: by.sign({"type": "repair", "authority-id": by.name, "brand-id": by.name, "repair-id": "1",
                        "summary": "mend it", "timestamp": TIME}, body=b"#!/bin/sh\n"),
], ids=["serial", "preseed", "system-user", "validation-set", "snap-build", "repair"])
def test_what_a_brand_says_of_its_own_things_is_believed(world: World, make: Callable[[Brand], Assertion]) -> None:
    made = make(world.acme)
    assert world.verify(made) == ["account-key", "account-key", made.type]


def test_what_only_a_root_may_say_is_believed_of_a_root(world: World) -> None:
    base = world.store.sign({"type": "base-declaration", "authority-id": "store", "series": "16", "timestamp": TIME})
    declared = declaration(world.store)
    for made in (base, store_named(world.store), declared, revision(world.store)):
        assert world.verify(made, declared) == ["account-key", made.type]


def test_request_is_believed_by_its_own_key_and_says_no_more(world: World) -> None:
    chain = holding(world.store.roots).verify(serial_request(), now=NOW)
    assert [link.signer for link in chain.links] == [None] and chain.evidence == ()
    chain = holding(world.store.roots, *world.acme.vouched).verify(key_request(), now=NOW)
    assert chain.links[-1].signer is None and [item.text("account-id") for item in chain.accounts] == ["store", "acme"]


def test_proof_carries_all_that_a_reader_with_the_root_alone_needs(world: World) -> None:
    model = with_model(world, serial_authority=("other",))
    made = serial(world.other)
    chain = holding(world.store.roots, *world.acme.vouched, *world.other.vouched, model).verify(made, now=NOW)
    holding([world.store.account_key], *chain.assertions).verify(made, now=NOW)
    assert model in chain.evidence and {*map(id, chain.accounts)} <= {*map(id, chain.evidence)}


# --- serials


def test_serial_by_an_authority_that_the_model_lists(world: World) -> None:
    world.verify(serial(world.other), with_model(world, serial_authority=("other",)))


def test_serial_by_an_authority_that_the_model_does_not_list(world: World) -> None:
    world.refuse("no model acme/pc lists it in serial-authority", serial(world.other), with_model(world))


def test_serial_by_another_authority_without_any_model(world: World) -> None:
    world.refuse("no believed model acme/pc at hand lists it", serial(world.other))


def test_serial_by_an_authority_that_only_another_model_lists(world: World) -> None:
    world.refuse("no believed model acme/pc at hand", serial(world.other),
                 with_model(world, model="pc-other", serial_authority=("other",)))


def test_serial_by_an_authority_that_a_forged_model_lists(world: World) -> None:
    real, forged = with_model(world), with_model(world, revision="1", serial_authority=("other",))
    broken = decode_one(forged.encode().replace(b"architecture: amd64", b"architecture: arm64"), name="forged")
    world.refuse("no model acme/pc lists it in serial-authority", serial(world.other), real, broken)


def test_serial_by_an_authority_that_a_newer_model_no_longer_lists(world: World) -> None:
    world.refuse("no model acme/pc lists it in serial-authority", serial(world.other),
                 with_model(world, serial_authority=("other",)), with_model(world, revision="1"))


def test_serial_whose_device_key_is_another(world: World) -> None:
    other = signing_key("store").public
    headers = {**serial(world.acme).headers, "device-key": armor(other.encode()).decode()}
    raw = raw_signed(world.acme, headers)
    with pytest.raises(DocumentError, match="device-key"):
        world.verify(raw)


def raw_signed(by: Brand, headers: Mapping[str, Header]) -> Assertion:
    """Signed past the rules, as a tool that has none would."""
    content = encode_content({**headers, "sign-key-sha3-384": by.key.public.key_id})
    return decode_one(content + b"\n\n" + armor(sign_content(by.key, content, created=SIGNED, what="it")) + b"\n",
                      name="raw")


# --- users and preseeds


def test_preseed_by_a_listed_authority_and_by_one_that_is_not(world: World) -> None:
    world.verify(preseed(world.other), with_model(world, preseed_authority=("other",)))
    world.refuse("lists it in preseed-authority", preseed(world.other), with_model(world, serial_authority=("other",)))


@pytest.mark.parametrize("listed", [("other",), "*"])
def test_user_by_an_authority_that_the_model_accepts(world: World, listed: Header) -> None:
    world.verify(system_user(world.other), with_model(world, system_user_authority=listed))
    world.verify(system_user(world.other, models=()), with_model(world, system_user_authority=listed))


def test_user_by_an_authority_that_no_model_accepts(world: World) -> None:
    world.refuse("lists it in system-user-authority", system_user(world.other), with_model(world))
    world.refuse("no believed model of 'acme'", system_user(world.other, models=()))
    world.refuse("no believed model acme/pc at hand", system_user(world.other),
                 with_model(world, model="pc-other", system_user_authority="*"))


def test_user_of_one_brand_by_a_model_of_another_brand(world: World) -> None:
    world.refuse("no believed model acme/pc at hand", system_user(world.other),
                 world.other.model(system_user_authority=("other",)))


# --- roots only


@pytest.mark.parametrize("make", [
    store_named, declaration, revision,
    lambda by: by.sign({"type": "base-declaration", "authority-id": by.name, "series": "16", "timestamp": TIME}),
    lambda by: by.sign({"type": "account", "authority-id": by.name, "account-id": "x" * 8, "display-name": "X",
                        "validation": "verified", "timestamp": TIME}),
    lambda by: sign_account_key(STRANGER.public, account_id="acme", authority_id=by.name, name="mine", since=SINCE,
                                key=by.key),
], ids=["store", "snap-declaration", "snap-revision", "base-declaration", "account", "account-key"])
def test_brand_says_what_only_a_root_may_say(world: World, make: Callable[[Brand], Assertion]) -> None:
    forged = make(world.acme)
    more = [] if forged.type in ("snap-declaration", "account-key") else [declaration(world.store)]
    database = holding(world.store.roots, *world.acme.vouched, *more)
    with pytest.raises(Disbelief, match="'acme' is no root of trust"):
        database.verify(forged, now=NOW)


def test_store_whose_operator_is_nobody(world: World) -> None:
    world.refuse("nothing at hand says who 'nobody' is", store_named(world.store, operator="nobody"))


def test_request_for_a_key_of_nobody(world: World) -> None:
    world.refuse("nothing at hand says who 'nobody' is", key_request("nobody"))


def test_validation_set_in_the_name_of_another_account(world: World) -> None:
    forged = raw_signed(world.other, {**validation_set(world.other).headers, "account-id": "acme"})
    with pytest.raises(DocumentError, match=r"account-id|alone signs it"):
        world.verify(forged)


# --- delegated revisions


def delegation(**more: Header) -> tuple[Mapping[str, Header], ...]:
    return ({"account-id": "acme", "provenance": ("acme-built",), **more},)


def test_delegated_revision_of_a_provenance_that_the_declaration_lists(world: World) -> None:
    declared = declaration(world.store, **{"revision-authority": delegation()})
    made = revision(world.acme, provenance="acme-built")
    assert world.verify(made, declared) == ["account-key", "account-key", "snap-revision"]


@pytest.mark.parametrize(("listed", "by", "number", "provenance"), [
    (delegation(), "other", 1, "acme-built"),
    (delegation(), "acme", 1, "other-built"),
    (delegation(**{"min-revision": "2"}), "acme", 1, "acme-built"),
    (delegation(**{"min-revision": "2", "max-revision": "3"}), "acme", 4, "acme-built"),
    ((), "acme", 1, "acme-built"),
], ids=["other-account", "other-provenance", "too-old", "too-new", "no-delegation"])
def test_delegated_revision_that_the_declaration_does_not_cover(
        world: World, listed: Header, by: str, number: int, provenance: str) -> None:
    declared = declaration(world.store, **({"revision-authority": listed} if listed else {}))
    made = revision(world.acme if by == "acme" else world.other, number=number, provenance=provenance)
    world.refuse("sign no revision", made, declared)


def test_delegation_that_the_declaration_took_back(world: World) -> None:
    declared = declaration(world.store, **{"revision-authority": delegation()})
    newer = declaration(world.store, revision="1")
    world.refuse("sign no revision", revision(world.acme, provenance="acme-built"), declared, newer)


def test_delegated_account_uploads_as_the_store_itself(world: World) -> None:
    declared = declaration(world.store, **{"revision-authority": delegation()})
    world.refuse("'acme' is no root of trust", revision(world.acme), declared)


def test_revision_by_a_developer_that_is_nobody(world: World) -> None:
    world.refuse("nothing at hand says who 'nobody' is", revision(world.store, developer="nobody"),
                 declaration(world.store))


# --- constraints of keys


def constrained(world: World, *constraints: Mapping[str, Header]) -> tuple[Assertion, ...]:
    """Acme's account and a key of its that may sign only what the constraints say."""
    headers = {**world.acme.account_key.headers, "format": "1", "constraints": constraints}
    key = sign({name: value for name, value in headers.items() if name not in ("body-length", "sign-key-sha3-384")},
               key=world.store.key, created=SINCE, body=world.acme.account_key.body)
    return world.acme.account, key


def test_key_signs_what_its_constraints_allow(world: World) -> None:
    proof = constrained(world, {"headers": {"type": "model", "model": "pc-[a-z]+"}},
                        {"headers": {"type": "validation-set"}})
    database = holding(world.store.roots, *proof)
    for made in (world.acme.model(model="pc-x"), validation_set(world.acme)):
        database.verify(made, now=NOW)


@pytest.mark.parametrize("make", [
    lambda acme: acme.model(), lambda acme: acme.model(model="pc-x2"), lambda acme: acme.model(model="x-pc-x"),
    serial, system_user,
], ids=["model", "longer-name", "name-inside", "serial", "system-user"])
def test_key_escapes_its_constraints(world: World, make: Callable[[Brand], Assertion]) -> None:
    database = holding(world.store.roots, *constrained(world, {"headers": {"type": "model", "model": "pc-[a-z]+"}}))
    with pytest.raises(Disbelief, match=r"constraints of key .* of 'acme' do not let it sign this"):
        database.verify(make(world.acme), now=NOW)


def test_key_escapes_its_constraints_by_an_older_account_key_without_any(world: World) -> None:
    account, free = world.acme.vouched
    headers = {**free.headers, "format": "1", "revision": "1",
               "constraints": ({"headers": {"type": "validation-set"}},)}
    narrowed = sign({name: value for name, value in headers.items()
                     if name not in ("body-length", "sign-key-sha3-384")}, key=world.store.key, created=SINCE,
                    body=free.body)
    database = holding(world.store.roots, account, narrowed, free)
    with pytest.raises(Disbelief, match="do not let it sign this"):
        database.verify(world.acme.model(), now=NOW)


# --- the life of keys


def test_rotated_brand_signs_with_its_next_key_while_the_first_is_in_force(world: World) -> None:
    second = VouchedBrand("acme", store=world.store, key="stranger")
    database = holding(world.store.roots, *world.acme.vouched, second.account_key)
    for made in (world.acme.model(), second.model(model="pc-2")):
        database.verify(made, now=NOW)


def test_first_key_after_its_end_signs_nothing_and_what_it_signed_is_no_longer_believed(world: World) -> None:
    ended = VouchedBrand("acme", store=world.store, until=SIGNED + timedelta(days=1), revision=1)
    second = VouchedBrand("acme", store=world.store, key="stranger")
    database = holding(world.store.roots, *world.acme.vouched, ended.account_key, second.account_key)
    database.verify(second.model(), now=NOW)
    late = format_time(SIGNED + timedelta(days=2))
    for made in (world.acme.model(), world.acme.model(model="pc-late", timestamp=late)):
        with pytest.raises(Disbelief, match="expired at 2026-01-02"):
            database.verify(made, now=NOW)


def test_backdated_document_by_a_key_that_came_later(world: World) -> None:
    late = VouchedBrand("acme", store=world.store, since=SIGNED + timedelta(days=1))
    with pytest.raises(TrustError, match="lies outside the validity of the key"):
        holding(world.store.roots, *late.vouched).verify(late.model(), now=NOW)


# --- requests


def test_request_changed_after_it_was_signed() -> None:
    changed = decode_one(serial_request().encode().replace(b"request-id: r1", b"request-id: r2"), name="changed")
    with pytest.raises(Disbelief, match="changed after it was signed"):
        holding(Brand().roots).verify(changed, now=NOW)


def test_request_signed_by_another_key_than_the_device_key() -> None:
    headers = {**serial_request().headers, "device-key": armor(signing_key("store").public.encode()).decode()}
    content = encode_content(headers)
    raw = content + b"\n\n" + armor(sign_content(STRANGER, content, created=SIGNED, what="it")) + b"\n"
    with pytest.raises((DocumentError, TrustError)):
        holding(Brand().roots).verify(decode_one(raw, name="forged"), now=NOW)


def test_older_sequence_of_a_validation_set_stays_what_it_is_and_replaces_none(world: World) -> None:
    first, second = validation_set(world.acme), validation_set(world.acme, sequence=2)
    database = holding(world.store.roots, *world.acme.vouched, first, second)
    for made in (first, second):
        database.verify(made, now=NOW)
    assert len(database.all("validation-set")) == 2
