"""Who signs what in a store, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tuf.api.metadata import Metadata

from imagekit.plan.storepaths import patterns_of
from imagekit.store.check import SOON
from imagekit.store.repository import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStatus:
    """One role. What has `ended` is believed by no device."""

    role: str
    version: int
    expires: datetime
    soon: bool
    ended: bool
    threshold: int
    key_ids: tuple[str, ...]
    packages: tuple[str, ...]


def role_statuses(store: Store) -> tuple[RoleStatus, ...]:
    """Every role of the store, the top ones first."""
    published = store.published
    top: dict[str, Metadata[Any]] = {"root": published.root, "targets": published.targets,
                                     "snapshot": published.snapshot, "timestamp": published.timestamp}
    found = []
    for role, metadata in top.items():
        entry = published.root.signed.roles[role]
        found.append(_status(store, role, metadata, entry.threshold, entry.keyids, ()))
    delegations = published.targets.signed.delegations
    for role, delegated in sorted((delegations.roles or {}).items()) if delegations else ():
        found.append(_status(store, role, published.publishers[role], delegated.threshold, delegated.keyids,
                             patterns_of(delegated.paths or [])))
    return tuple(found)


def _status(store: Store, role: str, metadata: Metadata[Any], threshold: int, key_ids: list[str],
            packages: tuple[str, ...]) -> RoleStatus:
    expires = metadata.signed.expires
    soon = expires - store.now < timedelta(days=store.config.periods.of(role)) / SOON
    return RoleStatus(role=role, version=metadata.signed.version, expires=expires, soon=soon,
                      ended=expires <= store.now, threshold=threshold, key_ids=tuple(sorted(key_ids)),
                      packages=packages)
