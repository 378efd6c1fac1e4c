"""Keys that sign what a store says (TUF), in a folder of their own in the user's data folder.

    NAME.pem   PKCS#8 in PEM, encrypted if there is a passphrase; mode 0600 from its first moment
    NAME.json  the public key as TUF metadata carries it; alone, it is a key whose private part is elsewhere

These are not the keys of brands, which sign assertions (`imagekit.host.keyring`): a store says what is current, a brand
says what is its own. Ed25519 unless RSA is asked for. Nothing here prints, logs or puts into a message what a private
key or a passphrase is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from imagekit.errors import DocumentError, TrustError, UsageError
from imagekit.host.files import FolderLock, no_space, read_file, write_atomic
from imagekit.host.folders import data_folder
from imagekit.host.keyring import ENCRYPTED, NAME, Passphrase
from imagekit.host.privatefiles import MAX_KEY_FILE, create_private, read_private, refuse_readable
from imagekit.host.storerules import is_everybodys
from imagekit.schema import unique

PRIVATE, PUBLIC = ".pem", ".json"
RSA_BITS = 4096
KINDS = ("ed25519", "rsa")


def default_store_keys_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where one's own store keys lie."""
    return data_folder(environ) / "store-keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKey:
    """A key in the folder, as far as it can be known without its passphrase."""

    name: str
    public: Key
    has_private: bool
    encrypted: bool
    path: Path

    @property
    def key_id(self) -> str:
        return str(self.public.keyid)

    @property
    def kind(self) -> str:
        return str(self.public.keytype)


def encode_public(key: Key) -> bytes:
    """The public key as a file: what TUF has, and its id."""
    return (json.dumps({"keyid": key.keyid, **key.to_dict()}, indent=1, sort_keys=True) + "\n").encode()


