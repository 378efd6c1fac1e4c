"""Publish a change: sign what changed, and write it so that nobody ever sees half of it.

Every file but `timestamp.json` has a name of its own for each content, and a client follows from there. So the order
is: target files, metadata of publishers, targets, snapshot, and then the timestamp, by one rename. What was written
before a power cut is named by nothing, and the next change takes other version numbers. A new root comes after a
timestamp that both it and the old root accept, so that a client finds a store that it believes at every moment; only
where a replaced key is not at hand to sign once more does the root come first (`Outcome.abrupt`).

A change for which keys are missing here is not published. It waits in `pending/`, each role a file that can be carried
to where the keys are, signed there, and brought back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from imagekit.errors import HostError, PlanError, TrustError
from imagekit.host.storeclient import Limits
from imagekit.plan.storepaths import METADATA
from imagekit.store.disk import Disk
from imagekit.store.metadata import ONLINE, PENDING, PUBLIC, Config, Published

SERIALIZER = JSONSerializer(compact=False)
CLOCKS_APART = timedelta(hours=1)  # as far as clocks of two machines that are kept may lie apart


class Keys(Protocol):
    """The private keys at hand."""

    def signer(self, key_id: str) -> Signer | None:
        """The key with this id, opened; None if it is elsewhere."""


@dataclass(slots=True, kw_only=True)
class Draft:
    """A change in the making: roles that get a new version. `published` is None for a store that is being made.

    `carried` are roles that wait already: somebody elsewhere may have signed them as they are. `clock_is_right`: of a
    store that was signed at a time to come, that time was wrong.
    """

    config: Config
    now: datetime
    published: Published | None
    roles: dict[str, Metadata[Any]] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    clock_is_right: bool = False

    def root(self) -> Root:
        return self._open("root", self.published.root if self.published else None, Root)  # type: ignore[no-any-return]

    def targets(self) -> Targets:
        return self._open("targets", self.published.targets if self.published else None, Targets)  # type: ignore[no-any-return]

    def publisher(self, role: str) -> Targets:
        before = self.published.publishers.get(role) if self.published else None
        return self._open(role, before, Targets)  # type: ignore[no-any-return]

    def _open(self, role: str, before: Metadata[Any] | None, kind: type[Any]) -> Any:
        if role not in self.roles:
            copy = Metadata.from_bytes(before.to_bytes(SERIALIZER)) if before else Metadata(kind())
            copy.signatures.clear()
            self.roles[role] = copy
        return self.roles[role].signed

    def current(self, role: str) -> Metadata[Any] | None:
        """The role as it will be: changed or not."""
        if role in self.roles or self.published is None:
            return self.roles.get(role)
        top: dict[str, Metadata[Any]] = {"root": self.published.root, "targets": self.published.targets}
        return top.get(role) or self.published.publishers.get(role)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A role that too few have signed: how many more are needed, and the ids of the keys that may."""

    role: str
    missing: int
    key_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a change: published, or waiting for the signatures in `lacks`.

    `ended` are roles that it left as they were and that have ended: no device believes what they say.
    """

    versions: Mapping[str, int]
    lacks: tuple[Lack, ...] = ()
    abrupt: bool = False
    pending: tuple[Path, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def published(self) -> bool:
        return not self.lacks


def commit(folder: Path, draft: Draft, keys: Keys, disk: Disk) -> Outcome:
    """Sign and publish, or leave it waiting.

    Raises:
        PlanError: a role would be larger than devices take.
        TrustError: snapshot and timestamp alone were to be signed, and cannot be here; or not all keys of a new store.
        HostError: a file cannot be written; the clock stands before the time at which the store was signed last.
    """
    _refuse_past(draft)
    lacks, abrupt = sign_roles(folder, draft, keys)
    snapshot, timestamp = _next_online(folder, draft)
    if not lacks:
        for role, item in (("snapshot", snapshot), ("timestamp", timestamp)):
            short, sudden = _sign(item, role, _authorities(draft, role), keys)
            lacks, abrupt = (*lacks, *short), abrupt or sudden
    for role, metadata in (*draft.roles.items(), ("snapshot", snapshot)):
        _check_size(role, metadata)
    if lacks:
        return _wait(folder, draft, lacks)
    for role, metadata in sorted(draft.roles.items(), key=lambda item: item[0] == "targets"):
        if role != "root":
            disk.put(f"{METADATA}/{metadata.signed.version}.{role}.json", encode(metadata))
    disk.put(f"{METADATA}/{snapshot.signed.version}.snapshot.json", encode(snapshot))
    _write_last(disk, draft, timestamp, abrupt=abrupt)
    for role in draft.roles:
        (folder / PENDING / f"{role}.json").unlink(missing_ok=True)
    versions = {role: item.signed.version for role, item in draft.roles.items()}
    return Outcome(abrupt=abrupt, ended=_ended(draft), versions={
        **versions, "snapshot": snapshot.signed.version, "timestamp": timestamp.signed.version})


def _ended(draft: Draft) -> tuple[str, ...]:
    targets = draft.current("targets")
    delegated = targets.signed.delegations.roles if targets and targets.signed.delegations else {}
    return tuple(role for role in ("root", "targets", *(delegated or {}))
                 if (found := draft.current(role)) is not None and found.signed.is_expired(draft.now))


def _refuse_past(draft: Draft) -> None:
    """Raises: HostError: what would be signed has a wrong end, which may have been already.

    Snapshot and timestamp are signed by every change, so that their ends tell when the last one was made. Somebody may
    have given one of them another period since: the earlier time counts.
    """
    if draft.published is None or draft.clock_is_right:
        return
    ends = {"snapshot": draft.published.snapshot.signed.expires, "timestamp": draft.published.timestamp.signed.expires}
    last = min(end - timedelta(days=draft.config.periods.of(role)) for role, end in ends.items())
    if draft.now < last - CLOCKS_APART:
        raise HostError(f"cannot sign for the store: this machine's clock says {draft.now:%Y-%m-%d %H:%M} UTC, and the"
                        f" store was signed last at {last:%Y-%m-%d %H:%M} UTC",
                        hint="set the clock; if it is right, as the one that signed last was wrong or valid-days are"
                             " fewer now: imagekit store renew --all --clock-is-right")


def _check_size(role: str, metadata: Metadata[Any]) -> None:
    limits, size = Limits().metadata, len(encode(metadata))
    most = {"root": limits.root_max_length, "snapshot": limits.snapshot_max_length}.get(role, limits.targets_max_length)
    if size > most:
        raise PlanError(f"cannot publish {role}: it would have {size} bytes, devices take at most {most}",
                        hint="imagekit store prune makes it smaller")


def _write_last(disk: Disk, draft: Draft, timestamp: Metadata[Timestamp], *, abrupt: bool) -> None:
    """The two files that a client begins with: which of them comes first is the whole point."""
    root = draft.roles.get("root")
    first = root is not None and (abrupt or draft.published is None)
    if root is not None and first:
        disk.put(f"{METADATA}/{root.signed.version}.root.json", encode(root))
    disk.put(f"{METADATA}/timestamp.json", encode(timestamp))
    if root is not None and not first:
        disk.put(f"{METADATA}/{root.signed.version}.root.json", encode(root))


def encode(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(SERIALIZER)


def sign_roles(folder: Path, draft: Draft, keys: Keys) -> tuple[tuple[Lack, ...], bool]:
    """Give every changed role its next version and the signatures that can be had; what is lacking, and whether a
    client with the old root would not accept one of them.

    What waits already keeps its version, its end and its signatures.
    """
    _follow_keys(draft)
    lacks: tuple[Lack, ...] = ()
    abrupt = False
    for role, metadata in draft.roles.items():
        if role not in draft.carried:
            metadata.signed.version = _next_version(folder, draft, role)
            metadata.signed.expires = _expires(draft, role)
        short, sudden = _sign(metadata, role, _authorities(draft, role), keys)
        lacks, abrupt = (*lacks, *short), abrupt or sudden
    return lacks, abrupt


def _follow_keys(draft: Draft) -> None:
    """Open the roles whose keys changed, so that they are signed by the new ones, and those that are new."""
    root = draft.current("root")
    if draft.published is None or root is None:
        return
    if not _holds(root, "targets", draft.published.targets):
        draft.targets()
    targets = draft.current("targets")
    assert targets is not None
    delegated = targets.signed.delegations.roles if targets.signed.delegations else {}
    for role in delegated or {}:
        before = draft.published.publishers.get(role)
        if before is None or not _holds(targets, role, before):
            draft.publisher(role)  # also a new one, which has nothing: clients refuse what is delegated and not there


def _holds(delegator: Metadata[Any], role: str, metadata: Metadata[Any]) -> bool:
    return bool(delegator.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified)


def _authorities(draft: Draft, role: str) -> tuple[list[Metadata[Any]], list[Metadata[Any]]]:
    """Who must accept a changed role, and who should: the root before, which clients may still have.

    A root is always accepted by both (TUF specification 5.3.4).
    """
    above = "root" if role in ("root", "targets", *ONLINE) else "targets"
    new = draft.current(above)
    assert new is not None
    if above == "targets" or draft.published is None or "root" not in draft.roles:
        return [new], []
    return ([draft.published.root, new], []) if role == "root" else ([new], [draft.published.root])


def _sign(metadata: Metadata[Any], role: str, authorities: tuple[list[Metadata[Any]], list[Metadata[Any]]],
          keys: Keys) -> tuple[tuple[Lack, ...], bool]:
    """Sign with the keys at hand until each authority has enough; what those lack who must accept it, and whether one
    does that should."""
    must, should = authorities
    lacks = [lack for authority in must if (lack := _sign_for(metadata, role, authority, keys)) is not None]
    return tuple(lacks), any(
        _sign_for(metadata, role, authority, keys) is not None for authority in should)


def _sign_for(metadata: Metadata[Any], role: str, authority: Metadata[Any], keys: Keys) -> Lack | None:
    while True:
        result = authority.signed.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        if result.verified:
            return None
        signer = next((found for key_id in sorted(result.unsigned)
                       if (found := keys.signer(key_id)) is not None), None)
        if signer is None:
            return Lack(role=role, missing=result.missing, key_ids=tuple(sorted(result.unsigned)))
        metadata.sign(signer, append=True)


def _next_online(folder: Path, draft: Draft) -> tuple[Metadata[Snapshot], Metadata[Timestamp]]:
    """The snapshot and timestamp of the change, not signed yet.

    A role that was named once stays named, delegated to or not: clients insist (TUF specification 5.5.5).
    """
    meta = dict(draft.published.snapshot.signed.meta) if draft.published else {}
    for role, metadata in draft.roles.items():
        if role != "root":
            meta[f"{role}.json"] = MetaFile(version=metadata.signed.version)
    snapshot = Metadata(Snapshot(version=_next_version(folder, draft, "snapshot"), meta=meta,
                                 expires=_expires(draft, "snapshot")))
    return snapshot, Metadata(timestamp_of(draft, snapshot.signed.version))


def timestamp_of(draft: Draft, snapshot_version: int) -> Timestamp:
    """The next timestamp, not signed yet."""
    before = draft.published.timestamp.signed.version if draft.published else 0
    return Timestamp(version=before + 1, expires=_expires(draft, "timestamp"),
                     snapshot_meta=MetaFile(version=snapshot_version))


def _expires(draft: Draft, role: str) -> datetime:
    return (draft.now.astimezone(UTC) + timedelta(days=draft.config.periods.of(role))).replace(microsecond=0)


def _next_version(folder: Path, draft: Draft, role: str) -> int:
    """One more than any that there is: what a power cut left behind is passed over, so that no name has two contents.

    Roots are counted one by one (TUF specification 5.3.4).
    """
    published = draft.published
    if role == "root":
        return published.root.signed.version + 1 if published else 1
    version = 0
    if published is not None:
        entry = published.snapshot.signed.meta.get(f"{role}.json")
        version = published.snapshot.signed.version if role == "snapshot" else entry.version if entry else 0
    there = [path.name.partition(".")[0] for path in (folder / PUBLIC / METADATA).glob(f"*.{role}.json")]
    return max([version, *(int(word) for word in there if word.isdecimal())]) + 1


def _wait(folder: Path, draft: Draft, lacks: tuple[Lack, ...]) -> Outcome:
    if draft.published is None:
        raise TrustError("cannot make the store: not all of its keys are on this machine",
                         hint="make it where they are, then take the offline ones away")
    if not draft.roles:
        raise TrustError("cannot sign snapshot and timestamp: their keys are not on this machine",
                         hint="run it where the online key is: devices believe this store until they end, no longer")
    from imagekit.store.disk import FolderDisk

    disk, paths = FolderDisk(folder / PENDING), []
    for role, metadata in sorted(draft.roles.items()):
        disk.put(f"{role}.json", encode(metadata))
        paths.append(folder / PENDING / f"{role}.json")
    return Outcome(versions={role: item.signed.version for role, item in draft.roles.items()}, lacks=lacks,
                   pending=tuple(paths))
