"""What a store's metadata is refused for beyond what python-tuf asks of it.

The signatures of TUF are over the canonical form of what a document says, not over its bytes: white space, the order of
keys and what stands beside `signed` may be anybody's, and mean nothing. So every byte must have one meaning: a document
in which a key stands twice says one thing to one reader and something else to the next. Keys are held to what they are,
however they are written: one key counts once, and one for which anybody can sign is none. Sources: TUF specification
4.2 and 5; RFC 8032 section 5.1 for the curve.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Role, Root, Targets
from tuf.api.serialization import DeserializationError
from tuf.ngclient import FetcherInterface

from imagekit.schema import unique

ED25519 = "ed25519"
_PRIME = 2 ** 255 - 19
_OF_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_LOW = frozenset({0, 1, _PRIME - 1, _OF_ORDER_8, _PRIME - _OF_ORDER_8})  # y of the points whose order divides 8


class MetadataFetcher(FetcherInterface):
    """A fetcher of metadata, which is checked before python-tuf reads it."""

    def download_bytes(self, url: str, max_length: int) -> bytes:
        raw: bytes = super().download_bytes(url, max_length)
        check_document(raw)
        return raw


def check_document(raw: bytes) -> None:
    """Raises: DeserializationError: no JSON, or a key stands twice in one of its objects."""
    try:
        json.loads(raw.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DeserializationError(f"Failed to deserialize JSON: {error}") from error


def check_keys(holder: Root | Targets) -> None:
    """Raises: RepositoryError: a role has one key twice, which would count twice, or one that proves nothing."""
    roles: Mapping[str, Role] | None = holder.roles if isinstance(holder, Root) else (
        holder.delegations.roles if holder.delegations else None)
    keys = holder.keys if isinstance(holder, Root) else holder.delegations.keys if holder.delegations else {}
    for name, role in (roles or {}).items():
        held = [keys[key_id] for key_id in role.keyids if key_id in keys]
        if len({material(key) for key in held}) < len(held):
            raise RepositoryError(f"it names one key for two of {name}")
        if any(is_everybodys(key) for key in held):
            raise RepositoryError(f"it names a key of {name} for which anybody can sign")


def material(key: Key) -> bytes:
    """What a public key is: equal for equal keys, whatever their ids, schemes and spelling."""
    public = str(key.keyval.get("public"))
    try:
        if key.keytype == ED25519:
            return bytes.fromhex(public)
        return load_pem_public_key(public.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        return str(key.keyval).encode()  # it verifies nothing


def is_everybodys(key: Key) -> bool:
    """Whether the key is an Ed25519 point of low order: signatures that hold for it can be made without a secret."""
    raw = material(key)
    if key.keytype != ED25519 or len(raw) != 32:
        return False
    return (int.from_bytes(raw, "little") & (1 << 255) - 1) % _PRIME in _LOW
