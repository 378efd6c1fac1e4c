"""Packets of keys and signatures, read back by OpenSSL and held against real ones."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from imagekit.assertions.wire import armor, decode_stream, unarmor
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import (
    PrivateKey,
    PublicKey,
    Signer,
    decode_public_key,
    decode_signature,
    sign_content,
    verify_signature,
)
from imagekit.testing.documents import REAL_ROOT_KEY, real, signing_key

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTENT = b"type: model\nmodel: pc"


def sign(signer: Signer, content: bytes) -> bytes:
    return sign_content(signer, content, created=WHEN, what="a test")


@pytest.fixture(scope="module")
def key() -> PrivateKey:
    return signing_key("brand")


@pytest.fixture(scope="module")
def signature(key: PrivateKey) -> bytes:
    return sign(key, CONTENT)


def test_a_real_key_is_read_and_written_back_with_its_id() -> None:
    root = real("canonical-root.account-key")[0]
    key = decode_public_key(unarmor(root.body, what="key"))
    assert key.key_id == REAL_ROOT_KEY
    assert key.bits == 8192
    assert armor(key.encode()) == root.body


@pytest.mark.parametrize("name", [
    "canonical-root.account", "valid-for-testing.account-key", "valid-for-testing-pc-20.model"])
def test_the_three_subpacket_variants_are_read(name: str) -> None:
    head, prefix, number = decode_signature(unarmor(real(name)[0].signature, what="signature"))
    assert len(prefix) == 2 and number.bit_length() > 4000
    assert (b"\x16\x21\x04" in head) == name.endswith(".model")  # the issuer fingerprint of newer signers


def test_a_key_survives_its_encoding(key: PrivateKey) -> None:
    assert decode_public_key(key.public.encode()) == key.public
    assert len(key.public.key_id) == 64


def test_signing_twice_gives_equal_bytes_with_the_creation_time_only(key: PrivateKey, signature: bytes) -> None:
    assert sign(key, CONTENT) == signature
    head, _, _ = decode_signature(signature)
    assert head == bytes((4, 0, 1, 10, 0, 6, 5, 2)) + int(WHEN.timestamp()).to_bytes(4, "big")


def test_own_signature_verifies(key: PrivateKey, signature: bytes) -> None:
    verify_signature(key.public, CONTENT, signature)


def test_a_short_signature_number_is_padded(key: PrivateKey) -> None:
    for count in range(2000):  # one number in 256 has a zero byte in front
        content = b"%d" % count
        signature = sign(key, content)
        if decode_signature(signature)[2].bit_length() <= key.public.bits - 8:
            verify_signature(key.public, content, signature)
            return
    pytest.fail("no short number among 2000 signatures")


def test_a_number_counted_in_whole_bytes_is_read(key: PrivateKey) -> None:
    for count in range(64):
        content = b"%d" % count
        signature = sign(key, content)
        bits = decode_signature(signature)[2].bit_length()
        if bits == 4095:
            at = len(signature) - 512 - 2
            assert signature[at:at + 2] == b"\x0f\xff"
            verify_signature(key.public, content, signature[:at] + b"\x10\x00" + signature[at + 2:])
            return
    pytest.fail("no number of 4095 bits among 64 signatures")


def test_signature_over_changed_content_is_refused_by_the_digest(key: PrivateKey, signature: bytes) -> None:
    with pytest.raises(TrustError, match="changed after it was signed"):
        verify_signature(key.public, CONTENT + b" ", signature)


def test_signature_by_another_key_is_refused(signature: bytes) -> None:
    with pytest.raises(TrustError, match="not one of key"):
        verify_signature(signing_key("stranger").public, CONTENT, signature)


def test_forged_signature_number_above_the_modulus_is_refused(key: PrivateKey, signature: bytes) -> None:
    forged = signature[:-512] + b"\xff" * 512
    with pytest.raises((TrustError, DocumentError)):
        verify_signature(key.public, CONTENT, forged)


def test_short_key_refuses_to_sign_but_verifies() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(TrustError, match="2048 bits, at least 4096"):
        sign(PrivateKey(rsa=private), CONTENT)
    assert decode_public_key(PrivateKey(rsa=private).public.encode()).bits == 2048


@dataclass
class Liar:
    """Says that it is one key and signs with another, or something else."""

    public: PublicKey
    behind: Signer
    other: bytes | None = None

    def sign_digest(self, digest: bytes, *, what: str) -> bytes:
        return self.behind.sign_digest(self.other or digest, what=what)


def test_signer_that_has_another_key_is_found_out(key: PrivateKey) -> None:
    with pytest.raises(TrustError, match="what came back is not a signature by key"):
        sign(Liar(key.public, signing_key("stranger")), CONTENT)


def test_signer_that_signs_another_digest_is_found_out(key: PrivateKey) -> None:
    with pytest.raises(TrustError, match="cannot sign a test: what came back is not a signature"):
        sign(Liar(key.public, key, bytes(64)), CONTENT)


def test_private_key_shows_no_numbers(key: PrivateKey) -> None:
    shown = f"{key!r} {key}"
    assert key.public.key_id in shown
    assert len(shown) < 200


@pytest.mark.parametrize("what", ["key", "signature"])
def test_every_truncation_is_refused(what: str, key: PrivateKey, signature: bytes) -> None:
    blob, decode = (key.public.encode(), decode_public_key) if what == "key" else (signature, decode_signature)
    for size in range(len(blob)):
        with pytest.raises(DocumentError):
            decode(blob[:size])
    with pytest.raises(DocumentError, match="follow"):
        decode(blob + b"\x00")


def test_every_flipped_bit_of_a_signature_is_refused(key: PrivateKey, signature: bytes) -> None:
    for at in [*range(40), *range(40, len(signature), 37)]:
        for bit in range(8):
            flipped = bytearray(signature)
            flipped[at] ^= 1 << bit
            with pytest.raises((DocumentError, TrustError)):
                verify_signature(key.public, CONTENT, bytes(flipped))


@pytest.mark.parametrize(("n", "e"), [
    (1 << 20000 | 1, 65537), ((1 << 4095) + 1, (1 << 200) + 1), ((1 << 4095) + 2, 65537), ((1 << 4095) + 1, 65536),
    ((1 << 4095) + 1, 1)], ids=["long", "long exponent", "even", "even exponent", "exponent of one"])
def test_absurd_key_numbers_are_refused(n: int, e: int) -> None:
    with pytest.raises(DocumentError):
        decode_public_key(PublicKey(n=n, e=e).encode())


@pytest.mark.parametrize(("area", "reason"), [
    (b"", "one creation time"),
    (b"\x05\x02\x00\x00\x00\x01\x05\x02\x00\x00\x00\x01", "one creation time"),
    (b"\x05\x02\x00\x00\x00\x01\x02\x94\x00", "critical subpacket of unknown type 20"),
    (b"\x04\x02\x00\x00\x00", "creation time of 3 bytes"),
    (b"\x00\x05\x02\x00\x00\x00\x01", "empty subpacket"),
    (b"\x09\x02\x00\x00\x00\x01", "cut short"),
])
def test_odd_subpackets_are_refused(area: bytes, reason: str) -> None:
    body = bytes((4, 0, 1, 10)) + len(area).to_bytes(2, "big") + area + b"\x00\x00ab\x00\x01\x01"
    with pytest.raises(DocumentError, match=reason):
        decode_signature(b"\x01\xc2" + bytes((len(body),)) + body)


@pytest.mark.parametrize("kind", [(3, 0, 1, 10), (4, 1, 1, 10), (4, 0, 17, 10), (4, 0, 1, 2), (4, 0, 1, 8)])
def test_other_versions_types_algorithms_and_hashes_are_refused(kind: tuple[int, ...]) -> None:
    body = bytes(kind) + b"\x00\x06\x05\x02\x00\x00\x00\x01\x00\x00ab\x00\x01\x01"
    with pytest.raises(DocumentError, match="only"):
        decode_signature(b"\x01\xc2" + bytes((len(body),)) + body)


@pytest.mark.tools
def test_openssl_accepts_our_signature(key: PrivateKey, signature: bytes, tmp_path: Path,
                                       program: Callable[[str], str]) -> None:
    openssl = program("openssl")
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    head, _, number = decode_signature(signature)
    (tmp_path / "key").write_bytes(key.rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signature").write_bytes(number.to_bytes(512, "big"))
    (tmp_path / "hashed").write_bytes(CONTENT + head + b"\x04\xff" + len(head).to_bytes(4, "big"))
    done = subprocess.run([openssl, "dgst", "-sha512", "-verify", "key", "-signature", "signature", "hashed"],
                          cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n"


def test_every_real_signature_verifies() -> None:
    names = ["canonical-root.account", "canonical-root.account-key", "store-key-and-publisher.assertions",
             "valid-for-testing.account", "valid-for-testing.account-key", "valid-for-testing-pc-18.model",
             "valid-for-testing-pc-20.model"]
    found = [assertion for name in names for assertion in real(name)]
    keys = {item.text("public-key-sha3-384"): decode_public_key(unarmor(item.body, what="key"))
            for item in found if item.type == "account-key"}
    for item in found:
        verify_signature(keys[item.key_id], item.content, unarmor(item.signature, what="signature"))
    assert decode_stream(b"\n".join(item.encode() for item in found), name="all") == tuple(found)
