"""The metadata of a store as it lies on disk: read, and its signatures proved down from the first root.

    STORE/store.json                    name, and how long each role is valid
    STORE/public/metadata/              what is served: N.root.json, timestamp.json, N.ROLE.json
    STORE/public/targets/               what is served: FOLDER/SHA256.NAME
    STORE/pending/ROLE.json             changes that wait for signatures

Decides what a store must hold to be worked on. That something has expired is no reason not to: renewing it is what has
to be done. Source: the TUF specification, sections 4 and 5.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from imagekit.errors import DocumentError, HostError, TrustError
from imagekit.host.files import read_file
from imagekit.host.storerules import check_document
from imagekit.plan.storepaths import METADATA, ROLE_PREFIX, TARGETS, stored_name
from imagekit.units import MIB

PUBLIC, PENDING, CONFIG = "public", "pending", "store.json"
LIMIT = 64 * MIB  # of one metadata file, on our own disk
ONLINE = ("snapshot", "timestamp")
TOP = ("root", "targets", *ONLINE)
MAX_DAYS = 36500  # a hundred years, in which no date ends
CONFIG_FORMAT, CONFIG_VERSION = "imagekit-store", 1

T = TypeVar("T", Root, Snapshot, Targets, Timestamp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """For how many days each role is valid from its signing. `timestamp` bounds how long a device can be kept back."""

    root: int = 365
    targets: int = 365
    publisher: int = 365
    snapshot: int = 30
    timestamp: int = 7

    def of(self, role: str) -> int:
        return int(getattr(self, "publisher" if role.startswith(ROLE_PREFIX) else role))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a store says of itself to those who work on it; nothing of it is served."""

    name: str
    periods: Periods = field(default_factory=Periods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Everything that is current, every signature proved. `roots` are all roots, the first first."""

    roots: tuple[Metadata[Root], ...]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    publishers: Mapping[str, Metadata[Targets]]  # by role

    @property
    def root(self) -> Metadata[Root]:
        return self.roots[-1]

    def listed(self) -> Iterator[tuple[str, TargetFile]]:
        """Every target that devices find, with the role that signs it.

        A publisher goes on listing what it published under a name that is another's now: nobody finds that.
        """
        for _, target in sorted(self.targets.signed.targets.items()):
            yield "targets", target
        for role, metadata in sorted(self.publishers.items()):
            for _, target in sorted(metadata.signed.targets.items()):
                if self._covers(role, target.path):
                    yield role, target

    def publishers_target(self, path: str) -> TargetFile | None:
        """A publisher's target that devices find; None: there is none."""
        found = ((role, metadata.signed.targets.get(path)) for role, metadata in self.publishers.items())
        return next((target for role, target in found if target is not None and self._covers(role, path)), None)

    def _covers(self, role: str, path: str) -> bool:
        delegations = self.targets.signed.delegations
        entry = (delegations.roles or {}).get(role) if delegations else None
        return entry is not None and entry.is_delegated_path(path)


def encode_config(config: Config) -> bytes:
    document = {"format": CONFIG_FORMAT, "version": CONFIG_VERSION, "name": config.name,
                "valid-days": asdict(config.periods)}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def read_config(folder: Path) -> Config:
    """Raises: HostError: there is no store; DocumentError: it is of a version unknown here."""
    path = folder / CONFIG
    if not path.is_file():
        raise HostError(f"cannot use store {folder}: there is none",
                        hint=f"make it with `imagekit store init {folder}`, or name another with --store")
    try:
        value = json.loads(read_file(path, limit=MIB))
        if (value["format"], value["version"]) != (CONFIG_FORMAT, CONFIG_VERSION):
            raise ValueError(f"format {value['format']!r}, version {value['version']!r}")
        days = value["valid-days"]
        periods = Periods(**{item.name: int(days[item.name]) for item in fields(Periods)})
        if wrong := [name for name, count in asdict(periods).items() if not 1 <= count <= MAX_DAYS]:
            raise ValueError(f"valid-days of {', '.join(wrong)} are not 1 to {MAX_DAYS}")
        return Config(name=str(value["name"]), periods=periods)
    except (ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"cannot read {path}: it is not a store's: {error}") from error


def parse(raw: bytes, kind: type[T], *, name: str) -> Metadata[T]:
    """Metadata of one kind. Raises: DocumentError: it is another, or none."""
    try:
        check_document(raw)
        found = Metadata.from_bytes(raw)
    except (DeserializationError, RepositoryError) as error:
        raise DocumentError(f"cannot read {name}: it is no TUF metadata: {error}") from error
    if not isinstance(found.signed, kind):
        raise DocumentError(f"cannot read {name}: it is of type {found.signed.type}")
    return found


def read_metadata(path: Path) -> Metadata[Any]:
    """Metadata of whatever kind, unproved. Raises: HostError: it cannot be read; DocumentError: it is damaged."""
    try:
        raw = read_file(path, limit=LIMIT)
        check_document(raw)
        return Metadata.from_bytes(raw)
    except (DeserializationError, RepositoryError) as error:
        raise DocumentError(f"cannot read {path}: it is no TUF metadata: {error}") from error


def load(public: Path) -> Published:
    """Read what is published.

    The newest root may be younger than the roles below it, if its publishing was cut short; the one before it counts
    for them too, as it does for devices that have not seen the newest.

    Raises:
        HostError: a file is missing. DocumentError: one is damaged. TrustError: signatures or digests do not hold.
    """
    folder = public / METADATA
    roots = load_roots(public)
    timestamp = parse(_read(folder / "timestamp.json"), Timestamp, name="timestamp.json")
    _prove(roots, "timestamp", timestamp)
    named = timestamp.signed.snapshot_meta
    snapshot = parse(_read(folder / f"{named.version}.snapshot.json"), Snapshot, name="snapshot")
    _prove(roots, "snapshot", snapshot)
    targets = _targets(folder, snapshot, "targets")
    _prove(roots, "targets", targets)
    publishers = {}
    for role in (targets.signed.delegations.roles or {}) if targets.signed.delegations else {}:
        publishers[role] = _targets(folder, snapshot, role)
        _delegated(targets, role, publishers[role])
    return Published(roots=roots, timestamp=timestamp, snapshot=snapshot, targets=targets, publishers=publishers)


def load_roots(public: Path) -> tuple[Metadata[Root], ...]:
    """All roots, each proved by itself and the one before. Raises: as `load`."""
    folder = public / METADATA
    roots: list[Metadata[Root]] = []
    while (path := folder / f"{len(roots) + 1}.root.json").exists() or not roots:
        root = parse(_read(path), Root, name=path.name)
        for delegator in (roots[-1] if roots else root, root):
            _delegated(delegator, "root", root)
        if root.signed.version != len(roots) + 1:
            raise TrustError(f"cannot use {path}: it says version {root.signed.version}")
        roots.append(root)
    return tuple(roots)


def _targets(folder: Path, snapshot: Metadata[Snapshot], role: str) -> Metadata[Targets]:
    entry = snapshot.signed.meta.get(f"{role}.json")
    if entry is None:
        raise TrustError(f"cannot use the store: its snapshot does not name {role}")
    name = f"{entry.version}.{role}.json"
    found = parse(_read(folder / name), Targets, name=name)
    if found.signed.version != entry.version:
        raise TrustError(f"cannot use {name}: it says version {found.signed.version}")
    return found


def _prove(roots: tuple[Metadata[Root], ...], role: str, metadata: Metadata[T]) -> None:
    try:
        _delegated(roots[-1], role, metadata)
    except TrustError:
        if len(roots) < 2:
            raise
        _delegated(roots[-2], role, metadata)


def _delegated(delegator: Metadata[T] | Metadata[Root], role: str, metadata: Metadata[T] | Metadata[Root]) -> None:
    try:
        delegator.verify_delegate(role, metadata)
    except UnsignedMetadataError as error:
        raise TrustError(f"cannot use {role} of the store: too few of the keys that must sign it have: {error}",
                         hint="it was changed by somebody else, or by hand") from error


def _read(path: Path) -> bytes:
    if not path.exists():
        raise HostError(f"cannot read the store: {path} is missing")
    return read_file(path, limit=LIMIT)


def target_bytes(public: Path, target: TargetFile, *, limit: int = MIB) -> bytes:
    """The content of a small target. Raises: HostError: missing; TrustError: it is not what was signed."""
    sha256 = target.hashes["sha256"]
    path = public / TARGETS / stored_name(target.path, sha256)
    raw = read_file(path, limit=limit)
    if len(raw) != target.length or hashlib.sha256(raw).hexdigest() != sha256:
        raise TrustError(f"cannot use {path}: it is not what was signed", hint="restore it from a copy of the store")
    return raw
