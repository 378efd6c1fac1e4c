"""Exports of GnuPG's: real ones, made ones in every protection, and broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import DocumentError, ImagekitError, TrustError, UsageError
from imagekit.keys import PrivateKey, PublicKey, sign_content, verify_signature
from imagekit.openpgp.packets import Reader, encode_mpi, encode_packet
from imagekit.openpgp.s2k import S2K
from imagekit.openpgp.secretkeys import SecretKey, choose, decode_secret_keys, looks_like_export, open_key
from imagekit.testing.documents import SIGNED, signing_key
from imagekit.testing.openpgp import CREATED, Seal, export, public_export, secret_body
from tests.patience import patience

GNUPG = Path(__file__).parents[2] / "keys" / "gnupg"
PASSPHRASE = b"test only"
CHEAP = Seal(passphrase=PASSPHRASE, count=0)


def real(name: str) -> bytes:
    return (GNUPG / f"TEST-ONLY-{name}").read_bytes()


def only(raw: bytes) -> SecretKey:
    return choose(decode_secret_keys(raw), None)


@pytest.fixture(scope="module")
def brand() -> PrivateKey:
    return signing_key("brand")


@pytest.mark.parametrize(("name", "passphrase"), [("plain.asc", None), ("protected.gpg", PASSPHRASE)])
def test_key_of_gnupg_is_opened_and_signs(name: str, passphrase: bytes | None) -> None:
    key = only(real(name))
    assert (key.algorithm, key.user_ids, key.subkey) == ("RSA", ("test-only",), False)
    assert (key.protection is not None) == (passphrase is not None)
    opened = open_key(key, passphrase)
    assert opened.public == key.public and opened.public.bits == 4096
    signature = sign_content(opened, b"content", created=SIGNED, what="it")
    verify_signature(opened.public, b"content", signature)


def test_key_id_is_computed_from_the_numbers_as_from_any_others() -> None:
    """The public export is dated 2016-01-01 as snapd's are, so its packet is the one that key ids are made of."""
    public = next(Reader(dearmored_public(), "it").packets())
    assert public.body[1:5] == CREATED.to_bytes(4, "big")
    key = only(real("plain.asc"))
    assert key.public is not None
    assert key.public.encode() == b"\x01" + encode_packet(6, public.body)
    reader = Reader(public.body[6:], "it")
    assert key.public.key_id == PublicKey(n=reader.mpi(), e=reader.mpi()).key_id


def dearmored_public() -> bytes:
    from imagekit.openpgp.armor import dearmor

    return dearmor(real("public.asc"), kinds=("PUBLIC KEY BLOCK",), what="it")


def test_key_of_another_date_has_the_same_key_id_and_another_fingerprint(brand: PrivateKey) -> None:
    one, other = only(export(brand)), only(export(brand, created=1_700_000_000))
    assert one.public == other.public == brand.public
    assert one.fingerprint != other.fingerprint


def test_signature_by_gnupg_as_snapd_has_it_made_verifies() -> None:
    key = only(real("plain.asc"))
    assert key.public is not None
    content, signature = ((GNUPG / name).read_bytes() for name in ("content", "content.sig"))
    verify_signature(key.public, content, b"\x01" + signature)
    with pytest.raises(TrustError, match="changed"):
        verify_signature(key.public, content + b"\n", b"\x01" + signature)


@pytest.mark.parametrize("cipher", [2, 3, 7, 8, 9])
@pytest.mark.parametrize("usage", [254, 255])
def test_every_cipher_and_checksum_is_opened(brand: PrivateKey, cipher: int, usage: int) -> None:
    key = only(export(brand, Seal(passphrase=PASSPHRASE, cipher=cipher, usage=usage)))
    assert open_key(key, PASSPHRASE).public == brand.public
    with pytest.raises(TrustError, match="the passphrase is not the right one, or the key is damaged"):
        open_key(key, PASSPHRASE + b" ")


@pytest.mark.parametrize("hashing", [2, 8, 9, 10, 11])
@pytest.mark.parametrize("count", [None, 0, 60, 255])
def test_every_way_from_passphrase_to_key_is_known(brand: PrivateKey, hashing: int, count: int | None) -> None:
    key = only(export(brand, Seal(passphrase=PASSPHRASE, hash=hashing, count=count)))
    assert open_key(key, PASSPHRASE).public == brand.public


