"""Judge a whole store: as its auditor, with everything on disk, and as a device that comes by.

Decides what is a problem (a device would be refused something, now) and what a warning (somebody will regret it).
Nothing is mended here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, TargetFile

from imagekit.assertions import Assertion, Database, decode_stream, parse_model, parse_snap_revision
from imagekit.digests import chunks
from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError
from imagekit.host.ports import Progress
from imagekit.host.storeclient import Client, connected
from imagekit.plan.channelmap import ChannelMap, parse_channel_map
from imagekit.plan.demands import refuse_unbuildable
from imagekit.plan.storepaths import (
    METADATA,
    TARGETS,
    assertions_path,
    channels_path,
    model_path,
    package_path,
    stored_name,
)
from imagekit.store.commit import CLOCKS_APART
from imagekit.store.metadata import ONLINE, PUBLIC, Config, Published, load, read_config, target_bytes
from imagekit.units import MIB

SOON = 4  # a role expires soon when less than a quarter of its time is left


class Level(StrEnum):
    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or will be."""

    level: Level
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was looked at, and what was found."""

    targets: int
    total_bytes: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(item.level is Level.PROBLEM for item in self.findings)


def audit(folder: Path, trusted: tuple[Assertion, ...], *, now: datetime, progress: Progress,
          url: str | None = None) -> Audit:
    """Look at everything; with `url` the device fetches from there instead of from the folder.

    Raises:
        HostError: there is no store.
    """
    config = read_config(folder)
    public = folder / PUBLIC
    try:
        published = load(public)
    except (TrustError, DocumentError, HostError) as error:
        return Audit(targets=0, total_bytes=0, findings=(_problem("metadata", error.message),))
    listed = list(published.listed())
    total = sum(target.length for _, target in listed)
    progress.step("reading every target", total=total)
    findings = [*_expiry(published, config, now), *_keys(published)]
    for _, target in listed:
        findings += _content(public, target, progress)
    progress.step("comparing packages, channels and assertions")
    findings += [*_packages(public, published, trusted, now), *_models(public, published, trusted, now)]
    if not trusted and any(item.path.startswith(("channels/", "models/")) for _, item in listed):
        findings.append(_warning("assertions", "no signature on a package or a model was verified, as there is no root"
                                               " of trust here: name a folder of them with --trust"))
    progress.step("reading it as a device")
    findings += _as_device(url or public, published, listed)
    return Audit(targets=len(listed), total_bytes=total, findings=tuple(findings))


def _problem(subject: str, text: str) -> Finding:
    return Finding(level=Level.PROBLEM, subject=subject, text=text)


def _warning(subject: str, text: str) -> Finding:
    return Finding(level=Level.WARNING, subject=subject, text=text)


def _expiry(published: Published, config: Config, now: datetime) -> Iterator[Finding]:
    roles: dict[str, Metadata[Any]] = {
        "root": published.root, "targets": published.targets, "snapshot": published.snapshot,
        "timestamp": published.timestamp, **published.publishers}
    for role, metadata in roles.items():
        left = metadata.signed.expires - now
        until = f"{metadata.signed.expires:%Y-%m-%d %H:%M} UTC"
        if left <= timedelta():
            yield _problem(role, f"expired at {until}: imagekit store renew")
        elif left < timedelta(days=config.periods.of(role)) / SOON:
            yield _warning(role, f"expires at {until}: imagekit store renew")
        elif left > timedelta(days=config.periods.of(role)) + CLOCKS_APART:
            yield _warning(role, f"expires at {until}, later than {config.periods.of(role)} days from now: a clock that"
                                 " ran ahead may have signed it: imagekit store renew --all --clock-is-right")


def _keys(published: Published) -> Iterator[Finding]:
    root = published.root.signed
    offline = {key for name in ("root", "targets") for key in root.roles[name].keyids}
    online = {key for name in ONLINE for key in root.roles[name].keyids}
    for key_id in sorted(offline & online):
        yield _warning("root", f"key {key_id[:12]} signs offline and online roles: whoever breaks in has it")
    delegations = published.targets.signed.delegations
    for role, entry in sorted((delegations.roles or {}).items()) if delegations else ():
        if len(online & set(entry.keyids)) >= entry.threshold:
            yield _warning(role, "its key signs snapshot and timestamp too: whoever has it decides what devices get of"
                                 " the publisher's packages; give it a key of its own")
    if len(root.roles["root"].keyids) == 1:
        yield _warning("root", "it has one key: if that is lost, every device has to be visited")
    for role in ("root", "targets"):
        if root.roles[role].threshold == 1:
            yield _warning(role, "one key alone may sign it: consider a threshold of two")


def _content(public: Path, target: TargetFile, progress: Progress) -> Iterator[Finding]:
    path = public / TARGETS / stored_name(target.path, target.hashes["sha256"])
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as stream:
            for chunk in chunks(stream):
                digest.update(chunk)
                size += len(chunk)
                progress.advance(len(chunk))
    except OSError:
        yield _problem(target.path, f"{path.name} is missing")
        return
    if size != target.length or digest.hexdigest() != target.hashes["sha256"]:
        yield _problem(target.path, f"{path.name} is not what was signed")


def _packages(public: Path, published: Published, trusted: tuple[Assertion, ...],
              now: datetime) -> Iterator[Finding]:
    by_path = {target.path: target for _, target in published.listed()}
    for path, target in sorted(by_path.items()):
        if not path.startswith("channels/"):
            continue
        try:
            channels = parse_channel_map(target_bytes(public, target), name=path)
        except ImagekitError as error:
            yield _problem(path, error.message)
            continue
        if channels_path(channels.name) != path:
            yield _problem(path, f"it is about {channels.name!r}")
        yield from _revisions(public, channels, by_path, trusted, now)


def _revisions(public: Path, channels: ChannelMap, by_path: dict[str, TargetFile], trusted: tuple[Assertion, ...],
               now: datetime) -> Iterator[Finding]:
    for item in channels.revisions:
        label = f"{channels.name} revision {item.revision}"
        package = package_path(channels.name, item.revision, item.compression)
        proof = by_path.get(assertions_path(channels.name, item.revision))
        if item.revoked is not None:
            continue
        if package not in by_path or proof is None:
            yield _problem(label, "its package or its assertions are not in the store")
            continue
        try:
            stream = decode_stream(target_bytes(public, proof, limit=16 * MIB), name=proof.path)
            database = _holding(trusted, stream)
            found = [parse_snap_revision(assertion) for assertion in stream if assertion.type == "snap-revision"]
            if [(one.snap_sha3_384, one.snap_size, one.snap_revision, one.snap_id) for one in found] != [
                    (item.sha3_384, item.size, item.revision, channels.snap_id)]:
                yield _problem(label, "its snap-revision does not say what the channel map says")
            elif trusted:
                database.verify(found[0].assertion, now=now)
        except ImagekitError as error:
            yield _problem(label, error.message)


def _holding(trusted: tuple[Assertion, ...], stream: tuple[Assertion, ...]) -> Database:
    database = Database(trusted)
    for assertion in stream:
        database.add(assertion)
    return database


def _models(public: Path, published: Published, trusted: tuple[Assertion, ...], now: datetime) -> Iterator[Finding]:
    """Whether devices of each model would believe it, and go by it as far as it says so itself."""
    for path, target in sorted(published.targets.signed.targets.items()):
        if not path.startswith("models/"):
            continue
        try:
            stream = decode_stream(target_bytes(public, target, limit=16 * MIB), name=path)
            found = [parse_model(assertion) for assertion in stream if assertion.type == "model"]
            if [model_path(item.brand_id, item.model) for item in found] != [path]:
                yield _problem(path, "it does not hold that one model")
                continue
            refuse_unbuildable(found[0])
            if trusted:
                _holding(trusted, stream).verify(found[0].assertion, now=now)
        except ImagekitError as error:
            yield _problem(path, error.message)


def _as_device(source: str | Path, published: Published, listed: list[tuple[str, TargetFile]]) -> Iterator[Finding]:
    """What a device that has only the first root is refused."""
    try:
        with connected(source, published.roots[0].to_bytes()) as client:
            for _, target in listed:
                yield from _look_up(client, target, there=isinstance(source, str))
    except (TrustError, HostError) as error:
        yield _problem("device", error.message)


def _look_up(client: Client, target: TargetFile, *, there: bool) -> Iterator[Finding]:
    found = client.find(target.path)
    if found is None or found.hashes != target.hashes or found.length != target.length:
        why = ("an older state is there: imagekit store sync" if there
               else "its publisher's delegation does not cover it")
        yield _problem(target.path, f"a device does not find it: {why}")
    elif found.length <= MIB:
        client.fetch(found)


def metadata_files(published: Published) -> tuple[str, ...]:
    """The names of all metadata that a client may ask for now, below `metadata/`."""
    names = [f"{root.signed.version}.root.json" for root in published.roots]
    names += [f"{published.snapshot.signed.version}.snapshot.json", f"{published.targets.signed.version}.targets.json"]
    names += [f"{metadata.signed.version}.{role}.json" for role, metadata in published.publishers.items()]
    return tuple(f"{METADATA}/{name}" for name in (*names, "timestamp.json"))
