"""Tricks with signatures: documents with two meanings, swapped algorithms, keys of everybody, other spellings.

Those on TUF's metadata are tried on a device of the small repository, which is honest again afterwards; those on
assertions are truly signed wherever that is possible, so that nothing but the trick is left to refuse them for.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm
from securesystemslib.signer import CryptoSigner, Key, Signature
from tuf.api._payload import _DelegatorMixin
from tuf.api.metadata import Root, Targets
from tuf.api.serialization.json import CanonicalJSONSerializer

from imagekit.assertions import decode_one
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError, TrustError
from imagekit.keys import VERSION, PublicKey, decode_public_key, sign_content, verify_signature
from imagekit.openpgp.packets import encode_mpi, encode_packet
from imagekit.testing.documents import NOW, SIGNED, Brand, signing_key
from tests.attacks.repository import CONTENT, KNOWN, PUBLISHER, World, world_of

ORDER = 2 ** 252 + 27742317777372353535851937790883648493  # of the base point of Ed25519
ONE = bytes([1]) + bytes(31)  # the neutral point, encoded
ROLES = ("timestamp", "snapshot", "targets", PUBLISHER)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        saved = found.repo.saved()
        yield found
        found.repo.restore(saved, root=found.remembers().get("root", 1))
        assert found.fetch() == CONTENT


def edit(world: World, role: str, change: Callable[[bytes], bytes]) -> None:
    """Change what is served of a role's newest version, its signatures as they are."""
    path = world.repo.path(role, world.repo.signed(role).version)
    before = path.read_bytes()
    path.write_bytes(change(before))
    assert path.read_bytes() != before


def without_signatures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_DelegatorMixin, "verify_delegate", lambda *args: None)


# ---- a key that stands twice

def twice(key: str) -> Callable[[bytes], bytes]:
    """What the last of both says is signed; a reader that takes the first one is told something else."""
    return lambda raw: re.sub(rb'("%s":)' % key.encode(), rb'"%s":999,\1' % key.encode(), raw, count=1)


DOUBLED = [(role, key) for role in ROLES for key in ("signed", "signatures", "version")]


def doubled(world: World, role: str, key: str) -> None:
    world.repo.release("targets", PUBLISHER)
    edit(world, role, twice(key))


@pytest.mark.parametrize(("role", "key"), DOUBLED)
def test_document_in_which_a_key_stands_twice_is_refused(world: World, role: str, key: str) -> None:
    doubled(world, role, key)
    with pytest.raises(TrustError, match=f"key repeated: '{key}'"):
        world.fetch()
    assert world.remembers()[role] == KNOWN[role]


@pytest.mark.parametrize(("role", "key"), DOUBLED)
def test_document_in_which_a_key_stands_twice_is_believed_without_its_refusal(
        world: World, monkeypatch: pytest.MonkeyPatch, role: str, key: str) -> None:
    doubled(world, role, key)
    monkeypatch.setattr("imagekit.host.storerules.check_document", lambda raw: None)
    assert world.fetch() == CONTENT
    assert b"999" in (world.device / "state" / f"{role}.json").read_bytes()


@pytest.mark.parametrize("role", ROLES)
def test_what_stands_beside_the_signed_part_means_nothing(world: World, role: str) -> None:
    """TUF signs what a document says: white space and unknown names around it are left alone."""
    world.repo.release("targets", PUBLISHER)
    edit(world, role, lambda raw: b' {"signatures-of": "nobody",' + raw.lstrip()[1:] + b" \n")
    assert world.fetch() == CONTENT
    assert world.remembers() == {**{name: version + 1 for name, version in KNOWN.items()}, "root": 1}


# ---- another algorithm

def other_kind(world: World) -> None:
    """A timestamp signed with an RSA key, under the id of the Ed25519 key that the root names."""
    named = world.repo.signers["timestamp"][0].public_key.keyid
    stranger = CryptoSigner.generate_rsa()
    world.repo.signers["timestamp"] = [CryptoSigner(
        stranger._private_key, Key.from_dict(named, stranger.public_key.to_dict()))]
    world.repo.point()


def other_key_under_its_id(world: World) -> None:
    """A next root in which the same id is a key of another kind; whoever made it has no key of the root."""
    named = world.repo.signers["timestamp"][0].public_key.keyid
    stranger = CryptoSigner.generate_rsa()
    public = Key.from_dict(named, stranger.public_key.to_dict())
    world.repo.signed("root").keys[named] = public
    world.repo.signers["timestamp"] = [CryptoSigner(stranger._private_key, public)]
    world.repo.signers["root"] = []
    world.repo.new_root()
    world.repo.point()


SWAPS = {"timestamp": other_kind, "root": other_key_under_its_id}