def test_passphrase_longer_than_the_count_is_hashed_whole(brand: PrivateKey) -> None:
    long = b"x" * 5000
    assert open_key(only(export(brand, Seal(passphrase=long, count=0))), long).public == brand.public


def test_costliest_derivation_ends() -> None:
    with patience():
        S2K(hash="sha1", salt=b"saltsalt", count=65011712).derive(b"x", 32)


def test_several_keys_must_be_told_apart(brand: PrivateKey) -> None:
    stranger = signing_key("stranger")
    keys = decode_secret_keys(export(brand, user_id="acme") + export(stranger, user_id="other <o@example.com>"))
    with pytest.raises(UsageError, match="holds 2 keys") as caught:
        choose(keys, None)
    assert "--key-id" in (caught.value.hint or "") and "'acme'" in caught.value.details[0]
    for wanted in ("acme", keys[0].fingerprint, keys[0].fingerprint[-16:].lower(), "0x" + keys[0].fingerprint[-8:],
                   brand.public.key_id, " ".join(keys[0].fingerprint)):
        assert choose(keys, wanted) is keys[0]
    with pytest.raises(UsageError, match="no such key in it"):
        choose(keys, "acm")
    with pytest.raises(UsageError, match="no such key"):
        choose(keys, keys[0].fingerprint[-7:])
    same = decode_secret_keys(export(brand, user_id="acme") + export(stranger, user_id="acme"))
    with pytest.raises(UsageError, match="2 keys in it are called so"):
        choose(same, "acme")


def test_the_same_key_twice_is_one_key(brand: PrivateKey) -> None:
    assert only(export(brand) + export(brand)).public == brand.public


def test_primary_key_is_taken_before_its_subkeys(brand: PrivateKey) -> None:
    raw = export(brand) + export(signing_key("stranger"), tag=7)
    assert only(raw).public == brand.public
    keys = decode_secret_keys(raw)
    assert choose(keys, keys[1].fingerprint).public == signing_key("stranger").public


def test_only_subkey_that_is_there_is_taken(brand: PrivateKey) -> None:
    dummy = public_export(brand).replace(b"\xc6", b"\xc5", 1)
    body = Reader(dummy, "it").packet().body + b"\xff\x00\x65\x00GNU\x01"
    raw = encode_packet(5, body) + encode_packet(13, b"acme") + export(signing_key("stranger"), tag=7)
    keys = decode_secret_keys(raw)
    assert [key.unusable for key in keys] == ["its secret part is not in the export", None]
    assert choose(keys, None).public == signing_key("stranger").public


@pytest.mark.parametrize(("protection", "reason"), [
    (b"\xfe\x00\x65\x00GNU\x01", "is not in the export"),
    (b"\xfe\x00\x65\x00GNU\x02\x04abcd", "is on a card"),
    (b"\xfe\x00\x65\x00ABC\x02", "kept in an unknown way"),
    (b"\xfe\x09\x00\x08", "string-to-key 0"),
    (b"\xfe\x09\x04\x08", "string-to-key 4"),
    (b"\xfe\x09\x03\x01saltsalt\x60", "hash 1"),
    (b"\xfe\x01\x03\x08saltsalt\x60", "cipher 1"),
    (b"\xfd\x09\x02\x03\x08saltsalt\x60", "usage 253"),
    (b"\x09", "usage 9"),
])
def test_protection_that_is_not_opened_is_named(brand: PrivateKey, protection: bytes, reason: str) -> None:
    public = Reader(public_export(brand), "it").packet().body
    keys = decode_secret_keys(encode_packet(5, public + protection))
    with pytest.raises(DocumentError, match="no RSA key that can be opened") as caught:
        choose(keys, None)
    assert reason in caught.value.details[0]
    with pytest.raises(DocumentError, match="cannot use RSA key"):
        choose(keys, keys[0].fingerprint)


def test_curve_key_is_refused_by_name() -> None:
    with pytest.raises(DocumentError, match="no RSA key") as caught:
        only(real("curve.asc"))
    assert caught.value.details[0] == "EdDSA key 'curve': it is no RSA key that signs, and assertions know no other"


