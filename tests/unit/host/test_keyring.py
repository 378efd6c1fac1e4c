"""Private keys on disk, and who may get at them."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.keyring import Keyring, Kind
from imagekit.host.signer import ExternalKey, Program
from imagekit.keys import PrivateKey
from imagekit.testing.documents import TESTS, signing_key
from imagekit.testing.openpgp import Seal, export

PASSPHRASE = b"correct horse"


def never() -> bytes:
    raise AssertionError("nobody should ask for a passphrase")


def pem_of(name: str, passphrase: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return signing_key(name).rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


@pytest.fixture
def filled(keys: Keyring) -> Keyring:
    keys.add("acme", pem_of("brand"), passphrase=never)
    return keys


def test_new_key_has_the_bits_to_sign_and_is_kept(keys: Keyring) -> None:
    made = keys.create("acme-1", passphrase=None)
    assert made.public.bits == 4096
    assert keys.load("acme-1", passphrase=never).public == made.public


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_files_are_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        keys = Keyring(tmp_path / "deep" / "keys")
        keys.add("acme", pem_of("brand"), passphrase=never)
    finally:
        os.umask(before)
    assert stat.S_IMODE(keys.folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.folder.iterdir() if path.suffix} == {
        "acme.pem": 0o600, "acme.pub": 0o600, ".imagekit.lock": 0o644 & ~mask}


def test_key_with_a_passphrase_is_encrypted_and_opens_with_it_only(keys: Keyring) -> None:
    keys.create("acme", passphrase=PASSPHRASE)
    stored = keys.stored("acme")
    assert stored.encrypted and b"ENCRYPTED" in stored.path.read_bytes()
    assert keys.load("acme", passphrase=lambda: PASSPHRASE).public == stored.public
    with pytest.raises(TrustError, match="not the right one"):
        keys.load("acme", passphrase=lambda: b"wrong")
    with pytest.raises(TrustError, match="not the right one"):
        keys.load("acme", passphrase=lambda: b"")


def test_listing_needs_no_passphrase(keys: Keyring) -> None:
    assert keys.names() == ()
    keys.add("beta", pem_of("stranger", PASSPHRASE), passphrase=lambda: PASSPHRASE)
    keys.add("alpha", pem_of("brand"), passphrase=never)
    assert keys.names() == ("alpha", "beta")
    assert [keys.stored(name).encrypted for name in keys.names()] == [False, True]
    assert keys.stored("beta").public == signing_key("stranger").public


def test_imported_key_keeps_its_passphrase(keys: Keyring) -> None:
    keys.add("acme", pem_of("brand", PASSPHRASE), passphrase=lambda: PASSPHRASE)
    assert keys.load("acme", passphrase=lambda: PASSPHRASE).public == signing_key("brand").public
    assert b"ENCRYPTED" in keys.export_private("acme")


def test_exported_key_can_be_imported(filled: Keyring, tmp_path: Path) -> None:
    other = Keyring(tmp_path / "other")
    other.add("copy", filled.export_private("acme"), passphrase=never)
    assert other.stored("copy").public == filled.stored("acme").public


def test_second_key_of_the_same_name_is_refused_and_the_first_kept(filled: Keyring) -> None:
    before = filled.export_private("acme")
    with pytest.raises(UsageError, match="there is one of that name"):
        filled.add("acme", pem_of("stranger"), passphrase=never)
    with pytest.raises(UsageError, match="there is one of that name"):
        filled.create("acme", passphrase=None)
    assert filled.export_private("acme") == before


@pytest.mark.parametrize("name", ["", "../acme", "a/b", ".acme", "a b", "a.pem", "a--b", "-a", "ä"])
def test_name_that_could_be_a_path_is_refused(keys: Keyring, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a key"):
        keys.create(name, passphrase=None)
    with pytest.raises(UsageError, match="cannot find key"):
        keys.load(name, passphrase=never)


def test_unknown_key_is_told_with_those_that_are_there(filled: Keyring) -> None:
    with pytest.raises(UsageError, match="there is acme"):
        filled.load("acmee", passphrase=never)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_key_file_that_others_may_get_at_is_refused(filled: Keyring, mode: int) -> None:
    path = filled.stored("acme").path
    path.chmod(mode)
    with pytest.raises(TrustError, match=f"others may get at it \\(mode {mode:04o}\\)") as caught:
        filled.load("acme", passphrase=never)
    assert caught.value.hint is not None and caught.value.hint.startswith(f"chmod 600 {path}")
    with pytest.raises(TrustError):
        filled.export_private("acme")


def test_key_folder_that_others_may_get_at_is_refused(filled: Keyring) -> None:
    filled.folder.chmod(0o750)
    for act in (filled.names, lambda: filled.stored("acme"),
                lambda: filled.add("new", pem_of("stranger"), passphrase=never)):
        with pytest.raises(TrustError, match="key folder"):
            act()


def test_link_in_the_place_of_a_key_file_is_refused(filled: Keyring, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(pem_of("stranger"))
    (tmp_path / "elsewhere").chmod(0o600)
    (filled.folder / "link.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError):
        filled.load("link", passphrase=never)


def test_key_swapped_under_its_name_is_refused(filled: Keyring) -> None:
    path = filled.folder / "acme.pem"
    path.write_bytes(pem_of("stranger"))
    with pytest.raises(TrustError, match=r"another key than its \.pub says"):
        filled.load("acme", passphrase=never)


@pytest.mark.parametrize(("pem", "kind", "reason"), [
    (b"", DocumentError, "not a private key in PEM"),
    (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", DocumentError, "not a private key"),
    (pem_of("brand")[:500], DocumentError, "not a private key"),
    (pem_of("brand", PASSPHRASE)[:500], TrustError, "passphrase is not the right one"),
    (ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
     DocumentError, "no RSA key"),
    (rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), TrustError, "2048 bits, at least 4096"),
], ids=["empty", "junk", "cut", "cut and encrypted", "elliptic", "short"])
def test_file_that_is_no_usable_key_is_not_imported(
        keys: Keyring, pem: bytes, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason) as caught:
        keys.add("acme", pem, passphrase=lambda: PASSPHRASE)
    assert keys.names() == ()
    assert b"PRIVATE" not in str(caught.value).encode()


def test_older_encrypted_form_is_imported(keys: Keyring) -> None:
    pem = signing_key("brand").rsa.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL,
                                                 BestAvailableEncryption(PASSPHRASE))
    keys.add("acme", pem, passphrase=lambda: PASSPHRASE)
    assert keys.export_private("acme").startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_passphrase_and_key_never_show_in_errors_or_names(keys: Keyring) -> None:
    keys.create("acme", passphrase=PASSPHRASE)
    secret = keys.load("acme", passphrase=lambda: PASSPHRASE)
    with pytest.raises(TrustError) as caught:
        keys.load("acme", passphrase=lambda: b"wrong horse")
    shown = f"{caught.value!r} {caught.value.hint} {secret!r} {keys.stored('acme')!r}"
    assert "horse" not in shown and "BEGIN" not in shown


def test_write_that_fails_half_way_leaves_no_key_behind(keys: Keyring) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # room for the public part, not for the private one
    try:
        with pytest.raises(HostError, match="cannot write"):
            keys.add("acme", pem_of("brand"), passphrase=never)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert keys.names() == ()
    assert not [path for path in keys.folder.iterdir() if path.name.startswith(".new-")]
    keys.add("acme", pem_of("brand"), passphrase=never)


GNUPG = TESTS / "keys" / "gnupg"
PROGRAM = Program(argv=("/bin/true", "--slot", "1"), timeout_s=9)


def test_key_from_gnupg_keeps_its_passphrase(keys: Keyring) -> None:
    raw = (GNUPG / "TEST-ONLY-protected.gpg").read_bytes()
    stored = keys.add("old", raw, passphrase=lambda: b"test only")
    assert stored.encrypted and keys.load("old", passphrase=lambda: b"test only").public == stored.public
    plain = keys.add("plain", (GNUPG / "TEST-ONLY-plain.asc").read_bytes(), passphrase=never)
    assert not plain.encrypted and plain.public == stored.public


def test_key_of_several_in_an_export_is_named(keys: Keyring) -> None:
    raw = export(signing_key("brand"), user_id="acme") + export(signing_key("stranger"), user_id="other")
    with pytest.raises(UsageError, match="holds 2 keys"):
        keys.add("new", raw, passphrase=never)
    assert keys.add("new", raw, passphrase=never, key_id="other").public == signing_key("stranger").public
    with pytest.raises(UsageError, match="only an export of GnuPG's can hold several"):
        keys.add("pem", pem_of("brand"), passphrase=never, key_id="acme")


def test_wrong_passphrase_and_short_key_of_gnupg_are_refused(keys: Keyring) -> None:
    raw = (GNUPG / "TEST-ONLY-protected.gpg").read_bytes()
    with pytest.raises(TrustError, match="not the right one"):
        keys.add("old", raw, passphrase=lambda: b"test  only")
    short = PrivateKey(rsa=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(TrustError, match="2048 bits, at least 4096"):
        keys.add("old", export(short, Seal(passphrase=PASSPHRASE)), passphrase=never)
    assert keys.names() == ()


def test_key_of_a_program_is_listed_beside_the_others(filled: Keyring) -> None:
    public = signing_key("stranger").public
    stored = filled.add_external("hsm", public, PROGRAM)
    assert filled.names() == ("acme", "hsm")
    assert (stored.kind, stored.public, stored.program, stored.encrypted) == (Kind.EXTERNAL, public, PROGRAM, False)
    assert filled.stored("acme").kind == Kind.LOCAL
    assert filled.load("hsm", passphrase=never) == ExternalKey(public=public, program=PROGRAM)
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    assert b"PRIVATE" not in stored.path.read_bytes() and b"BEGIN" not in stored.path.read_bytes()


def test_key_of_a_program_has_no_private_part_to_export(filled: Keyring) -> None:
    filled.add_external("hsm", signing_key("stranger").public, PROGRAM)
    with pytest.raises(UsageError, match="the program that signs with it has it"):
        filled.export_private("hsm")


def test_program_that_others_may_exchange_is_refused(filled: Keyring) -> None:
    path = filled.add_external("hsm", signing_key("stranger").public, PROGRAM).path
    path.chmod(0o620)
    with pytest.raises(TrustError, match="others may get at it"):
        filled.load("hsm", passphrase=never)


def test_program_that_is_not_there_makes_no_key(keys: Keyring) -> None:
    with pytest.raises(HostError, match="it is not there"):
        keys.add_external("hsm", signing_key("brand").public, Program(argv=("/no/such/program",)))
    assert keys.names() == ()


def test_name_of_a_program_and_of_a_file_is_one_name(filled: Keyring) -> None:
    with pytest.raises(UsageError, match="there is one of that name"):
        filled.add_external("acme", signing_key("stranger").public, PROGRAM)
    filled.add_external("hsm", signing_key("stranger").public, PROGRAM)
    with pytest.raises(UsageError, match="there is one of that name"):
        filled.add("hsm", pem_of("stranger"), passphrase=never)
    (filled.folder / "hsm.pem").write_bytes(pem_of("stranger"))
    with pytest.raises(TrustError, match=r"there are both hsm\.pem and hsm\.signer"):
        filled.load("hsm", passphrase=never)