@pytest.mark.parametrize("role", SWAPS)
def test_swapped_algorithm_is_refused(world: World, role: str) -> None:
    SWAPS[role](world)
    with pytest.raises(TrustError, match=f"{role} was signed by 0/1"):
        world.client()
    assert world.remembers() == KNOWN


@pytest.mark.parametrize("role", SWAPS)
def test_swapped_algorithm_is_taken_without_the_signatures(world: World, role: str,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    SWAPS[role](world)
    without_signatures(monkeypatch)
    world.client()
    assert world.remembers()[role] == KNOWN[role] + 1
    monkeypatch.undo()
    shutil.rmtree(world.device)  # it is the attacker's


@pytest.mark.parametrize("scheme", ["none", "rsa-pkcs1v15-sha256", "hmac-sha256"])
def test_key_whose_scheme_is_of_another_kind_is_refused(world: World, scheme: str) -> None:
    """Though the root itself names it, truly signed."""
    named = world.repo.signers["timestamp"][0].public_key.keyid
    world.repo.signed("root").keys[named].scheme = scheme
    world.repo.new_root()
    world.repo.point()
    with pytest.raises(TrustError, match="deserialize"):
        world.client()
    assert world.remembers() == KNOWN


# ---- a key of low order

class Anybody:
    """Signs for the neutral point of Ed25519 without any secret: R is that point, S is 0."""

    def __init__(self) -> None:
        self.public_key = Key.from_dict("ab" * 32, {
            "keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": ONE.hex()}})

    def sign(self, payload: bytes) -> Signature:
        return Signature(self.public_key.keyid, (ONE + bytes(32)).hex())


def everybodys_key(world: World, role: str) -> None:
    """Whoever names the keys was talked into one for which anybody can sign."""
    repo = world.repo
    holder: Root | Targets = repo.signed("root" if role == "snapshot" else "targets")
    named = holder.get_delegated_role(role)
    for key_id in list(named.keyids):
        holder.revoke_key(key_id, role)
    anybody: Any = Anybody()
    holder.add_key(anybody.public_key, role)
    repo.signers[role] = [anybody]
    if role == "snapshot":
        repo.new_root()
    repo.release("targets", PUBLISHER)


@pytest.mark.parametrize("role", ["snapshot", PUBLISHER])
def test_key_of_low_order_is_refused(world: World, role: str) -> None:
    everybodys_key(world, role)
    with pytest.raises(TrustError, match=f"a key of {role} for which anybody can sign"):
        world.fetch()


