"""RSA keys and signatures in the packets that assertions carry.

A public key and a signature are each one version byte 0x01 and exactly one OpenPGP packet (RFC 4880), nothing after it:

    blob        = 0x01 packet
    packet      = `imagekit.openpgp.packets`
    public key  = 4  created(4)  1  mpi(n) mpi(e)              tag 6 (5.5.2); created is always 2016-01-01T00:00:00Z
    signature   = 4 0 1 10  len(2) hashed  len(2) unhashed  digest[:2] mpi(s)            tag 2 (5.2.3)

The key id is the SHA3-384 of the public key's blob, rebuilt from n and e: it commits to the RSA numbers alone.
Signatures are RSASSA-PKCS1-v1_5 with SHA-512 over the content, the signature's own head and a six byte trailer (5.2.4).
Written is the creation time alone; read are also an issuer fingerprint in the hashed and an issuer in the unhashed
part, as GnuPG adds them, both without meaning here: which key signed is said by the assertion.

Who signs is a `Signer`: a public key, and whoever makes the RSA signature over a digest. Here is the one that has its
numbers in memory; the program that is handed the digest is `imagekit.host.signer`. Making keys needs entropy and
keeping them needs files: `imagekit.host.keyring` does both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from imagekit.digests import b64url, short
from imagekit.errors import DocumentError, TrustError
from imagekit.openpgp.packets import Reader, encode_mpi, encode_packet

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

VERSION = b"\x01"
SIGNING_BITS = 4096  # the least a key must have to sign; verification asks for no size, as snapd's does not
MAX_BITS = 16384
MAX_EXPONENT_BITS = 64  # a long exponent only serves to make verification slow

_TAG_SIGNATURE, _TAG_PUBLIC_KEY = 2, 6
_PACKET_VERSION, _RSA, _BINARY, _SHA512 = 4, 1, 0, 10
_KEY_CREATED = int(datetime(2016, 1, 1, tzinfo=UTC).timestamp()).to_bytes(4, "big")
_CREATION_TIME, _CRITICAL = 2, 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The two numbers of an RSA public key."""

    n: int
    e: int

    @property
    def bits(self) -> int:
        return self.n.bit_length()

    @property
    def key_id(self) -> str:
        """64 characters: SHA3-384 of the encoded key, base64url."""
        return b64url(hashlib.sha3_384(self.encode()).digest())

    def encode(self) -> bytes:
        """Version byte and public key packet."""
        body = bytes((_PACKET_VERSION,)) + _KEY_CREATED + bytes((_RSA,)) + encode_mpi(self.n) + encode_mpi(self.e)
        return VERSION + encode_packet(_TAG_PUBLIC_KEY, body)


class Signer(Protocol):
    """One RSA key that signs, wherever its private part lies."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies."""

    def sign_digest(self, digest: bytes, *, what: str) -> bytes:
        """The RSASSA-PKCS1-v1_5 signature over a SHA-512 digest, as long as the modulus.

        `what` says for people what is signed. Raises: HostError, TrustError: there will be no signature.
        """


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class PrivateKey:
    """A `Signer` whose numbers are in memory. It shows its key id at most."""

    rsa: RSAPrivateKey

    @property
    def public(self) -> PublicKey:
        numbers = self.rsa.public_key().public_numbers()
        return PublicKey(n=numbers.n, e=numbers.e)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.key_id})"

    def sign_digest(self, digest: bytes, *, what: str) -> bytes:  # noqa: ARG002  `Signer` hands it to those who ask
        from cryptography.hazmat.primitives.asymmetric import padding, utils
        from cryptography.hazmat.primitives.hashes import SHA512

        return self.rsa.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA512()))


def sign_content(signer: Signer, content: bytes, *, created: datetime, what: str) -> bytes:
    """Version byte and signature packet over `content`, verified. Equal arguments give equal bytes.

    Raises:
        TrustError: the key is too short to sign, or what came back is not its signature over this content.
        DocumentError: a time that the packet cannot hold.
        HostError: the signer failed.
    """
    key = signer.public
    if key.bits < SIGNING_BITS:
        raise TrustError(f"cannot sign {what}: the key has {key.bits} bits, at least {SIGNING_BITS} are required",
                         hint="make a key with `imagekit key create NAME`")
    seconds = int(created.timestamp())
    if not 0 <= seconds < 1 << 32:
        raise DocumentError(f"cannot sign {what} at {created}: a signature's time lies between 1970 and 2106")
    hashed = bytes((5, _CREATION_TIME)) + seconds.to_bytes(4, "big")
    head = bytes((_PACKET_VERSION, _BINARY, _RSA, _SHA512)) + len(hashed).to_bytes(2, "big") + hashed
    digest = _digest(content, head)
    number = int.from_bytes(signer.sign_digest(digest, what=what), "big")
    signature = VERSION + encode_packet(_TAG_SIGNATURE, head + b"\x00\x00" + digest[:2] + encode_mpi(number))
    try:
        verify_signature(key, content, signature)
    except (TrustError, DocumentError) as error:
        raise TrustError(f"cannot sign {what}: what came back is not a signature by key {short(key.key_id)} over it",
                         hint="whoever signed took another key, or another digest") from error
    return signature


