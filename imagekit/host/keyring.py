"""Private keys in the user's data folder.

    NAME.pem     PKCS#8 in PEM, encrypted if there is a passphrase; mode 0600 from its first moment
    NAME.signer  instead of it: how the program is started that has the key (`imagekit.host.signer`)
    NAME.pub     the public key as assertions carry it, so that listing keys asks for no passphrase

Decides how keys are made, taken over from PEM and GnuPG's exports, stored and found; who believes them is decided in
`imagekit.host.trust`. A key file or folder that others may read is refused. Nothing here prints, logs or puts into a
message what a private key or a passphrase is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from imagekit.assertions.wire import armor, unarmor
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.files import FolderLock, no_space, reason, write_atomic
from imagekit.host.privatefiles import create_private, read_private, refuse_readable
from imagekit.host.signer import ExternalKey, Program, parse_program
from imagekit.keys import SIGNING_BITS, PrivateKey, PublicKey, Signer, decode_public_key
from imagekit.openpgp.secretkeys import choose, decode_secret_keys, looks_like_export, open_key

NAME = re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*\Z")
ENCRYPTED = b"ENCRYPTED"  # in the first line of PKCS#8, in the second of the older form

PRIVATE, EXTERNAL, PUBLIC = ".pem", ".signer", ".pub"

Passphrase = Callable[[], bytes]  # asked only when a key turns out to be encrypted


class Kind(StrEnum):
    """Where the private part of a key is."""

    LOCAL = "local"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """A key in the folder, as far as it can be known without its passphrase. `program` has an external one."""

    name: str
    public: PublicKey
    path: Path
    encrypted: bool
    program: Program | None = None

    @property
    def kind(self) -> Kind:
        return Kind.EXTERNAL if self.program else Kind.LOCAL


class Keyring:
    """The keys in `folder`, which is made with mode 0700 when the first key is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, *, passphrase: bytes | None) -> PrivateKey:
        """Make and store a key.

        Raises:
            UsageError: not a name, or there is a key of that name.
            HostError, TrustError: the folder cannot be used.
        """
        self._check_free(name)
        private = PrivateKey(rsa=rsa.generate_private_key(public_exponent=65537, key_size=SIGNING_BITS))
        self._store(name, private, passphrase)
        return private

    def add(self, name: str, raw: bytes, *, passphrase: Passphrase, key_id: str | None = None) -> StoredKey:
        """Store a private key that was made elsewhere; the passphrase it has is the one it keeps.

        `raw` is PEM, or what GnuPG exports; `key_id` says which key of an export is meant.

        Raises:
            DocumentError, TrustError: `raw` is no RSA key, or too short to sign, or its passphrase is another.
            UsageError: not a name, there is a key of that name, or it is not clear which key is meant.
        """
        self._check_free(name)
        if looks_like_export(raw):
            exported = choose(decode_secret_keys(raw), key_id)
            assert exported.public is not None
            _check_bits(name, exported.public)
            kept = passphrase() if exported.protection else None
            private = open_key(exported, kept)
        elif key_id is not None:
            raise UsageError("cannot choose a key by its id: only an export of GnuPG's can hold several")
        else:
            kept = passphrase() if ENCRYPTED in raw else None
            private = decode_private_pem(raw, what=f"key {name!r}", passphrase=lambda: kept or b"")
            _check_bits(name, private.public)
        self._store(name, private, kept)
        return self.stored(name)

    def add_external(self, name: str, public: PublicKey, program: Program) -> StoredKey:
        """Note a key that a program has.

        Raises:
            UsageError: not a name, or there is a key of that name.
            TrustError: it is too short to sign.
            HostError: there is no such program.
        """
        self._check_free(name)
        _check_bits(name, public)
        program.found()
        self._write(name, public, EXTERNAL, program.encode())
        return self.stored(name)

    def names(self) -> tuple[str, ...]:
        """The names of all keys, sorted."""
        if not self.folder.is_dir():
            return ()
        self._check_folder()
        return tuple(sorted({path.stem for path in self.folder.iterdir()
                             if path.suffix in (PRIVATE, EXTERNAL) and NAME.match(path.stem)}))

    def stored(self, name: str) -> StoredKey:
        """What is known of a key without its passphrase. Raises: UsageError: there is none of that name."""
        path = self._existing(name)
        public = path.with_suffix(PUBLIC)
        raw = read_private(path)
        try:
            key = decode_public_key(unarmor(public.read_bytes().removesuffix(b"\n"), what=str(public)))
        except OSError as error:
            raise HostError(f"cannot read key {name!r}: {public}: {reason(error)}") from error
        if path.suffix == EXTERNAL:
            return StoredKey(name=name, public=key, path=path, encrypted=False,
                             program=parse_program(raw, name=str(path)))
        return StoredKey(name=name, public=key, path=path, encrypted=ENCRYPTED in raw)

    def load(self, name: str, *, passphrase: Passphrase) -> Signer:
        """Open a key to sign with; the program of an external one is started when it signs.

        Raises:
            UsageError: there is none of that name.
            TrustError: others may read it, the passphrase is wrong, or it is not the key it is listed as.
        """
        stored = self.stored(name)
        if stored.program is not None:
            return ExternalKey(public=stored.public, program=stored.program)
        private = decode_private_pem(read_private(stored.path), what=f"key {name!r}", passphrase=passphrase)
        if private.public != stored.public:
            raise TrustError(f"cannot use key {name!r}: {stored.path} holds another key than its .pub says")
        return private

    def export_private(self, name: str) -> bytes:
        """The key file as it is, encrypted if it has a passphrase. Raises: UsageError: a program has the key."""
        path = self._existing(name)
        if path.suffix == EXTERNAL:
            raise UsageError(f"cannot export private key {name!r}: the program that signs with it has it")
        return read_private(path)

    def remove(self, name: str) -> None:
        """Take a key back that was just stored and could not be finished."""
        for suffix in (PRIVATE, EXTERNAL, PUBLIC):
            (self.folder / (name + suffix)).unlink(missing_ok=True)

    def _check_free(self, name: str) -> None:
        if not NAME.match(name):
            raise UsageError(f"cannot name a key {name!r}: letters, digits and single inner hyphens are allowed")
        if name in self.names():
            raise UsageError(f"cannot make key {name!r}: there is one of that name",
                             hint=f"look at it with `imagekit key show {name}`, or take another name")

    def _existing(self, name: str) -> Path:
        names = self.names()
        if name not in names:
            known = f"there is {', '.join(names)}" if names else "there is none"
            raise UsageError(f"cannot find key {name!r} in {self.folder}: {known}",
                             hint=f"make it with `imagekit key create {name}`")
        found = [path for suffix in (PRIVATE, EXTERNAL) if os.path.lexists(path := self.folder / (name + suffix))]
        if len(found) > 1:
            raise TrustError(f"cannot use key {name!r}: there are both {found[0].name} and {found[1].name}",
                             hint=f"take the wrong one away from {self.folder}")
        return found[0]

    def _check_folder(self) -> None:
        refuse_readable(self.folder, self.folder.stat(), what="key folder", mode=0o700)

    def _store(self, name: str, private: PrivateKey, passphrase: bytes | None) -> None:
        encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        self._write(name, private.public, PRIVATE,
                    private.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    def _write(self, name: str, public: PublicKey, suffix: str, content: bytes) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise no_space(self.folder, error) from error
        self._check_folder()
        with FolderLock(self.folder, wait=True):
            self._check_free(name)
            write_atomic(self.folder / (name + PUBLIC), armor(public.encode()) + b"\n", mode=0o600)
            create_private(self.folder / (name + suffix), content)


def encode_public_pem(public: PublicKey) -> bytes:
    """SubjectPublicKeyInfo in PEM, as everybody reads it."""
    numbers = rsa.RSAPublicNumbers(n=public.n, e=public.e)
    return numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _check_bits(name: str, public: PublicKey) -> None:
    if public.bits < SIGNING_BITS:
        raise TrustError(f"cannot take over key {name!r}: it has {public.bits} bits, at least {SIGNING_BITS} are"
                         " required to sign", hint="make a longer one with `imagekit key create NAME`")


def decode_private_pem(pem: bytes, *, what: str, passphrase: Passphrase) -> PrivateKey:
    """An RSA key out of PEM. Raises: DocumentError: it is none. TrustError: the passphrase is another."""
    encrypted = ENCRYPTED in pem
    try:
        private = load_pem_private_key(pem, password=passphrase() if encrypted else None)
    except (ValueError, TypeError) as error:  # a wrong passphrase, an empty one
        if encrypted:
            raise TrustError(f"cannot open {what}: the passphrase is not the right one") from error
        raise DocumentError(f"cannot read {what}: it is not a private key in PEM") from None
    except UnsupportedAlgorithm:
        raise DocumentError(f"cannot read {what}: its kind of key or encryption is not supported") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise DocumentError(f"cannot use {what}: it is no RSA key, and assertions know no other")
    return PrivateKey(rsa=private)
