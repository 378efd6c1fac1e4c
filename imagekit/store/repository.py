"""A store that is worked on: held by one process, read and proved, changed by drafts.

`Store` is what every command about a store opens. It decides nothing about packages; `imagekit.store.publishing` does
that with the pure functions of `imagekit.plan.releases`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tuf.api.metadata import TargetFile, Targets

from imagekit.assertions import Model, ValidationSet, decode_stream, parse_model, parse_validation_set
from imagekit.digests import chunks
from imagekit.errors import PlanError
from imagekit.host.files import FolderLock, scratch_folder
from imagekit.plan.channelmap import ChannelMap, parse_channel_map
from imagekit.plan.storepaths import TARGETS, channels_path, fits, patterns_of, stored_name
from imagekit.store.commit import Draft, Keys, Outcome, commit
from imagekit.store.disk import Disk, FolderDisk
from imagekit.store.metadata import (
    PENDING,
    PUBLIC,
    Config,
    Published,
    load,
    read_config,
    read_metadata,
    target_bytes,
)
from imagekit.units import MIB

SET_LIMIT = 4 * MIB
WORK = "work"


@dataclass(slots=True, kw_only=True)
class Store:
    """An open store; its folder is held, so that what is read stays true until it is left."""

    folder: Path
    config: Config
    published: Published
    keys: Keys
    disk: Disk
    now: datetime

    @property
    def public(self) -> Path:
        return self.folder / PUBLIC

    @property
    def pending(self) -> tuple[Path, ...]:
        """Changes that wait for signatures."""
        return tuple(sorted((self.folder / PENDING).glob("*.json")))

    def draft(self) -> Draft:
        """A change to begin.

        Raises:
            PlanError: another one waits for signatures, and would be lost.
        """
        if self.pending:
            waiting = ", ".join(path.stem for path in self.pending)
            raise PlanError(f"cannot change store {self.folder}: a change of {waiting} waits for signatures",
                            hint="bring them with `imagekit store apply FILE...`, or give the change up with"
                                 " `imagekit store apply --discard`")
        return Draft(config=self.config, now=self.now, published=self.published)

    def draft_online(self, *, clock_is_right: bool = False) -> Draft:
        """A change of snapshot and timestamp alone, whatever else waits."""
        return Draft(config=self.config, now=self.now, published=self.published, clock_is_right=clock_is_right)

    def version_of(self, role: str) -> int:
        """The newest one that is published; 0: there is none."""
        entry = self.published.snapshot.signed.meta.get(f"{role}.json")
        return self.published.root.signed.version if role == "root" else entry.version if entry else 0

    def commit(self, draft: Draft) -> Outcome:
        """Publish a change; the store is read anew afterwards. Raises: as `imagekit.store.commit.commit`."""
        outcome = commit(self.folder, draft, self.keys, self.disk)
        if outcome.published:
            self.published = load(self.public)
        return outcome

    def publisher_of(self, name: str) -> str:
        """The role that signs for a package name. Raises: PlanError: nobody does."""
        delegations = self.published.targets.signed.delegations
        for role, entry in (delegations.roles or {} if delegations else {}).items():
            if any(fits(name, pattern) for pattern in patterns_of(entry.paths or [])):
                return role
        raise PlanError(f"cannot find package {name!r}: no publisher of this store has that name",
                        hint="imagekit store publisher add ACCOUNT --package NAME --key KEY")

    def channels(self, name: str) -> ChannelMap | None:
        """The channel map of a package; None: nothing is published."""
        path = channels_path(name)
        target = self.published.publishers_target(path)
        return None if target is None else parse_channel_map(target_bytes(self.public, target), name=path)

    def all_channels(self) -> tuple[tuple[str, ChannelMap], ...]:
        """Every channel map with the role that signs it, by package name."""
        found = [(role, parse_channel_map(target_bytes(self.public, target), name=target.path))
                 for role, target in self.published.listed() if target.path.startswith("channels/")]
        return tuple(sorted(found, key=lambda item: item[1].name))

    def sets(self) -> tuple[ValidationSet, ...]:
        """Every validation set that is published, proved when it was."""
        found = []
        for _, target in self.published.listed():
            if target.path.startswith("sets/") and "_" in target.path.rpartition("/")[2]:
                stream = decode_stream(target_bytes(self.public, target, limit=SET_LIMIT), name=target.path)
                found += [parse_validation_set(item) for item in stream if item.type == "validation-set"]
        return tuple(found)

    def models(self) -> tuple[Model, ...]:
        """The newest revision of every model that is published, proved when it was."""
        found = []
        for target in self.published.targets.signed.targets.values():
            if target.path.startswith("models/"):
                stream = decode_stream(target_bytes(self.public, target, limit=SET_LIMIT), name=target.path)
                found += [parse_model(item) for item in stream if item.type == "model"]
        return tuple(sorted(found, key=lambda item: (item.brand_id, item.model)))

    def put(self, role: Targets, path: str, content: bytes) -> TargetFile:
        """Lay a small target into the store, and list it in a role of a draft."""
        sha256 = hashlib.sha256(content).hexdigest()
        target = TargetFile(length=len(content), hashes={"sha256": sha256}, path=path)
        if not self._has(target):
            self.disk.put(f"{TARGETS}/{stored_name(path, sha256)}", content)
        role.targets[path] = target
        return target

    def adopt(self, role: Targets, path: str, write: Callable[[Path], None]) -> TargetFile:
        """Lay a large target into the store; `write` makes it, on the store's own disk."""
        with self.scratch() as folder:
            descriptor, name = tempfile.mkstemp(dir=folder)
            os.close(descriptor)
            source = Path(name)
            write(source)
            digest, size = hashlib.sha256(), 0
            with source.open("rb") as stream:
                for chunk in chunks(stream):
                    digest.update(chunk)
                    size += len(chunk)
            target = TargetFile(length=size, hashes={"sha256": digest.hexdigest()}, path=path)
            if not self._has(target):
                self.disk.adopt(f"{TARGETS}/{stored_name(path, digest.hexdigest())}", source)
        role.targets[path] = target
        return target

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for work on the store's own disk."""
        with scratch_folder(self.folder / WORK) as folder:
            yield folder

    def _has(self, target: TargetFile) -> bool:
        path = self.public / TARGETS / stored_name(target.path, target.hashes["sha256"])
        return path.is_file() and path.stat().st_size == target.length


@contextmanager
def opened(folder: Path, keys: Keys, *, now: datetime, disk: Disk | None = None,
           told: Callable[[], None] | None = None) -> Iterator[Store]:
    """Open a store to change it. Another process that does waits until it is left; `told` is called then.

    Raises:
        HostError: there is none, or files are missing. DocumentError, TrustError: it is damaged or was changed.
    """
    config = read_config(folder)
    with FolderLock(folder, wait=True, told=told):
        store = Store(folder=folder, config=config, published=load(folder / PUBLIC), keys=keys, now=now,
                      disk=disk or FolderDisk(folder / PUBLIC))
        _forget_done(store)
        shutil.rmtree(folder / WORK, ignore_errors=True)  # what a power cut left there; nobody else works here now
        yield store


def _forget_done(store: Store) -> None:
    """Take away changes that were published, and whose files a power cut left waiting."""
    now = store.draft_online()
    for path in store.pending:
        published = now.current(path.stem)
        if published is not None and read_metadata(path).signed_bytes == published.signed_bytes:
            path.unlink()
