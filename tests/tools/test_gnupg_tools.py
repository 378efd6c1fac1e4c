"""GnuPG itself: what it exports we read, what it signs we verify, what we sign it verifies.

Keys are made in a folder of their own, as snapd makes and uses them (its asserts/gpgkeypairmgr.go: RSA 4096, dated
2016-01-01, the name as the only user id; signed by a detached signature with SHA-512).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.errors import TrustError
from imagekit.host.keyring import Keyring
from imagekit.keys import PrivateKey, PublicKey, sign_content, verify_signature
from imagekit.openpgp.packets import Reader, encode_packet
from imagekit.openpgp.secretkeys import choose, decode_secret_keys, open_key
from imagekit.testing.documents import SIGNED, signing_key
from imagekit.testing.openpgp import CREATED, Seal, certified_export, export, fingerprint, public_export

pytestmark = pytest.mark.tools

PASSPHRASE = "correct horse"
CONTENT = b"type: model\nmodel: pc"
PARAMETERS = f"""\
Key-Type: RSA
Key-Length: 4096
Name-Real: {{name}}
Creation-Date: seconds={CREATED}
Preferences: SHA512
{{passphrase}}
"""


@dataclass(frozen=True)
class GnuPG:
    """GnuPG in a home of its own."""

    home: Path

    def __call__(self, *args: object, stdin: bytes = b"", status: int = 0) -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--quiet", "--batch", "--yes", "--no-auto-check-trustdb",
                "--pinentry-mode", "loopback", *map(str, args)]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        assert done.returncode == status, done.stderr.decode()
        return done.stdout

    def secret(self, name: str, *options: object) -> bytes:
        return self("--passphrase", PASSPHRASE, *options, "--export-secret-keys", f"={name}")

    def sign(self, name: str, content: bytes) -> bytes:
        return self("--passphrase", PASSPHRASE, "--personal-digest-preferences", "SHA512", "--default-key",
                    self.fingerprint(name), "--detach-sign", stdin=content)

    def fingerprint(self, name: str) -> str:
        listed = self("--list-secret-keys", "--with-colons", f"={name}").decode()
        return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


@pytest.fixture(scope="module")
def gpg() -> Iterator[GnuPG]:
    """With two keys: `open` has no passphrase, `sealed` has one."""
    if shutil.which("gpg") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gpg is not installed")
    with tempfile.TemporaryDirectory(prefix="gnupg-") as folder:  # short, as the agent's socket lies in it
        gnupg = GnuPG(Path(folder))
        for name, line in (("open", "%no-protection"), ("sealed", f"Passphrase: {PASSPHRASE}")):
            gnupg("--gen-key", stdin=PARAMETERS.format(name=name, passphrase=line).encode())
        yield gnupg
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, capture_output=True)


@pytest.mark.parametrize("options", [(), ("--armor",)], ids=["binary", "armour"])
@pytest.mark.parametrize("name", ["open", "sealed"])
def test_export_is_taken_over(gpg: GnuPG, tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    keys = Keyring(tmp_path / "keys")
    stored = keys.add(name, gpg.secret(name, *options), passphrase=PASSPHRASE.encode)
    assert stored.encrypted == (name == "sealed")
    assert keys.load(name, passphrase=PASSPHRASE.encode).public.bits == 4096
    assert choose(decode_secret_keys(gpg.secret(name)), None).fingerprint == gpg.fingerprint(name)


def test_whole_keyring_is_an_export_of_several_keys(gpg: GnuPG, tmp_path: Path) -> None:
    raw = gpg("--passphrase", PASSPHRASE, "--export-secret-keys")
    keys = Keyring(tmp_path / "keys")
    for name in ("open", "sealed"):
        stored = keys.add(name, raw, passphrase=PASSPHRASE.encode, key_id=name)
        assert stored.public == choose(decode_secret_keys(gpg.secret(name)), None).public


def test_wrong_passphrase_is_found_out(gpg: GnuPG, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="not the right one"):
        Keyring(tmp_path / "keys").add("sealed", gpg.secret("sealed"), passphrase=b"wrong horse".strip)


def test_key_id_is_that_of_the_numbers_in_the_public_export(gpg: GnuPG) -> None:
    public = next(Reader(gpg("--export", "=open"), "it").packets())
    reader = Reader(public.body[6:], "it")
    key = PublicKey(n=reader.mpi(), e=reader.mpi())
    imported = choose(decode_secret_keys(gpg.secret("open")), None)
    assert imported.public == key
    assert key.encode() == b"\x01" + encode_packet(6, public.body), "dated as key ids demand"


@pytest.mark.parametrize("name", ["open", "sealed"])
def test_what_gnupg_signs_as_snapd_has_it_sign_verifies(gpg: GnuPG, name: str) -> None:
    key = choose(decode_secret_keys(gpg.secret(name)), None).public
    assert key is not None
    verify_signature(key, CONTENT, b"\x01" + gpg.sign(name, CONTENT))


def with_issuer(signature: bytes, key: PrivateKey) -> bytes:
    """A signature packet of ours with an issuer added to its unhashed part: without one GnuPG looks for no key."""
    body = Reader(signature, "it").packet().body
    head = 6 + int.from_bytes(body[4:6], "big")
    assert body[head:head + 2] == b"\0\0"
    return encode_packet(2, body[:head] + b"\0\x0a\x09\x10" + fingerprint(key)[-8:] + body[head + 2:])


@pytest.mark.parametrize("name", ["brand", "open"])
def test_gpgv_verifies_what_we_sign_under_the_key_dated_as_assertions_have_it(
        gpg: GnuPG, tmp_path: Path, name: str) -> None:
    keys = {"brand": signing_key("brand"), "open": open_key(choose(decode_secret_keys(gpg.secret("open")), None), None)}
    key = keys[name]
    assert b"\x01" + public_export(key) == key.public.encode()
    signature = sign_content(key, CONTENT, created=SIGNED, what="it")
    (tmp_path / "ring.gpg").write_bytes(certified_export(key, "brand"))
    (tmp_path / "sig").write_bytes(with_issuer(signature[1:], key))
    for content, status in ((CONTENT, 0), (CONTENT + b"\n", 1)):
        (tmp_path / "content").write_bytes(content)
        done = subprocess.run(["gpgv", "--homedir", tmp_path, "--keyring", tmp_path / "ring.gpg", tmp_path / "sig",
                               tmp_path / "content"], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert ("Good signature" in done.stderr) == (status == 0)


@pytest.mark.parametrize("seal", [
    Seal(passphrase=PASSPHRASE.encode(), cipher=cipher, hash=hashing, usage=usage, count=count)
    for cipher, hashing, usage, count in (
        (2, 2, 254, 96), (3, 2, 254, 96), (7, 8, 254, 0), (8, 10, 254, 200), (9, 9, 254, 96), (9, 11, 254, None),
        (7, 2, 255, 96))])
def test_exports_that_the_tests_make_are_exports_to_gnupg(tmp_path: Path, gpg: GnuPG, seal: Seal) -> None:
    """So that reading them proves something: GnuPG opens each, and gives the same key back."""
    key = signing_key("brand")
    with tempfile.TemporaryDirectory(prefix="gnupg-") as folder:
        other = GnuPG(Path(folder))
        other("--passphrase", PASSPHRASE, "--allow-non-selfsigned-uid", "--import",
              stdin=export(key, seal, user_id="brand"))
        back = choose(decode_secret_keys(other.secret("brand")), None)
        subprocess.run(["gpgconf", "--homedir", folder, "--kill", "all"], check=False, capture_output=True)
    assert open_key(back, PASSPHRASE.encode()).public == key.public