def test_export_of_the_public_key_says_how_to_get_the_secret_one() -> None:
    with pytest.raises(DocumentError, match="public keys only") as caught:
        decode_secret_keys(real("public.asc"))
    assert caught.value.hint == "export the secret one: gpg --export-secret-keys NAME"


@pytest.mark.parametrize(("raw", "reason"), [
    (encode_packet(11, b"text"), "a message, not keys"),
    (encode_packet(13, b"nobody"), "no key"),
    (b"-----BEGIN PGP MESSAGE-----\n\nAAAA\n-----END PGP MESSAGE-----\n", "PGP MESSAGE"),
    (bytes(2 << 20), "at most 524288"),
    (encode_packet(5, b"\x03" + bytes(20)), None),
])
def test_what_is_no_export_is_refused(raw: bytes, reason: str | None) -> None:
    with pytest.raises(DocumentError, match=reason):
        only(raw)


def test_every_truncation_is_refused(brand: PrivateKey) -> None:
    for raw in (export(brand, user_id=""), export(brand, CHEAP, user_id="")):
        whole = raw[:-2]  # without the empty user id
        for size in [*range(40), *range(40, len(whole), 41), len(whole) - 1]:
            with pytest.raises(DocumentError):
                decode_secret_keys(whole[:size])


@pytest.mark.parametrize("seal", [None, CHEAP, Seal(passphrase=PASSPHRASE, count=0, usage=255)],
                         ids=["plain", "sha-1", "sum"])
def test_key_that_was_changed_in_its_file_is_refused(brand: PrivateKey, seal: Seal | None) -> None:
    """Also in its public numbers, which no checksum covers: signing with them would give the key away."""
    body = secret_body(brand, seal)
    for at in [9, 300, 519, 524, 600, 800, 1200, len(body) - 5, len(body) - 1]:
        changed = bytearray(body)
        changed[at] ^= 0x10
        with pytest.raises((DocumentError, TrustError, UsageError)):
            open_key(only(encode_packet(5, bytes(changed))), PASSPHRASE)


def test_wrong_checksum_of_a_plain_key_is_damage_not_a_passphrase(brand: PrivateKey) -> None:
    body = secret_body(brand)
    with pytest.raises(DocumentError, match="its checksum is wrong"):
        open_key(only(encode_packet(5, body[:-1] + bytes((body[-1] ^ 1,)))), None)


@pytest.mark.parametrize(("p", "q"), [(1, 1), (3, 3), (0, 7), (7, 0)])
def test_factors_that_are_none_are_refused(brand: PrivateKey, p: int, q: int) -> None:
    numbers = b"".join(encode_mpi(number) for number in (5, p, q, 1))
    body = Reader(public_export(brand), "it").packet().body + b"\x00" + numbers
    with pytest.raises(DocumentError, match="do not belong together"):
        open_key(only(encode_packet(5, body + (sum(numbers) % 65536).to_bytes(2, "big"))), None)


def test_key_shows_nothing_secret_and_no_control_characters(brand: PrivateKey) -> None:
    key = only(export(brand, CHEAP, user_id="a\x1b[2Jb"))
    assert key.user_ids == ("a?[2Jb",)
    assert "sealed" not in repr(key) and str(brand.rsa.private_numbers().d) not in repr(key)


def test_many_packets_are_read() -> None:
    raw = encode_packet(13, b"") * (1 << 18)
    with pytest.raises(DocumentError), patience():
        decode_secret_keys(raw)


def test_export_is_told_from_pem() -> None:
    assert looks_like_export(real("plain.asc")) and looks_like_export(real("protected.gpg"))
    assert not looks_like_export(b"-----BEGIN PRIVATE KEY-----\n") and not looks_like_export(b"")


SMALL = encode_packet(5, secret_body(signing_key("brand"), CHEAP))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 560), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_anywhere_ends_in_an_answer(damage: list[tuple[int, int]]) -> None:
    raw = bytearray(SMALL)
    for at, value in damage:
        raw[at] = value
    try:
        key = choose(decode_secret_keys(bytes(raw)), None)
    except ImagekitError:
        return
    assert key.public is not None
