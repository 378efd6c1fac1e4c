"""How a passphrase protects a secret key: string-to-key and the cipher (RFC 4880, 3.7 and 5.5.3).

    s2k        = 0 hash | 1 hash salt(8) | 3 hash salt(8) count(1) | 101 hash "GNU" mode         GnuPG's doc/DETAILS
    protection = cipher(1)  s2k  iv(one block)

Read are the salted and the iterated forms with SHA-1 and SHA-2, AES, 3DES and CAST5. What has no salt, MD5, ciphers
that nobody uses and AEAD (usage 253) are refused by name. One derivation hashes at most 65 MB for each hash context,
which is what the largest count asks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from imagekit.errors import DocumentError
from imagekit.openpgp.packets import Reader

HASHES = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
CIPHERS = {2: ("3DES", 24, 8), 3: ("CAST5", 16, 8), 7: ("AES-128", 16, 16), 8: ("AES-192", 24, 16),
           9: ("AES-256", 32, 16)}  # name, bytes of a key, bytes of a block
SALTED, ITERATED, GNU = 1, 3, 101
_CHUNK = 1 << 16


class Unusable(Exception):
    """This key cannot be opened here; the text says why, as in "its secret part is on a card"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S2K:
    """How a passphrase becomes a key. `count` is the number of bytes that are hashed; 0 hashes them once."""

    hash: str
    salt: bytes
    count: int

    def derive(self, passphrase: bytes, size: int) -> bytes:
        seed = self.salt + passphrase
        total = max(self.count, len(seed))
        block = seed * (_CHUNK // len(seed) + 1)
        key = b""
        for zeros in range(size):  # a further context begins with one more zero byte
            if len(key) >= size:
                break
            digest = hashlib.new(self.hash, bytes(zeros))
            for _ in range(total // len(block)):
                digest.update(block)
            digest.update(block[:total % len(block)])
            key += digest.digest()
        return key[:size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What lies between a passphrase and the numbers of a key."""

    cipher: int
    s2k: S2K
    iv: bytes

    def decrypt(self, sealed: bytes, passphrase: bytes) -> bytes:
        """CFB over whole blocks, from its definition: each block of cipher text is encrypted for the next (NIST
        SP 800-38A, 6.3).

        Raises:
            DocumentError: the library here does not know the cipher.
        """
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, TripleDES
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import ECB

        name, size, block = CIPHERS[self.cipher]
        key = self.s2k.derive(passphrase, size)
        algorithm = TripleDES(key) if name == "3DES" else CAST5(key) if name == "CAST5" else AES(key)
        try:
            encryptor = Cipher(algorithm, ECB()).encryptor()
        except UnsupportedAlgorithm as error:
            raise DocumentError(f"cannot open the key: it is protected by {name}, which this machine's cryptography"
                                " does not offer") from error
        blocks = -(-len(sealed) // block)
        stream = encryptor.update((self.iv + sealed)[:blocks * block])
        return bytes(one ^ other for one, other in zip(sealed, stream, strict=False))


def read_protection(reader: Reader) -> Protection:
    """What follows the usage octet 254 or 255.

    Raises:
        Unusable: it is none that is opened here.
        DocumentError: it is cut short.
    """
    cipher, kind, number = reader.number(1), reader.number(1), reader.number(1)
    if kind == GNU:
        if reader.take(3) != b"GNU":
            raise Unusable("its secret part is kept in an unknown way")
        mode = reader.number(1)
        raise Unusable("its secret part is on a card" if mode == 2 else "its secret part is not in the export")
    if kind not in (SALTED, ITERATED):
        raise Unusable(f"its passphrase is turned into a key in a way that is not supported (string-to-key {kind})")
    if number not in HASHES:
        raise Unusable(f"its passphrase is hashed in a way that is not supported (hash {number})")
    if cipher not in CIPHERS:
        raise Unusable(f"it is encrypted in a way that is not supported (cipher {cipher})")
    salt = reader.take(8)
    coded = reader.number(1) if kind == ITERATED else None
    count = 0 if coded is None else (16 + (coded & 15)) << ((coded >> 4) + 6)
    return Protection(cipher=cipher, s2k=S2K(hash=HASHES[number], salt=salt, count=count),
                      iv=reader.take(CIPHERS[cipher][2]))
