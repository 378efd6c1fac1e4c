"""Deltas between revisions that a store has: made, tried, and published beside the whole packages.

A delta is only an offer: a device without its source, or whose result is wrong, takes the whole package. So one that
does not save enough is not published, and each is applied here once, to the byte, before anybody gets it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

from imagekit.digests import CHUNK
from imagekit.errors import DocumentError, PlanError
from imagekit.host.files import no_space
from imagekit.host.ports import Progress
from imagekit.packages.delta import apply_delta
from imagekit.packages.delta_make import make_delta
from imagekit.packages.forward import PACKED_WINDOW
from imagekit.plan.channelmap import ChannelMap, Compression, Revision
from imagekit.plan.releases import delta_sources
from imagekit.plan.storepaths import TARGETS, delta_path, package_path, stored_name
from imagekit.plan.update_gadget import GADGET
from imagekit.store.commit import Outcome
from imagekit.store.repository import Store

WORTH = 0.8  # of the whole download: a delta that is larger saves too little for what applying costs


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeDelta:
    """A delta, and what it saves. `published` is False where it would save too little."""

    source: int
    target: int
    size: int
    whole: int
    published: bool


def publish_deltas(store: Store, name: str, *, target: int | None, sources: Sequence[int],
                   progress: Progress) -> tuple[tuple[MadeDelta, ...], Outcome | None]:
    """Make the deltas to a revision, by default the newest, from what devices run by `delta_sources`.

    Raises:
        PlanError: there is no such revision, or none left; it is a gadget's; a source is of another architecture or a
            squashfs.
        DocumentError: a package is no EROFS that can be read.
    """
    role = store.publisher_of(name)
    channels = store.channels(name)
    if channels is None or not channels.revisions:
        raise PlanError(f"cannot make deltas of {name!r}: nothing of that name is published")
    usable = [item.revision for item in channels.revisions if item.revoked is None]
    if target is None and not usable:
        raise PlanError(f"cannot make deltas of {name!r}: all of its revisions were revoked")
    number = target if target is not None else max(usable)
    goal = _usable(channels, number)
    if goal.type == GADGET:
        raise PlanError(f"cannot make deltas of {name!r}: it is a gadget, of which a device keeps nothing that one"
                        " could start from", hint="devices take gadgets whole")
    chosen = [_usable(channels, source) for source in sources] if sources else delta_sources(channels, goal)
    for source in chosen:
        if source.revision == number or not set(source.architectures) & set(goal.architectures):
            raise PlanError(f"cannot make a delta of {name!r} from revision {source.revision} to {number}: no device"
                            " goes that way")
    draft, made = store.draft(), []
    targets = draft.publisher(role)
    with store.scratch() as folder:
        new = _unpacked(store, name, goal, folder) if chosen else folder
        whole = targets.targets[package_path(name, number, goal.compression)].length
        for source in chosen:
            progress.step(f"delta {name} {source.revision} to {number}")
            delta = _tried(_unpacked(store, name, source, folder), new, goal, f"{source.revision} to {number}")
            worth = len(delta) < WORTH * whole
            if worth:
                store.put(targets, delta_path(name, source.revision, number), delta)
            made.append(MadeDelta(source=source.revision, target=number, size=len(delta), whole=whole,
                                  published=worth))
    return tuple(made), store.commit(draft) if any(item.published for item in made) else None


def _usable(channels: ChannelMap, number: int) -> Revision:
    found = channels.find(number)
    if found is None or found.revoked is not None or found.compression is not Compression.ZSTD:
        why = ("it is not published" if found is None else "it was revoked" if found.revoked is not None
               else "it is a squashfs, which is compressed already")
        raise PlanError(f"cannot make a delta with {channels.name} revision {number}: {why}")
    return found


def _unpacked(store: Store, name: str, revision: Revision, folder: Path) -> Path:
    """A package of the store, as it lies in a slot."""
    path, packed = folder / f"{name}_{revision.revision}.snap", package_path(name, revision.revision,
                                                                             revision.compression)
    target = next((item for _, item in store.published.listed() if item.path == packed), None)
    if target is None:
        raise PlanError(f"cannot make a delta with {name} revision {revision.revision}: its package is not listed")
    source = store.public / TARGETS / stored_name(packed, target.hashes["sha256"])
    try:
        with source.open("rb") as stream, path.open("wb") as copy:
            zstandard.ZstdDecompressor(max_window_size=PACKED_WINDOW).copy_stream(stream, copy, write_size=CHUNK)
    except zstandard.ZstdError as error:
        raise DocumentError(f"cannot unpack {source}: it is damaged: {error}") from error
    except OSError as error:
        raise no_space(path, error) from error
    return path


def _tried(old: Path, new: Path, goal: Revision, label: str) -> bytes:
    """A delta that has been applied: its result has the digest that was signed. Raises: DocumentError: it has not."""
    with old.open("rb") as one, new.open("rb") as other:
        delta = make_delta(one, other)
        apply_delta(io.BytesIO(delta), one, lambda _: None, name=f"delta {label}", sha3_384=goal.sha3_384,
                    size=goal.size)
    return delta