def decode_public(raw: bytes, *, name: str) -> Key:
    """Raises: DocumentError: it is no public key of a store. TrustError: it is one for which anybody can sign."""
    try:
        value = json.loads(raw, object_pairs_hook=unique)
        key = SSlibKey.from_dict(str(value.pop("keyid")), value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DocumentError(f"cannot read {name}: it is no public key of a store",
                            hint="write one with `imagekit store key export NAME -o FILE`") from error
    if is_everybodys(key):
        raise TrustError(f"cannot use {name}: anybody can sign for it, it is a point of low order")
    return key


class StoreKeyring:
    """The keys in `folder`, which is made with mode 0700 when the first key is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, name: str, *, kind: str = "ed25519", passphrase: bytes | None) -> StoreKey:
        """Make and store a key.

        Raises:
            UsageError: not a name, or there is a key of that name.
            HostError, TrustError: the folder cannot be used.
        """
        private = (ed25519.Ed25519PrivateKey.generate() if kind == "ed25519"
                   else rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS))
        return self._store(name, private, passphrase)

    def add(self, name: str, raw: bytes, *, passphrase: Passphrase) -> StoreKey:
        """Store a key that was made elsewhere: a private one in PEM, or a public one as `encode_public` writes it.

        Raises:
            DocumentError, TrustError: it is neither, or its passphrase is another.
            UsageError: not a name, or there is a key of that name.
        """
        if raw.lstrip().startswith(b"{"):
            key = decode_public(raw, name=f"key {name!r}")
            with self._changing(name):
                write_atomic(self.folder / (name + PUBLIC), encode_public(key), mode=0o600)
            return self.stored(name)
        kept = passphrase() if ENCRYPTED in raw else None
        return self._store(name, _decode(raw, what=f"key {name!r}", passphrase=kept), kept)

    def names(self) -> tuple[str, ...]:
        """The names of all keys, sorted."""
        if not self.folder.is_dir():
            return ()
        refuse_readable(self.folder, self.folder.stat(), what="key folder", mode=0o700)
        return tuple(sorted(path.stem for path in self.folder.iterdir()
                            if path.suffix == PUBLIC and NAME.match(path.stem)))

    def stored(self, name: str) -> StoreKey:
        """What is known of a key without its passphrase. Raises: UsageError: there is none of that name."""
        if name not in self.names():
            known = ", ".join(self.names()) or "none"
            raise UsageError(f"cannot find store key {name!r} in {self.folder}: there is {known}",
                             hint=f"make it with `imagekit store key create {name}`")
        public = decode_public(read_file(self.folder / (name + PUBLIC), limit=MAX_KEY_FILE), name=name)
        private = self.folder / (name + PRIVATE)
        has_private = os.path.lexists(private)
        return StoreKey(name=name, public=public, has_private=has_private, path=private if has_private else
                        self.folder / (name + PUBLIC), encrypted=has_private and ENCRYPTED in read_private(private))

    def all(self) -> tuple[StoreKey, ...]:
        return tuple(self.stored(name) for name in self.names())

    def named(self, key_id: str) -> StoreKey | None:
        """The key with this id."""
        return next((item for item in self.all() if item.key_id == key_id), None)

    def signer(self, name: str, *, passphrase: Passphrase) -> Signer:
        """Open a key to sign with.

        Raises:
            UsageError: there is none of that name, or its private part is elsewhere.
            TrustError: others may read it, the passphrase is wrong, or it is not the key it is listed as.
        """
        stored = self.stored(name)
        if not stored.has_private:
            raise UsageError(f"cannot sign with store key {name!r}: its private part is not on this machine")
        raw = read_private(stored.path)
        private = _decode(raw, what=f"store key {name!r}", passphrase=passphrase() if stored.encrypted else None)
        if not isinstance(stored.public, SSlibKey) or SSlibKey.from_crypto(
                private.public_key()).keyval != stored.public.keyval:
            raise TrustError(f"cannot use store key {name!r}: {stored.path} holds another key than its {PUBLIC} says")
        return CryptoSigner(private, stored.public)

    def remove(self, name: str) -> None:
        """Take a key back that was just made and could not be used."""
        for suffix in (PRIVATE, PUBLIC):
            (self.folder / (name + suffix)).unlink(missing_ok=True)

    def _store(self, name: str, private: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
               passphrase: bytes | None) -> StoreKey:
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                                    BestAvailableEncryption(passphrase) if passphrase else NoEncryption())
        key = SSlibKey.from_crypto(private.public_key())
        with self._changing(name):
            write_atomic(self.folder / (name + PUBLIC), encode_public(key), mode=0o600)
            try:
                create_private(self.folder / (name + PRIVATE), pem)
            except BaseException:
                (self.folder / (name + PUBLIC)).unlink()
                raise
        return self.stored(name)

    @contextmanager
    def _changing(self, name: str) -> Iterator[None]:
        """The folder, made and held, in which the name is free."""
        if not NAME.match(name):
            raise UsageError(f"cannot name a key {name!r}: letters, digits and single inner hyphens are allowed")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise no_space(self.folder, error) from error
        with FolderLock(self.folder, wait=True):
            if name in self.names():
                raise UsageError(f"cannot make store key {name!r}: there is one of that name")
            yield


def _decode(pem: bytes, *, what: str, passphrase: bytes | None) -> ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey:
    try:
        private = load_pem_private_key(pem, password=passphrase)
    except (ValueError, TypeError) as error:  # a wrong passphrase, an empty one
        if ENCRYPTED in pem:
            raise TrustError(f"cannot open {what}: the passphrase is not the right one") from error
        raise DocumentError(f"cannot read {what}: it is not a private key in PEM") from None
    except UnsupportedAlgorithm:
        raise DocumentError(f"cannot read {what}: its kind of key or encryption is not supported") from None
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size < 2048:
        raise TrustError(f"cannot use {what}: it has {private.key_size} bits, at least 2048 are required")
    if not isinstance(private, ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise DocumentError(f"cannot use {what}: it is neither an Ed25519 nor an RSA key")
    return private