def decode_public_key(blob: bytes) -> PublicKey:
    """Read version byte and public key packet.

    Raises:
        DocumentError: anything else, a key that is not RSA, trailing bytes.
    """
    reader = Reader(_decode_packet(blob, _TAG_PUBLIC_KEY, "public key"), "public key")
    version = reader.number(1)
    reader.take(4)
    algorithm = reader.number(1)
    if version != _PACKET_VERSION or algorithm != _RSA:
        raise DocumentError(f"cannot decode public key: version {version} with algorithm {algorithm},"
                            f" only version {_PACKET_VERSION} with RSA ({_RSA}) is known")
    n, e = reader.mpi(), reader.mpi()
    reader.end()
    return public_key(n, e, what="public key")


def public_key(n: int, e: int, *, what: str) -> PublicKey:
    """The key of these numbers. Raises: DocumentError: they are no RSA key's, or absurdly long."""
    if n.bit_length() > MAX_BITS or e.bit_length() > MAX_EXPONENT_BITS:
        raise DocumentError(f"cannot decode {what}: {n.bit_length()} bits with an exponent of {e.bit_length()},"
                            f" at most {MAX_BITS} and {MAX_EXPONENT_BITS} are allowed")
    if not (n % 2 and e % 2 and 3 <= e < n):
        raise DocumentError(f"cannot decode {what}: these are not the numbers of an RSA key")
    return PublicKey(n=n, e=e)


def decode_signature(blob: bytes) -> tuple[bytes, bytes, int]:
    """Read version byte and signature packet: its head (which is hashed), the first two digest bytes, the RSA number.

    Raises:
        DocumentError: not such a packet, another algorithm, a critical subpacket that is not known.
    """
    body = _decode_packet(blob, _TAG_SIGNATURE, "signature")
    reader = Reader(body, "signature")
    kind = tuple(reader.take(4))
    if kind != (_PACKET_VERSION, _BINARY, _RSA, _SHA512):
        raise DocumentError(f"cannot decode signature: version, type, algorithm and hash are {kind},"
                            f" only {(_PACKET_VERSION, _BINARY, _RSA, _SHA512)} is known")
    hashed = reader.take(reader.number(2))
    head = body[:reader.at]
    if _subpackets(hashed).count(_CREATION_TIME) != 1:
        raise DocumentError("cannot decode signature: its hashed part must hold one creation time")
    _subpackets(reader.take(reader.number(2)))
    prefix, number = reader.take(2), reader.mpi()
    reader.end()
    return head, prefix, number


def verify_signature(key: PublicKey, content: bytes, signature: bytes) -> None:
    """Check that `signature` (version byte and packet) is `key`'s over `content`.

    Raises:
        DocumentError: the signature is malformed.
        TrustError: it is not a signature of this content by this key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
    from cryptography.hazmat.primitives.hashes import SHA512

    head, prefix, number = decode_signature(signature)
    digest = _digest(content, head)
    if digest[:2] != prefix:
        raise TrustError("the content was changed after it was signed: its digest is not the one in the signature")
    if number >= key.n:
        raise TrustError(f"the signature is not one of key {key.key_id}: its number is larger than the key's modulus")
    padded = number.to_bytes((key.bits + 7) // 8, "big")
    try:
        public = rsa.RSAPublicNumbers(key.e, key.n).public_key()
        public.verify(padded, digest, padding.PKCS1v15(), utils.Prehashed(SHA512()))
    except (InvalidSignature, ValueError) as error:
        raise TrustError(f"the signature is not one of key {key.key_id} over this content") from error


def _digest(content: bytes, head: bytes) -> bytes:
    digest = hashlib.sha512(content)
    digest.update(head)
    digest.update(bytes((_PACKET_VERSION, 0xFF)) + len(head).to_bytes(4, "big"))
    return digest.digest()


def _decode_packet(blob: bytes, tag: int, what: str) -> bytes:
    """The body of the one packet that follows the version byte."""
    reader = Reader(blob, what)
    if reader.take(1) != VERSION:
        raise DocumentError(f"cannot decode {what}: format version {blob[0]}, only 1 is known")
    packet = reader.packet()
    if packet.tag != tag:
        raise DocumentError(f"cannot decode {what}: the packet has tag {packet.tag}, expected {tag}")
    reader.end()
    return packet.body


def _subpackets(area: bytes) -> list[int]:
    """The types of all subpackets in an area; only creation time may be critical, or carry meaning."""
    found = []
    reader = Reader(area, "signature")
    while reader.left:
        subpacket = reader.take(reader.length())
        if not subpacket:
            raise DocumentError("cannot decode signature: an empty subpacket")
        kind = subpacket[0] & ~_CRITICAL
        if kind == _CREATION_TIME and len(subpacket) != 5:
            raise DocumentError(f"cannot decode signature: a creation time of {len(subpacket) - 1} bytes, expected 4")
        if kind != _CREATION_TIME and subpacket[0] & _CRITICAL:
            raise DocumentError(f"cannot decode signature: it holds a critical subpacket of unknown type {kind}")
        found.append(kind)
    return found
