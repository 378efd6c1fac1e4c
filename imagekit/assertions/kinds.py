"""The assertion types: what names one of each, and what signs it.

Only what reading and writing any assertion needs; the meaning of the types that imagekit uses is in
`imagekit.assertions.types`. Source: snapd's assertion type table (docs/reference/assertions.md, "Types").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from imagekit.errors import DocumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One assertion type. `primary_key` are the headers that together name an assertion, in the writer's order."""

    name: str
    primary_key: tuple[str, ...]
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    max_format: int = 0
    has_authority: bool = True
    sequence: bool = False  # the last part of the primary key counts from 1
    json_body: bool = False


_PROVENANCE = MappingProxyType({"provenance": "global-upload"})

_KINDS = (
    Kind(name="account", primary_key=("account-id",)),
    Kind(name="account-key", primary_key=("public-key-sha3-384",), max_format=1),
    Kind(name="model", primary_key=("series", "brand-id", "model")),
    Kind(name="serial", primary_key=("brand-id", "model", "serial")),
    Kind(name="snap-declaration", primary_key=("series", "snap-id"), max_format=7),
    Kind(name="snap-build", primary_key=("snap-sha3-384",)),
    Kind(name="snap-revision", primary_key=("snap-sha3-384", "provenance"), defaults=_PROVENANCE),
    Kind(name="snap-resource-revision",
         primary_key=("snap-id", "resource-name", "resource-sha3-384", "provenance"), defaults=_PROVENANCE),
    Kind(name="snap-resource-pair",
         primary_key=("snap-id", "resource-name", "resource-revision", "snap-revision", "provenance"),
         defaults=_PROVENANCE),
    Kind(name="snap-developer", primary_key=("snap-id", "publisher-id")),
    Kind(name="system-user", primary_key=("brand-id", "email"), max_format=2),
    Kind(name="validation", primary_key=("series", "snap-id", "approved-snap-id", "approved-snap-revision")),
    Kind(name="validation-set", primary_key=("series", "account-id", "name", "sequence"), sequence=True),
    Kind(name="store", primary_key=("store",)),
    Kind(name="repair", primary_key=("brand-id", "repair-id"), sequence=True),
    Kind(name="base-declaration", primary_key=("series",)),
    Kind(name="preseed", primary_key=("series", "brand-id", "model", "system-label")),
    Kind(name="confdb-schema", primary_key=("account-id", "name"), json_body=True),
    Kind(name="cluster", primary_key=("cluster-id", "sequence"), sequence=True),
    Kind(name="request-message", primary_key=("account-id", "message-id")),
    Kind(name="hardware-identity", primary_key=("issuer-id", "hardware-id-key-sha3-384")),
    Kind(name="device-session-request", primary_key=("brand-id", "model", "serial"), has_authority=False),
    Kind(name="serial-request", primary_key=(), has_authority=False),
    Kind(name="account-key-request", primary_key=("public-key-sha3-384",), has_authority=False),
    Kind(name="confdb-control", primary_key=("brand-id", "model", "serial"), has_authority=False),
    Kind(name="response-message", primary_key=("account-id", "message-id", "device"), has_authority=False),
)
KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})


def kind_of(name: str) -> Kind:
    """Raises: DocumentError: there is no such type."""
    if name not in KINDS:
        raise DocumentError(f"unknown assertion type {name!r}: known are {', '.join(sorted(KINDS))}")
    return KINDS[name]
