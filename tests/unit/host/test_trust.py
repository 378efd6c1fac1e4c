"""Folders of trust."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from imagekit.assertions import Database, decode_one, encode_stream
from imagekit.assertions.signing import sign_account_key
from imagekit.assertions.wire import Assertion, armor
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.folders import default_trust_dir
from imagekit.host.trust import load_trust, read_public_key, replace_account_key, signing_time, store_root
from imagekit.testing.documents import NOW, REAL, SIGNED, SINCE, Brand, real, signing_key


def test_real_folder_is_a_root_for_the_real_chain() -> None:
    database = Database(load_trust([REAL]))
    assert database.root_accounts == {"canonical"}
    assert len(database.verify(real("valid-for-testing-pc-20.model")[0], now=NOW).links) == 4


def test_only_assertion_files_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    brand = Brand()
    (tmp_path / "b.account-key").write_bytes(brand.account_key.encode())
    (tmp_path / "a.assert").write_bytes(encode_stream(brand.roots))
    (tmp_path / "README.md").write_text("not an assertion")
    (tmp_path / "folder.account").mkdir()
    (tmp_path / ".hidden.account-key").write_bytes(Brand("stranger").account_key.encode())
    assert load_trust([tmp_path]) == (*brand.roots, brand.account_key)


def test_own_folder_may_be_absent_a_named_one_may_not(tmp_path: Path) -> None:
    assert load_trust([default_trust_dir()]) == ()
    with pytest.raises(HostError, match="cannot read trust folder"):
        load_trust([tmp_path / "absent"])


def test_file_with_an_assertions_name_that_holds_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.account-key").write_bytes(b"")
    with pytest.raises(DocumentError, match=r"x\.account-key:1: document: it is empty"):
        load_trust([tmp_path])


@pytest.mark.parametrize("what", ["folder", "file"])
def test_trust_that_everybody_may_write_to_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "acme.account-key"
    path.write_bytes(Brand().account_key.encode())
    (tmp_path if what == "folder" else path).chmod(0o777)
    with pytest.raises(TrustError, match="everybody may write to it"):
        load_trust([tmp_path])


def test_absurdly_large_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.assert").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DocumentError, match="larger than"):
        load_trust([tmp_path])


def test_new_root_is_stored_beside_the_account_of_an_older_one(tmp_path: Path) -> None:
    first, second = Brand(), Brand(key="stranger")
    assert [path.name for path in store_root(tmp_path, account=first.account, account_key=first.account_key)] == [
        "acme.account", "root.account-key"]
    with pytest.raises(UsageError, match="such a root of trust already"):
        store_root(tmp_path, account=second.account, account_key=second.account_key)
    (tmp_path / "root.account-key").rename(tmp_path / "older.account-key")
    assert [path.name for path in store_root(tmp_path, account=second.account, account_key=second.account_key)] == [
        "root.account-key"]
    database = Database(load_trust([tmp_path]))
    for brand in (first, second):
        database.verify(brand.model(), now=NOW)


def revised(brand: Brand, name: str = "root") -> Assertion:
    return sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name=name, since=SINCE,
                            until=SIGNED, revision=1, key=brand.key)


def test_account_whose_key_could_not_be_stored_is_not_left_behind(tmp_path: Path) -> None:
    brand = Brand()
    long = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="n" * 235, since=SINCE,
                            key=brand.key)
    with pytest.raises(HostError, match="cannot write"):
        store_root(tmp_path / "trust", account=brand.account, account_key=long)
    assert list((tmp_path / "trust").iterdir()) == []


def test_further_revision_takes_the_place_of_the_one_before_it(tmp_path: Path) -> None:
    brand, other = Brand(), Brand("store")
    (tmp_path / "all.assertions").write_bytes(encode_stream((brand.account, brand.account_key, *other.roots)))
    assert replace_account_key(tmp_path, revised(brand)) == tmp_path / "all.assertions"
    assert load_trust([tmp_path]) == (brand.account, revised(brand), *other.roots)


def test_further_revision_of_what_lies_elsewhere_is_a_file_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    assert replace_account_key(folder, revised(Brand())) == folder / "root.account-key"
    with pytest.raises(UsageError, match="such a root of trust already"):
        replace_account_key(folder, sign_account_key(
            signing_key("store").public, account_id="acme", authority_id="acme", name="root", since=SINCE,
            key=signing_key("store")))


def test_key_without_a_name_is_stored_under_its_id(tmp_path: Path) -> None:
    found = decode_one((REAL / "canonical-root.account-key").read_bytes(), name="x")
    headers = {name: value for name, value in found.headers.items() if name != "name"}
    nameless = replace(found, headers=headers)
    assert store_root(tmp_path, account=None, account_key=nameless) == (tmp_path / "-CvQKAwRQ5h3.account-key",)


def test_signing_time_is_the_source_date_if_there_is_one() -> None:
    clock = SystemClock()
    assert signing_time(clock, {"SOURCE_DATE_EPOCH": "1767225600"}) == datetime(2026, 1, 1, tzinfo=UTC)
    assert abs((signing_time(clock, {}) - clock.now()).total_seconds()) < 60
    assert signing_time(clock, {}).microsecond == 0


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_public_key_is_read_as_tokens_give_it(tmp_path: Path, encoding: Encoding, form: PublicFormat) -> None:
    key = signing_key("brand")
    (tmp_path / "key").write_bytes(key.rsa.public_key().public_bytes(encoding, form))
    assert read_public_key(tmp_path / "key") == key.public


def test_public_key_is_read_as_the_keyring_has_it(tmp_path: Path) -> None:
    key = signing_key("brand").public
    (tmp_path / "acme.pub").write_bytes(armor(key.encode()) + b"\n")
    assert read_public_key(tmp_path / "acme.pub") == key


@pytest.mark.parametrize(("raw", "reason"), [
    (b"", "not a public key"), (b"AQ==", "cut short"),
    (b"-----BEGIN PUBLIC KEY-----\nAAAA\n", "not a public key"), (b"0", "not a public key"),
    (signing_key("brand").rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "not a public key"),
    (ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "no RSA key"),
])
def test_what_is_no_public_rsa_key_is_refused(tmp_path: Path, raw: bytes, reason: str) -> None:
    (tmp_path / "key").write_bytes(raw)
    with pytest.raises(DocumentError, match=reason):
        read_public_key(tmp_path / "key")
