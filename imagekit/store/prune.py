"""Take away what nobody needs any more. What stays is a rule, not a guess:

- every root, since a device that slept for years follows them one by one;
- everything that any snapshot leads to that has not expired, as a cache may still serve its timestamp;
- what a change that waits for signatures has laid down;
- of packages, what `imagekit.plan.releases.pruned` keeps: what is released, or pinned by the newest sequence of a set,
  or by one that a published model names, the newest revisions to go back to and to make deltas from, security fixes for
  ten years.

So pruning has two steps: revisions leave the channel maps now, with a signature; their files go once the last snapshot
that names them has expired. Files that nothing ever named (a power cut) go at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tuf.api.metadata import Metadata, Snapshot, Targets

from imagekit.host.files import TEMPORARY
from imagekit.plan.channelmap import ChannelMap, encode_for_devices
from imagekit.plan.releases import KEPT_REVISIONS, bound_sets, pruned
from imagekit.plan.storepaths import METADATA, TARGETS, channels_path, stored_name, subject_of
from imagekit.store.commit import Outcome
from imagekit.store.metadata import read_metadata
from imagekit.store.repository import Store
from imagekit.store.sync import public_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """Revisions that leave the store's maps, by package, and files that go now."""

    revisions: dict[str, tuple[int, ...]]
    files: tuple[str, ...]
    size: int


def plan(store: Store, *, keep: int = KEPT_REVISIONS) -> Pruning:
    """What would go. Raises: HostError, DocumentError: a file of an unexpired snapshot is damaged."""
    revisions = {}
    for _, channels in store.all_channels():
        gone = {item.revision for item in channels.revisions} - {item.revision for item in _next(
            store, channels, keep).revisions}
        if gone:
            revisions[channels.name] = tuple(sorted(gone))
    needed = needed_files(store)
    files = tuple(sorted({name for name in public_files(store.public) if name not in needed}
                         | _half_written(store.public)))
    return Pruning(revisions=revisions, files=files,
                   size=sum((store.public / name).stat().st_size for name in files))


def _half_written(public: Path) -> set[str]:
    """What a power cut left beside the name that it was to get; nobody writes now, as the store is held."""
    return {str(path.relative_to(public)) for path in public.rglob(f".*{TEMPORARY}") if path.is_file()}


def _next(store: Store, channels: ChannelMap, keep: int) -> ChannelMap:
    sets = store.sets()
    named = {(item.account_id, item.name, item.sequence) for model in store.models() for item in model.validation_sets}
    snaps = [snap for _, snap in bound_sets(sets, channels.snap_id)]
    snaps += [snap for item in sets if (item.account_id, item.name, item.sequence) in named for snap in item.snaps
              if snap.snap_id == channels.snap_id]
    return pruned(channels, now=store.now, keep=keep,
                  pinned=[snap.revision for snap in snaps if snap.revision is not None])


def needed_files(store: Store) -> set[str]:
    """Every public file that the rule keeps."""
    folder = store.public / METADATA
    needed = {f"{METADATA}/timestamp.json", *(f"{METADATA}/{path.name}" for path in folder.glob("*.root.json"))}
    for path in store.pending:
        if path.stem != "root":
            needed |= _targets_of(path)
    current = store.published.snapshot.signed.version
    for path in folder.glob("*.snapshot.json"):
        snapshot: Metadata[Snapshot] = read_metadata(path)
        version = snapshot.signed.version
        if version != current and (snapshot.signed.is_expired(store.now) or version > current):
            continue
        needed.add(f"{METADATA}/{path.name}")
        for name, entry in snapshot.signed.meta.items():
            targets = folder / f"{entry.version}.{name}"
            if targets.exists():
                needed |= {f"{METADATA}/{targets.name}", *_targets_of(targets)}
    return needed


def _targets_of(path: Path) -> set[str]:
    metadata: Metadata[Targets] = read_metadata(path)
    return {f"{TARGETS}/{stored_name(target.path, target.hashes['sha256'])}"
            for target in metadata.signed.targets.values()}


def carry_out(store: Store, planned: Pruning, *, keep: int = KEPT_REVISIONS,
              told: Callable[[str], None] = lambda _: None) -> Outcome | None:
    """Take the files away, then sign the smaller maps; None where no map changes.

    The files first, as nothing names them: on a full disk there is room for the maps then.

    Raises:
        PlanError: another change waits for signatures.
    """
    outcome, draft = None, store.draft() if planned.revisions else None
    for name in planned.files:
        told(name)
        store.disk.remove(name)
    if draft is not None:
        for role, channels in store.all_channels():
            if channels.name not in planned.revisions:
                continue
            targets = draft.publisher(role)
            for path in list(targets.targets):
                subject = subject_of(path)
                if subject and subject.name == channels.name and {subject.revision, subject.source} & set(
                        planned.revisions[channels.name]):
                    del targets.targets[path]
            store.put(targets, channels_path(channels.name), encode_for_devices(_next(store, channels, keep)))
        outcome = store.commit(draft)
    return outcome
