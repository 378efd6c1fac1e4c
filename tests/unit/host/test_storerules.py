"""Which keys a store may not name."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey
from tuf.api.serialization import DeserializationError

from imagekit.errors import TrustError
from imagekit.host.storekeys import decode_public, encode_public
from imagekit.host.storerules import check_document, is_everybodys, material

PRIME = 2 ** 255 - 19
D = -121665 * pow(121666, -1, PRIME) % PRIME
Point = tuple[int, int]


def added(one: Point, other: Point) -> Point:
    """RFC 8032, section 5.1.4, in affine coordinates."""
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2
    return ((x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME) % PRIME,
            (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME) % PRIME)


def of_order_eight() -> Point:
    """What is left of a point when it was taken times the order of the base point, the first that has order 8."""
    for y in range(2, 100):
        square = (y * y - 1) * pow(D * y * y + 1, -1, PRIME) % PRIME
        x = pow(square, (PRIME + 3) // 8, PRIME)
        x = x if x * x % PRIME == square else x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        if x * x % PRIME != square:
            continue
        point: Point = (0, 1)
        for bit in f"{2 ** 252 + 27742317777372353535851937790883648493:b}":
            point = added(point, point)
            point = added(point, (x, y)) if bit == "1" else point
        if added(added(point, point), added(point, point)) == (0, PRIME - 1):
            return point
    raise AssertionError


def low() -> list[Point]:
    points: list[Point] = [(0, 1)]
    while len(points) < 8:
        points.append(added(points[-1], of_order_eight()))
    return points


def encodings(point: Point) -> set[bytes]:
    """Canonical and not: y and y + p where that fits, either sign."""
    return {(y | sign << 255).to_bytes(32, "little") for y in (point[1], point[1] + PRIME) if y < 1 << 255
            for sign in (0, 1)}


def key(public: str) -> Key:
    return Key.from_dict("ab" * 32, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})


def test_every_encoding_of_every_point_of_low_order_is_everybodys() -> None:
    found = {raw for point in low() for raw in encodings(point)}
    assert len(set(low())) == 8 and len(found) == 14
    assert all(is_everybodys(key(raw.hex())) for raw in found)


def test_made_keys_are_somebodys() -> None:
    for _ in range(20):
        assert not is_everybodys(SSlibKey.from_crypto(Ed25519PrivateKey.generate().public_key()))


def test_key_for_which_anybody_can_sign_is_not_brought_in() -> None:
    with pytest.raises(TrustError, match="anybody can sign"):
        decode_public(encode_public(key((1).to_bytes(32, "little").hex())), name="key 'x'")


@pytest.mark.parametrize("make", [CryptoSigner.generate_ed25519, CryptoSigner.generate_rsa,
                                  CryptoSigner.generate_ecdsa], ids=["ed25519", "rsa", "ecdsa"])
def test_key_is_the_same_in_another_spelling(make: type[CryptoSigner]) -> None:
    public = make().public_key
    spelt = public.to_dict()
    text = spelt["keyval"]["public"]
    spelt["keyval"] = {"public": text.upper() if public.keytype == "ed25519" else text.replace("\n", "\r\n")}
    assert material(Key.from_dict("cd" * 32, spelt)) == material(public)
    assert material(make().public_key) != material(public)


@pytest.mark.parametrize("public", ["", "zz", "-----BEGIN PUBLIC KEY-----", "00"])
def test_what_is_no_key_is_no_reason_to_stop(public: str) -> None:
    assert not is_everybodys(key(public))


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "a": 2}}]', b"[" * 100000])
def test_document_of_no_or_two_meanings_is_refused(raw: bytes) -> None:
    with pytest.raises(DeserializationError):
        check_document(raw)
