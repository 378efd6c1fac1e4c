"""Keys of stores: made, taken over, and refused."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.storekeys import StoreKeyring, encode_public


@pytest.fixture
def keyring(tmp_path: Path) -> StoreKeyring:
    return StoreKeyring(tmp_path / "store-keys")


def nothing() -> bytes:
    raise AssertionError("nobody shall be asked")


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_key_signs_what_its_public_part_verifies(keyring: StoreKeyring, kind: str) -> None:
    stored = keyring.create("one", kind=kind, passphrase=None)
    signature = keyring.signer("one", passphrase=nothing).sign(b"text")
    stored.public.verify_signature(signature, b"text")
    assert (stored.kind, stored.has_private, stored.encrypted) == (kind, True, False)


def test_a_passphrase_is_asked_for_only_to_sign(keyring: StoreKeyring) -> None:
    keyring.create("one", passphrase=b"secret")
    assert keyring.stored("one").encrypted
    assert keyring.named(keyring.stored("one").key_id) == keyring.stored("one")
    with pytest.raises(TrustError, match="not the right one"):
        keyring.signer("one", passphrase=lambda: b"other")
    keyring.signer("one", passphrase=lambda: b"secret")


def test_a_public_part_alone_is_a_key_that_cannot_sign_here(keyring: StoreKeyring, tmp_path: Path) -> None:
    elsewhere = StoreKeyring(tmp_path / "elsewhere").create("one", passphrase=None)
    stored = keyring.add("one", encode_public(elsewhere.public), passphrase=nothing)
    assert stored.key_id == elsewhere.key_id and not stored.has_private
    with pytest.raises(UsageError, match="not on this machine"):
        keyring.signer("one", passphrase=nothing)


def test_a_private_part_that_is_another_key_s_is_refused(keyring: StoreKeyring) -> None:
    for name in ("one", "two"):
        keyring.create(name, passphrase=None)
    (keyring.folder / "one.pem").write_bytes((keyring.folder / "two.pem").read_bytes())
    with pytest.raises(TrustError, match="holds another key"):
        keyring.signer("one", passphrase=nothing)


def test_a_key_made_elsewhere_is_taken_over_with_its_passphrase(keyring: StoreKeyring) -> None:
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    assert keyring.add("one", pem, passphrase=lambda: b"secret").encrypted


@pytest.mark.parametrize(("private", "message"), [
    (ec.generate_private_key(ec.SECP256R1()), "neither an Ed25519 nor an RSA key"),
    (rsa.generate_private_key(public_exponent=65537, key_size=1024), "at least 2048")])
def test_a_key_of_another_kind_or_too_short_is_refused(keyring: StoreKeyring, private: object, message: str) -> None:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    with pytest.raises((DocumentError, TrustError), match=message):
        keyring.add("one", pem, passphrase=nothing)
    assert keyring.names() == ()


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"keyid": 1}', b"{", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(keyring: StoreKeyring, raw: bytes) -> None:
    with pytest.raises(DocumentError):
        keyring.add("one", raw, passphrase=nothing)


def test_a_name_is_given_once(keyring: StoreKeyring) -> None:
    keyring.create("one", passphrase=None)
    for name in ("one", "../one", "a b", ""):
        with pytest.raises(UsageError):
            keyring.create(name, passphrase=None)


def test_the_public_part_is_what_tuf_has(keyring: StoreKeyring) -> None:
    keyring.create("one", passphrase=None)
    value = json.loads((keyring.folder / "one.json").read_bytes())
    assert set(value) == {"keyid", "keytype", "scheme", "keyval"}


def test_a_key_that_cannot_be_kept_whole_leaves_nothing_behind(keyring: StoreKeyring) -> None:
    """Its public part alone would stand in a role's way, as a key that is elsewhere."""
    keyring.create("first", passphrase=None)
    (keyring.folder / "second.pem").mkdir()
    with pytest.raises((HostError, UsageError)):
        keyring.create("second", passphrase=None)
    assert keyring.names() == ("first",)


def test_two_who_make_a_key_of_one_name_at_once_leave_one_that_signs(tmp_path: Path) -> None:
    folder, made, refused = tmp_path / "keys", [], []
    start = threading.Barrier(4)

    def make() -> None:
        start.wait()
        try:
            made.append(StoreKeyring(folder).create("same", passphrase=None))
        except UsageError as error:
            refused.append(error)

    for _ in range(10):
        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        StoreKeyring(folder).signer("same", passphrase=lambda: b"")
        assert (len(made), len(refused)) == (1, 3)
        made.clear()
        refused.clear()
        StoreKeyring(folder).remove("same")