@pytest.mark.parametrize("role", ["snapshot", PUBLISHER])
def test_key_of_low_order_lets_anybody_sign_without_its_refusal(world: World, role: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    everybodys_key(world, role)
    monkeypatch.setattr("imagekit.host.storerules.is_everybodys", lambda key: False)
    assert world.fetch() == CONTENT
    assert world.remembers()[role] == KNOWN[role] + 1
    monkeypatch.undo()


# ---- other spellings

def written(number: str) -> Callable[[bytes], bytes]:
    """The version of the document itself, which stands last in it, in another way."""
    return lambda raw: re.sub(rb'("version":)3(}}?)\Z', rb"\g<1>%s\2" % number.encode(), raw)


@pytest.mark.parametrize("number", ["3.0", "3e0", "03", "+3", "3.", '"3"', "true", "NaN", "[3]", "null"])
def test_number_that_is_not_canonical_is_refused(world: World, number: str) -> None:
    world.repo.point()
    assert world.repo.signed("timestamp").version == 3
    edit(world, "timestamp", written(number))
    with pytest.raises(TrustError):
        world.client()
    assert world.remembers() == KNOWN


def test_number_that_is_not_canonical_is_taken_without_the_signatures(world: World,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    world.repo.point()
    edit(world, "timestamp", written("3.0"))
    without_signatures(monkeypatch)
    monkeypatch.setattr(CanonicalJSONSerializer, "serialize", lambda self, signed: b"")  # it knows no fractions
    world.client()
    assert b"3.0" in (world.device / "state/timestamp.json").read_bytes()


def malleable(signature: bytes) -> bytes:
    """The same signature once more (RFC 8032, section 8.4): S and S + L are one number to a careless verifier."""
    return signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")


@pytest.mark.parametrize("change", [malleable, lambda raw: raw + b"\0", lambda raw: raw[:-1], lambda raw: b""],
                         ids=["S + L", "a byte more", "a byte less", "nothing"])
def test_other_encoding_of_a_signature_is_refused(world: World, change: Callable[[bytes], bytes]) -> None:
    world.repo.point()

    def changed(raw: bytes) -> bytes:
        document = json.loads(raw)
        found = document["signatures"][0]
        found["sig"] = change(bytes.fromhex(found["sig"])).hex()
        return json.dumps(document).encode()

    edit(world, "timestamp", changed)
    with pytest.raises(TrustError, match="was signed by 0/1"):
        world.client()
    assert world.remembers() == KNOWN


@pytest.mark.parametrize("spelt", [str.upper, lambda text: f"{text[:8]} {text[8:]}"], ids=["capitals", "a space"])
def test_one_key_in_two_spellings_counts_once(world: World, spelt: Callable[[str], str]) -> None:
    repo = world.repo
    signer, targets = repo.signers[PUBLISHER][0], repo.signed("targets")
    public = signer.public_key.to_dict()
    public["keyval"] = {"public": spelt(public["keyval"]["public"])}
    other = Key.from_dict("cd" * 32, public)
    targets.add_key(other, PUBLISHER)
    targets.get_delegated_role(PUBLISHER).threshold = 2
    repo.signers[PUBLISHER].append(CryptoSigner(signer._private_key, other))
    repo.release("targets", PUBLISHER)
    with pytest.raises(TrustError, match=f"one key for two of {PUBLISHER}"):
        world.fetch()


# ---- assertions

BRAND = Brand()
MODEL = BRAND.model()


def signed(content: bytes, *, hash_: HashAlgorithm = SHA512(), identifier: int = 10, algorithm: int = 1) -> bytes:  # noqa: B008  a value
    """An assertion of this content, signed by the brand's key over another hash, or said to be of another algorithm."""
    hashed = bytes((5, 2)) + int(SIGNED.timestamp()).to_bytes(4, "big")
    head = bytes((4, 0, algorithm, identifier)) + len(hashed).to_bytes(2, "big") + hashed
    digest = hashlib.new(hash_.name, content + head + b"\x04\xff" + len(head).to_bytes(4, "big")).digest()
    number = int.from_bytes(BRAND.key.rsa.sign(digest, padding.PKCS1v15(), utils.Prehashed(hash_)), "big")
    return content + b"\n\n" + armor(VERSION + encode_packet(
        2, head + b"\0\0" + digest[:2] + encode_mpi(number))) + b"\n"


def test_assertion_of_the_true_algorithm_is_believed() -> None:
    """What the forger below writes is good but for its trick."""
    BRAND.database().verify(decode_one(signed(MODEL.content), name="model"), now=NOW)


@pytest.mark.parametrize(("hash_", "identifier", "algorithm"), [
    (SHA256(), 8, 1), (SHA1(), 2, 1), (SHA512(), 10, 17), (SHA512(), 10, 22), (SHA256(), 10, 1)],
    ids=["SHA-256", "SHA-1", "DSA", "EdDSA", "SHA-256 that is said to be SHA-512"])
def test_assertion_of_another_algorithm_is_refused(hash_: HashAlgorithm, identifier: int, algorithm: int) -> None:
    raw = signed(MODEL.content, hash_=hash_, identifier=identifier, algorithm=algorithm)
    with pytest.raises((DocumentError, TrustError), match=r"is known|changed after it was signed|not one of key"):
        BRAND.database().verify(decode_one(raw, name="model"), now=NOW)


@pytest.mark.parametrize("header", ["type: model", "brand-id: mallory", "model: other", "grade: dangerous"])
def test_assertion_in_which_a_header_stands_twice_is_refused(header: str) -> None:
    name = header.partition(":")[0]
    content = re.sub(rb"(?m)^(%s: .*)$" % name.encode(), rb"\1\n" + header.encode(), MODEL.content, count=1)
    assert content != MODEL.content
    with pytest.raises(DocumentError, match=f"{name}: stands twice"):
        decode_one(signed(content), name="model")


@pytest.mark.parametrize("number", ["01", "+1", "1.0", "1e0", "0x1", "-0", "1_0", "\u0661", "\uff11"])
def test_assertion_with_a_number_that_is_not_canonical_is_refused(number: str) -> None:
    content = MODEL.content.replace(b"\ntimestamp:", f"\nrevision: {number}\ntimestamp:".encode())
    with pytest.raises(DocumentError, match="is not a number from 0 on"):
        decode_one(signed(content), name="model")


@pytest.mark.parametrize("exponent", [1, 2])
def test_rsa_key_for_which_anybody_can_sign_is_refused(exponent: int) -> None:
    """With 1 for an exponent a signature is what it signs; with 2 it is a square root."""
    weak = PublicKey(n=signing_key("stranger").public.n, e=exponent)
    with pytest.raises(DocumentError, match="these are not the numbers of an RSA key"):
        decode_public_key(weak.encode())
    signature = sign_content(BRAND.key, b"anything", created=SIGNED, what="a test")
    with pytest.raises(TrustError, match="not one of key"):
        verify_signature(weak, b"anything", signature)
