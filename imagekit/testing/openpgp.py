"""Exports of secret keys as GnuPG writes them, in every protection that the format knows; for tests.

The cipher is the library's own CFB and the derivation is spelt out from RFC 4880 3.7.1.3, so that the reader in
`imagekit.openpgp` is held against something else than itself; the tests with GnuPG have it read these exports too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from imagekit.keys import PrivateKey
from imagekit.openpgp.packets import encode_mpi, encode_packet

CREATED = 1451606400  # 2016-01-01, as snapd dates its keys
ALGORITHMS = {2: (TripleDES, 24, 8), 3: (CAST5, 16, 8), 7: (AES, 16, 16), 8: (AES, 24, 16), 9: (AES, 32, 16)}
NAMES = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """How an export is protected. `count` is the coded count of the iterated form, None of the salted."""

    passphrase: bytes
    cipher: int = 9
    hash: int = 8
    count: int | None = 96
    usage: int = 254
    salt: bytes = b"saltsalt"


def secret_body(key: PrivateKey, seal: Seal | None = None, *, created: int = CREATED, algorithm: int = 1) -> bytes:
    """The body of a secret key packet."""
    private = key.rsa.private_numbers()
    public = bytes((4,)) + created.to_bytes(4, "big") + bytes((algorithm,)) + encode_mpi(key.public.n)
    public += encode_mpi(key.public.e)
    p, q = sorted((private.p, private.q))
    numbers = b"".join(encode_mpi(number) for number in (private.d, p, q, pow(p, -1, q)))
    plain_sum = (sum(numbers) % 65536).to_bytes(2, "big")
    if seal is None:
        return public + b"\x00" + numbers + plain_sum
    _, size, block = ALGORITHMS[seal.cipher]
    iv = bytes(range(block))
    checked = numbers + (hashlib.sha1(numbers).digest() if seal.usage == 254 else plain_sum)
    encryptor = Cipher(ALGORITHMS[seal.cipher][0](_derive(seal, size)), CFB(iv)).encryptor()
    kind = bytes((1, seal.hash)) if seal.count is None else bytes((3, seal.hash))
    tail = b"" if seal.count is None else bytes((seal.count,))
    return public + bytes((seal.usage, seal.cipher)) + kind + seal.salt + tail + iv + encryptor.update(checked)


def export(key: PrivateKey, seal: Seal | None = None, *, user_id: str = "test-only", created: int = CREATED,
           tag: int = 5) -> bytes:
    """A secret key packet and a user id, without the signature that GnuPG puts between them."""
    body = secret_body(key, seal, created=created)
    return encode_packet(tag, body) + (encode_packet(13, user_id.encode()) if tag == 5 else b"")


def public_export(key: PrivateKey, *, created: int = CREATED) -> bytes:
    """The public key packet alone."""
    return encode_packet(6, _public_body(key, created))


def certified_export(key: PrivateKey, user_id: str, *, created: int = CREATED) -> bytes:
    """What gpgv takes as a keyring: the key, a user id, and the key's own signature over both (RFC 4880, 5.2.4)."""
    body, name = _public_body(key, created), user_id.encode()
    hashed = b"\x05\x02" + created.to_bytes(4, "big") + b"\x02\x1b\x03"  # creation time; certifies and signs
    head = b"\x04\x13\x01\x0a" + len(hashed).to_bytes(2, "big") + hashed
    signed = b"\x99" + len(body).to_bytes(2, "big") + body + b"\xb4" + len(name).to_bytes(4, "big") + name
    digest = hashlib.sha512(signed + head + b"\x04\xff" + len(head).to_bytes(4, "big")).digest()
    number = int.from_bytes(key.sign_digest(digest, what=user_id), "big")
    issuer = b"\x00\x0a\x09\x10" + fingerprint(key, created=created)[-8:]
    return (encode_packet(6, body) + encode_packet(13, name)
            + encode_packet(2, head + issuer + digest[:2] + encode_mpi(number)))


def fingerprint(key: PrivateKey, *, created: int = CREATED) -> bytes:
    """20 bytes (RFC 4880, 12.2)."""
    body = _public_body(key, created)
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).digest()


def _public_body(key: PrivateKey, created: int) -> bytes:
    return b"\x04" + created.to_bytes(4, "big") + b"\x01" + encode_mpi(key.public.n) + encode_mpi(key.public.e)


def _derive(seal: Seal, size: int) -> bytes:
    seed = seal.salt + seal.passphrase
    count = len(seed) if seal.count is None else max((16 + (seal.count & 15)) << ((seal.count >> 4) + 6), len(seed))
    text = (seed * (count // len(seed) + 1))[:count]
    first, second = (hashlib.new(NAMES[seal.hash], zeros + text).digest() for zeros in (b"", b"\x00"))
    return (first + second)[:size]
