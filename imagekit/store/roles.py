"""Who signs what in a store: making one, giving and taking keys, publishers, renewing.

Every function changes a draft (`imagekit.store.commit`); signing and writing follow from it. Source: the TUF
specification, section 4.3 (root) and 4.5 (delegations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from securesystemslib.signer import Key
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Root, Targets

from imagekit.assertions import Assertion, encode_stream
from imagekit.errors import PlanError, UsageError
from imagekit.host.storerules import material
from imagekit.plan.storepaths import (
    account_path,
    check_pattern,
    delegated_paths,
    fits,
    overlap,
    patterns_of,
    role_of,
)
from imagekit.store.commit import Draft
from imagekit.store.metadata import TOP
from imagekit.store.repository import Store

RENEW_SHARE = 3  # a role is renewed when less than a third of its time is left


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleKeys:
    """The keys of a role, and how many of them have to sign."""

    keys: tuple[Key, ...]
    threshold: int

    def __post_init__(self) -> None:
        if not 1 <= self.threshold <= len(self.keys):
            raise UsageError(f"cannot ask for {self.threshold} signatures of {len(self.keys)} keys")
        if len({material(key) for key in self.keys}) < len(self.keys):
            raise UsageError("cannot give a role one key twice: it counts once")


def first_roles(draft: Draft, keys: Mapping[str, RoleKeys]) -> None:
    """A new store: root, and targets that delegate to nobody yet."""
    root = draft.root()
    for role, given in keys.items():
        root.roles[role] = Role([], given.threshold)
        for key in given.keys:
            _refuse_twin(root, key)
            root.add_key(key, role)
    draft.targets().delegations = Delegations(keys={}, roles={})


def _refuse_twin(root: Root, key: Key) -> None:
    """Raises: PlanError: the same key under another id, which would count twice."""
    for other in root.keys.values():
        if material(other) == material(key) and other.keyid != key.keyid:
            raise PlanError(f"cannot add key {key.keyid}: it is the same as {other.keyid}, and would count twice")


def add_key(draft: Draft, role: str, key: Key, *, threshold: int | None) -> None:
    """Let a key sign for a role, or change only how many have to (`key` is one of the role's then)."""
    root = draft.root()
    _refuse_twin(root, key)
    root.add_key(key, role)
    root.roles[role].threshold = _threshold(root.roles[role], role, threshold)


def remove_key(draft: Draft, role: str, key_id: str, *, threshold: int | None) -> None:
    """Believe a key no longer for a role. Raises: PlanError: the role does not have it, or too few would be left."""
    root = draft.root()
    if key_id not in root.roles[role].keyids:
        raise PlanError(f"cannot take key {key_id[:12]} from {role}: it has no such key")
    root.revoke_key(key_id, role)
    root.roles[role].threshold = _threshold(root.roles[role], role, threshold)


def _threshold(role: Role, name: str, threshold: int | None) -> int:
    wanted = role.threshold if threshold is None else threshold
    if not 1 <= wanted <= len(role.keyids):
        raise PlanError(f"cannot ask for {wanted} signatures of {name}: it would have {len(role.keyids)} keys",
                        hint="add keys first, or say --threshold")
    return wanted


def set_publisher(store: Store, draft: Draft, account_id: str, given: RoleKeys | None, *,
                  patterns: Sequence[str], assertions: Sequence[Assertion]) -> None:
    """Delegate package names to an account, or change what was delegated; `patterns` and `given` replace.

    `assertions` are the account and its keys, for devices. Without `given` an existing publisher keeps its keys.

    Raises:
        PlanError: another publisher has one of the names, or the account is new and has no keys.
        UsageError: a pattern is none.
    """
    targets, name = draft.targets(), role_of(account_id)
    delegations = targets.delegations or Delegations(keys={}, roles={})
    targets.delegations = delegations
    roles = delegations.roles or {}
    delegations.roles = roles
    known = roles.get(name)
    chosen = tuple(map(check_pattern, patterns)) or (patterns_of(known.paths or []) if known else ())
    keys = given or _keys_of(delegations, known)
    if not chosen or keys is None:
        raise PlanError(f"cannot add publisher {account_id!r}: it needs a package name and a key",
                        hint=f"imagekit store publisher add {account_id} --package NAME --key KEY")
    for other, entry in roles.items():
        for pattern in patterns_of(entry.paths or []) if other != name else ():
            if clash := next((mine for mine in chosen if overlap(mine, pattern)), None):
                raise PlanError(f"cannot give {clash} to {account_id!r}: {other} has {pattern}",
                                hint="a package name belongs to one publisher")
    for key_id in list(known.keyids) if known else ():
        targets.revoke_key(key_id, name)
    roles[name] = DelegatedRole(name, [], keys.threshold, terminating=True,
                                paths=delegated_paths(account_id, chosen))
    for key in keys.keys:
        targets.add_key(key, name)
    roles[name].threshold = keys.threshold
    store.put(targets, account_path(account_id), encode_stream(tuple(assertions)))


def threshold_of(store: Store, account_id: str) -> int:
    """How many keys of a publisher have to sign; 1 where there is none of that name yet."""
    delegations = store.published.targets.signed.delegations
    known = (delegations.roles or {}).get(role_of(account_id)) if delegations else None
    return 1 if known is None else int(known.threshold)


def lost_names(store: Store, draft: Draft, account_id: str) -> tuple[str, ...]:
    """What a publisher has published and has no name for any more by the draft, so that no device finds it."""
    delegations = draft.targets().delegations
    entry = (delegations.roles or {}).get(role_of(account_id)) if delegations else None
    patterns = patterns_of(entry.paths or []) if entry is not None else ()
    return tuple(item.name for role, item in store.all_channels() if role == role_of(account_id)
                 and not any(fits(item.name, pattern) for pattern in patterns))


def _keys_of(delegations: Delegations, entry: DelegatedRole | None) -> RoleKeys | None:
    if entry is None:
        return None
    return RoleKeys(keys=tuple(delegations.keys[key_id] for key_id in entry.keyids), threshold=entry.threshold)


def remove_publisher(draft: Draft, account_id: str) -> None:
    """Delegate nothing to an account any more: devices stop believing what it published. Raises: PlanError: unknown."""
    targets, name = draft.targets(), role_of(account_id)
    if targets.delegations is None or name not in (targets.delegations.roles or {}):
        raise PlanError(f"cannot remove publisher {account_id!r}: this store has none of that name")
    for key_id in list((targets.delegations.roles or {})[name].keyids):
        targets.revoke_key(key_id, name)
    del (targets.delegations.roles or {})[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a renewal does: roles that get a new version, and those due whose keys are elsewhere."""

    roles: tuple[str, ...]
    left: tuple[str, ...]


def renew(store: Store, draft: Draft, *, has: Callable[[str], bool], everything: bool = False,
          offline: bool = False) -> Renewal:
    """Open the roles that are about to expire, so that they get new versions.

    `has` says whether a key can sign here and now. Roles that lack keys are left alone unless `offline`: a change that
    waits for signatures keeps others from being made.
    """
    due, left = [], []
    roles: dict[str, Metadata[Any]] = {"root": store.published.root, "targets": store.published.targets,
                                       **store.published.publishers}
    for role, metadata in roles.items():
        period = timedelta(days=store.config.periods.of(role))
        if everything or metadata.signed.expires - store.now < period / RENEW_SHARE:
            if offline or _able(store, role, has):
                due.append(role)
                _touch(draft, role)
            else:
                left.append(role)
    return Renewal(roles=tuple(due), left=tuple(left))


def _able(store: Store, role: str, has: Callable[[str], bool]) -> bool:
    delegations = store.published.targets.signed.delegations
    entry: Role | None = store.published.root.signed.roles.get(role)
    if entry is None and delegations is not None:
        entry = (delegations.roles or {}).get(role)
    return entry is not None and sum(has(key_id) for key_id in entry.keyids) >= entry.threshold


def _touch(draft: Draft, role: str) -> Root | Targets:
    return draft.root() if role == "root" else draft.targets() if role == "targets" else draft.publisher(role)


def checked_role(role: str) -> str:
    """Raises: UsageError: no role that has keys in the root."""
    if role not in TOP:
        raise UsageError(f"cannot use role {role!r}: there is {', '.join(TOP)}",
                         hint="keys of publishers: imagekit store publisher add ACCOUNT --key KEY")
    return role
