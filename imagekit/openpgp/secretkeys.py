"""The secret keys in what `gpg --export-secret-keys` writes, and the numbers of one (RFC 4880, 5.5.3 and 11.2).

    export  = (secret key  (user id | signature | secret subkey | ...)*)+           armoured or not
    secret  = 4 created(4) algorithm(1) public numbers  usage(1)  protection?  sealed       tags 5 and 7
    sealed  = mpi(d) mpi(p) mpi(q) mpi(u)  check            encrypted as a whole unless the usage is 0
    check   = SHA-1(20) if the usage is 254, else the sum of all bytes (2)

Decides which keys are there, which one is meant, and whether a passphrase opens it; only RSA is opened, as assertions
know nothing else. The public numbers are not covered by the check: they are held against the secret ones, so that a
key changed in the file is refused. `snap create-key` keeps a key in GnuPG under its name as the only user id.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imagekit.errors import DocumentError, TrustError, UsageError
from imagekit.keys import PrivateKey, PublicKey, public_key
from imagekit.openpgp.armor import dearmor, is_armored
from imagekit.openpgp.packets import Packet, Reader
from imagekit.openpgp.s2k import Protection, Unusable, read_protection

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_EXPORT = 1 << 19
MAX_NAMES = 20  # user ids of one key that are looked at
_LISTED = 20
WHAT = "GnuPG export"

SECRET_KEY, PUBLIC_KEY, SECRET_SUBKEY, USER_ID, PUBLIC_SUBKEY = 5, 6, 7, 13, 14
_NO_KEYS = {1, 3, 8, 9, 11, 18, 20}  # encrypted, compressed or plain messages
_RSA = {1, 3}  # for everything, for signing only
ALGORITHMS = {1: "RSA", 2: "RSA for encryption", 3: "RSA", 16: "Elgamal", 17: "DSA", 18: "ECDH", 19: "ECDSA",
              22: "EdDSA", 25: "X25519", 26: "X448", 27: "Ed25519", 28: "Ed448"}
_PLAIN, _SHA1, _SUM = 0, 254, 255


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretKey:
    """One key of an export. It shows what is public of it."""

    algorithm: str
    subkey: bool
    user_ids: tuple[str, ...]
    public: PublicKey | None  # of RSA keys alone, as is the fingerprint
    fingerprint: str
    unusable: str | None  # why it cannot be opened
    protection: Protection | None = field(default=None, repr=False)
    sealed: bytes = field(default=b"", repr=False)
    strong: bool = False  # SHA-1 behind the numbers, not only a sum

    @property
    def label(self) -> str:
        """`RSA key 0123... 'name'`, for messages."""
        names = "".join(f" {name!r}" for name in self.user_ids[:1])
        return f"{self.algorithm} {'subkey' if self.subkey else 'key'} {self.fingerprint}".rstrip() + names

    def is_called(self, wanted: str) -> bool:
        """By its fingerprint, the end of that, the key id of assertions, or for a primary key a user id."""
        compact = wanted.replace(" ", "").upper().removeprefix("0X")
        if len(compact) >= 8 and self.fingerprint.endswith(compact):
            return True
        if self.public is not None and wanted == self.public.key_id:
            return True
        return not self.subkey and wanted in self.user_ids


def looks_like_export(raw: bytes) -> bool:
    """Whether this is OpenPGP at all: armour, or a first byte with the highest bit."""
    return is_armored(raw) or raw[:1] >= b"\x80"


def decode_secret_keys(raw: bytes) -> tuple[SecretKey, ...]:
    """All secret keys of an export, each once, in its order. No passphrase is needed.

    Raises:
        DocumentError: it is malformed, holds no secret key, or is too large.
    """
    if len(raw) > MAX_EXPORT:
        raise DocumentError(f"cannot decode {WHAT}: it has {len(raw)} bytes, at most {MAX_EXPORT} are allowed")
    if is_armored(raw):
        raw = dearmor(raw, kinds=("PRIVATE KEY BLOCK", "PUBLIC KEY BLOCK"), what=WHAT)
    groups: list[tuple[list[SecretKey], list[str]]] = [([], [])]  # keys from a primary on, and its user ids
    public = False
    for packet in Reader(raw, WHAT).packets():
        if packet.tag in _NO_KEYS:
            raise DocumentError(f"cannot decode {WHAT}: it holds a message, not keys")
        public |= packet.tag in (PUBLIC_KEY, PUBLIC_SUBKEY)
        if packet.tag in (SECRET_KEY, PUBLIC_KEY):
            groups.append(([], []))
        keys, names = groups[-1]
        if packet.tag in (SECRET_KEY, SECRET_SUBKEY):
            keys.append(_decode_key(packet))
        elif packet.tag == USER_ID and len(names) < MAX_NAMES:
            names.append(_shown(packet.body))
    found = [replace(key, user_ids=tuple(names)) for keys, names in groups for key in keys]
    if not found:
        raise DocumentError(f"cannot decode {WHAT}: it holds {'public keys only' if public else 'no key'}",
                            hint="export the secret one: gpg --export-secret-keys NAME")
    return tuple({key.fingerprint or str(index): key for index, key in enumerate(found)}.values())


def choose(keys: Sequence[SecretKey], wanted: str | None) -> SecretKey:
    """The key that is meant: the one that `wanted` names, else the only primary key that signs, else the only key.

    Raises:
        UsageError: none or several are meant.
        DocumentError: the one that is meant cannot be used.
    """
    listing = tuple(f"{key.label}{f': {key.unusable}' if key.unusable else ''}" for key in keys[:_LISTED])
    if wanted is not None:
        meant = [key for key in keys if key.is_called(wanted)]
        if len(meant) != 1:
            how = "there is no such key in it" if not meant else f"{len(meant)} keys in it are called so"
            raise UsageError(f"cannot take key {_shown(wanted.encode())!r} from the {WHAT}: {how}", details=listing)
        if meant[0].unusable:
            raise DocumentError(f"cannot use {meant[0].label}: {meant[0].unusable}")
        return meant[0]
    usable = [key for key in keys if not key.unusable]
    if not usable:
        raise DocumentError(f"cannot use the {WHAT}: it holds no RSA key that can be opened", details=listing)
    usable = [key for key in usable if not key.subkey] or usable
    if len(usable) > 1:
        raise UsageError(f"cannot choose from the {WHAT}: it holds {len(usable)} keys", details=listing,
                         hint="name one with --key-id, by its fingerprint or its name")
    return usable[0]


def open_key(key: SecretKey, passphrase: bytes | None) -> PrivateKey:
    """The key itself. `passphrase` is needed if there is a `protection`.

    Raises:
        TrustError: the passphrase is not the right one.
        DocumentError: the numbers are damaged, or not of one RSA key.
    """
    assert key.public is not None and not key.unusable
    opened = key.sealed if key.protection is None else key.protection.decrypt(key.sealed, passphrase or b"")
    size = 20 if key.strong else 2
    content, check = opened[:-size], opened[-size:]
    expected = hashlib.sha1(content).digest() if key.strong else (sum(content) & 0xFFFF).to_bytes(2, "big")
    if len(opened) < size or not hmac.compare_digest(check, expected):
        if key.protection is None:
            raise DocumentError(f"cannot open {key.label}: it is damaged, its checksum is wrong")
        raise TrustError(f"cannot open {key.label}: the passphrase is not the right one, or the key is damaged")
    reader = Reader(content, key.label)
    d, p, q, _ = reader.mpi(), reader.mpi(), reader.mpi(), reader.mpi()
    reader.end()
    return PrivateKey(rsa=_rsa(key.public, d, p, q, key.label))


def _rsa(public: PublicKey, d: int, p: int, q: int, label: str) -> RSAPrivateKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    try:
        if p * q != public.n or min(p, q) < 3 or p == q or not 0 < d < public.n:
            raise ValueError("not the factors")
        numbers = rsa.RSAPrivateNumbers(
            p=p, q=q, d=d, dmp1=rsa.rsa_crt_dmp1(d, p), dmq1=rsa.rsa_crt_dmq1(d, q), iqmp=rsa.rsa_crt_iqmp(p, q),
            public_numbers=rsa.RSAPublicNumbers(n=public.n, e=public.e))
        return numbers.private_key()
    except ValueError:
        raise DocumentError(f"cannot open {label}: its numbers do not belong together") from None


def _decode_key(packet: Packet) -> SecretKey:
    subkey = packet.tag == SECRET_SUBKEY
    reader = Reader(packet.body, f"secret key in {WHAT}")
    version = reader.number(1)
    if version != 4:
        return SecretKey(algorithm=f"version {version}", subkey=subkey, user_ids=(), public=None, fingerprint="",
                         unusable="only keys of version 4 are supported")
    reader.take(4)
    number = reader.number(1)
    algorithm = ALGORITHMS.get(number, f"algorithm {number}")
    if number not in _RSA:
        return SecretKey(algorithm=algorithm, subkey=subkey, user_ids=(), public=None, fingerprint="",
                         unusable="it is no RSA key that signs, and assertions know no other")
    public = public_key(reader.mpi(), reader.mpi(), what=reader.what)
    body = packet.body[:reader.at]
    fingerprint = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # 12.2
    usage = reader.number(1)
    protection, unusable = None, None
    try:
        if usage in (_SHA1, _SUM):
            protection = read_protection(reader)
        elif usage != _PLAIN:
            unusable = f"it is protected in a way that is not supported (usage {usage})"
    except Unusable as reason:
        unusable = str(reason)
    return SecretKey(algorithm=algorithm, subkey=subkey, user_ids=(), public=public, fingerprint=fingerprint,
                     unusable=unusable, protection=protection, strong=usage == _SHA1,
                     sealed=b"" if unusable else reader.take(reader.left))


def _shown(text: bytes) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text[:200].decode("utf-8", "replace"))
