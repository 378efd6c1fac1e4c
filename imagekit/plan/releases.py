"""How a channel map changes: a revision comes in, is released, promoted, held, revoked, forgotten.

Each function takes a map and gives the next one, or refuses; nothing is written. What is refused: other bytes under a
revision that was published, a revision older than what its architectures have, a release that goes backwards, one that
is revoked or below the floor, a feature in a channel for security fixes, and what a validation set forbids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from imagekit.assertions.sets import SetPresence, SetSnap, ValidationSet
from imagekit.errors import PlanError
from imagekit.plan.channelmap import (
    MAX_ADVISORY,
    WHOLE,
    ChannelEntry,
    ChannelMap,
    Compression,
    Release,
    Revision,
    Revoked,
    UpdateClass,
)
from imagekit.plan.channels import Channel, Risk

KEPT_REVISIONS = 3  # the newest of each architecture stay, to go back to and to make deltas from
SECURITY_KEPT = timedelta(days=3653)  # ten years: Regulation (EU) 2024/2847, article 13(9)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # tabs and line feeds are for reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a revision is released; see `Release`."""

    share: int = WHOLE
    held: bool = False
    least: int = 0


def with_revision(channels: ChannelMap, new: Revision) -> ChannelMap:
    """Take a revision in. One that is there already changes nothing but its class and advisory, if those are new.

    Raises:
        PlanError: it was published with other bytes, is older than what is there, or its advisory is not for reading.
    """
    label = f"{channels.name} revision {new.revision}"
    if len(new.advisory) > MAX_ADVISORY:
        raise PlanError(f"cannot publish {label}: its advisory has {len(new.advisory)} characters, at most"
                        f" {MAX_ADVISORY} are allowed")
    _refuse_control(new.advisory, f"publish {label}: its advisory")
    known = channels.find(new.revision)
    if known is not None:
        if known.sha3_384 != new.sha3_384:
            raise PlanError(f"cannot publish {label}: it was published with other bytes, and a revision never changes",
                            hint="give what changed a higher revision in its recipe")
        if known.revoked is not None:
            raise PlanError(f"cannot publish {label}: it was revoked: {known.revoked.reason}")
        kept = replace(known, update_class=max(known.update_class, new.update_class, key=lambda item: item.rank),
                       advisory=new.advisory or known.advisory)
        return replace(channels, revisions=tuple(kept if item is known else item for item in channels.revisions))
    newest = max((item.revision for item in channels.revisions
                  if set(item.architectures) & set(new.architectures)), default=0)
    if new.revision < newest:
        raise PlanError(f"cannot publish {label}: revision {newest} is published, and revisions only go up",
                        hint="give it a higher revision in its recipe")
    _refuse_below_floor(channels, new, "publish")
    return replace(channels, revisions=(*channels.revisions, new))


def _refuse_control(text: str, what: str) -> None:
    """Raises: PlanError: devices would print it, and it does more to a terminal than to be read."""
    if found := _CONTROL.search(text):
        raise PlanError(f"cannot {what} has a character that is not for reading: {found[0]!a}")


def released(channels: ChannelMap, number: int, channel: Channel, terms: Terms, *,
             sets: Iterable[ValidationSet] = ()) -> ChannelMap:
    """Release a revision to a channel, or change how it is released there.

    Raises:
        PlanError: it may not go there.
    """
    revision = _usable(channels, number, f"release {channels.name} revision {number} to {channel}")
    if channel.security_only and revision.update_class is UpdateClass.FEATURE:
        raise PlanError(f"cannot release {channels.name} revision {number} to {channel}: it brings features, and the"
                        " channel has security fixes only", hint="publish it with --class security if that is what it"
                        " is, or release it to another channel")
    if channel.risk is Risk.STABLE:
        _refuse_set_violation(channels, revision, channel, sets)
    for architecture in revision.architectures:
        channels = _released(channels, revision, channel, architecture, terms)
    return channels


def _released(channels: ChannelMap, revision: Revision, channel: Channel, architecture: str,
              terms: Terms) -> ChannelMap:
    entry = channels.entry(channel, architecture)
    before = entry.releases if entry else ()
    newest = max((item.revision for item in before), default=0)
    if revision.revision < newest and all(item.revision != revision.revision for item in before):
        raise PlanError(f"cannot release {channels.name} revision {revision.revision} to {channel}: revision {newest}"
                        f" is released there for {architecture}, and a channel does not go backwards",
                        hint=f"if {newest} is bad: imagekit store revoke {channels.name} {newest} --reason TEXT")
    if not terms.held and any(item.held for item in before if item.revision == revision.revision):
        raise PlanError(f"cannot release {channels.name} revision {revision.revision} to {channel}: it is held there",
                        hint=f"if that is over: imagekit store release {channels.name} {revision.revision} --channel"
                             f" {channel} --resume")
    new = Release(revision=revision.revision, share=terms.share, held=terms.held, least=terms.least)
    rest = [item for item in before if item.revision != new.revision]
    ordered = sorted([new, *rest], key=lambda item: -item.revision)
    return _with_entry(channels, channel, architecture, _reachable(ordered))


def _reachable(releases: list[Release]) -> tuple[Release, ...]:
    """Up to the first that takes every device, and the next such one: the way back, should the first be revoked."""
    final = [index for index, item in enumerate(releases) if item.final]
    if not final:
        return tuple(releases)
    return (*releases[:final[0] + 1], *(releases[index] for index in final[1:2]))


def changed(channels: ChannelMap, number: int, channel: Channel,
            change: Callable[[Release], Release]) -> ChannelMap:
    """Change how a revision is released, where it is.

    Raises:
        PlanError: it is not released to the channel.
    """
    _usable(channels, number, f"change {channels.name} revision {number} in {channel}")
    found = False
    for entry in channels.channels:
        if entry.channel == channel and any(item.revision == number for item in entry.releases):
            found = True
            releases = [change(item) if item.revision == number else item for item in entry.releases]
            channels = _with_entry(channels, channel, entry.architecture, _reachable(releases))
    if not found:
        raise PlanError(f"cannot change {channels.name} revision {number} in {channel}: it is not released there",
                        hint=f"imagekit store promote {channels.name} --revision {number} --to {channel}")
    return channels


def top_of(channels: ChannelMap, channel: Channel) -> tuple[int, ...]:
    """The newest revision that a channel has, for each architecture. Raises: PlanError: it has none."""
    found = sorted({max(item.revision for item in entry.releases) for entry in channels.channels
                    if entry.channel == channel and entry.releases})
    if not found:
        raise PlanError(f"cannot promote {channels.name} from {channel}: nothing is released there")
    return tuple(found)


def closed(channels: ChannelMap, channel: Channel) -> ChannelMap:
    """Take everything out of a channel, so that devices follow the next steadier one."""
    kept = tuple(entry for entry in channels.channels if entry.channel != channel)
    if len(kept) == len(channels.channels):
        raise PlanError(f"cannot close {channel} of {channels.name}: there is no such channel")
    return replace(channels, channels=kept)


def revoked(channels: ChannelMap, number: int, *, reason: str, now: datetime) -> ChannelMap:
    """Never install a revision again; it leaves every channel, and devices that have it leave it.

    Raises:
        PlanError: it is not there, or has been revoked; the reason is not for reading.
    """
    revision = _usable(channels, number, f"revoke {channels.name} revision {number}")
    _refuse_control(reason, f"revoke {channels.name} revision {number}: the reason")
    ended = replace(revision, revoked=Revoked(time=now, reason=reason))
    channels = replace(channels, revisions=tuple(ended if item is revision else item for item in channels.revisions))
    for entry in channels.channels:
        channels = _with_entry(channels, entry.channel, entry.architecture,
                               tuple(item for item in entry.releases if item.revision != number))
    return channels


def floored(channels: ChannelMap, floor: int, architectures: Iterable[str]) -> ChannelMap:
    """Never install anything below `floor` again. Floors only rise.

    Raises:
        PlanError: there is nothing at or above it, or a channel would have nothing left.
    """
    floors = dict(channels.floors)
    for architecture in architectures:
        if not any(item.revision >= floor and architecture in item.architectures and item.revoked is None
                   for item in channels.revisions):
            raise PlanError(f"cannot raise the floor of {channels.name} to {floor}: no revision from there on is"
                            f" published for {architecture}")
        if floor < floors.get(architecture, 0):
            raise PlanError(f"cannot lower the floor of {channels.name} from {floors[architecture]} to {floor}")
        floors[architecture] = floor
    channels = replace(channels, floors=floors)
    for entry in channels.channels:
        left = tuple(item for item in entry.releases if item.revision >= channels.floor(entry.architecture))
        if entry.releases and not left:
            raise PlanError(f"cannot raise the floor of {channels.name} to {floor}: {entry.channel} has nothing from"
                            " there on", hint="release something to it, or close it, first")
        channels = _with_entry(channels, entry.channel, entry.architecture, left)
    return channels


def pruned(channels: ChannelMap, *, now: datetime, keep: int = KEPT_REVISIONS,
           pinned: Iterable[int] = ()) -> ChannelMap:
    """Without the revisions that need not stay available. `pinned` are those that validation sets name.

    What stays: everything released or pinned; the newest `keep` of each architecture, to go back to and to make deltas
    from; the same for what each release is updated from; security fixes for ten years; and revoked ones, as a mark.
    """
    needed = {item.revision for entry in channels.channels for item in entry.releases} | set(pinned)
    for architecture in {word for item in channels.revisions for word in item.architectures}:
        numbers = sorted(item.revision for item in channels.revisions
                         if architecture in item.architectures and item.revoked is None)
        needed |= set(numbers[-keep:])
        for entry in channels.channels:
            if entry.architecture == architecture:
                for release in entry.releases:
                    needed |= set([item for item in numbers if item < release.revision][-keep:])
    kept = tuple(item for item in channels.revisions
                 if item.revision in needed or item.revoked is not None
                 or (item.update_class is not UpdateClass.FEATURE and item.published + SECURITY_KEPT > now))
    return replace(channels, revisions=kept)


def delta_sources(channels: ChannelMap, target: Revision, *, count: int = KEPT_REVISIONS) -> list[Revision]:
    """The revisions from which devices go to `target`: what is released below it, then the newest of the others."""
    words = set(target.architectures)
    below = [item for item in channels.revisions if item.revision < target.revision and item.revoked is None
             and set(item.architectures) & words and item.compression is Compression.ZSTD]
    live = {release.revision for entry in channels.channels for release in entry.releases}
    return sorted(below, key=lambda item: (item.revision not in live, -item.revision))[:count]


def bound_sets(sets: Iterable[ValidationSet], snap_id: str) -> list[tuple[ValidationSet, SetSnap]]:
    """What the newest sequence of each set says of a package."""
    newest: dict[str, ValidationSet] = {}
    for item in sets:
        if item.key not in newest or newest[item.key].sequence < item.sequence:
            newest[item.key] = item
    return [(item, snap) for _, item in sorted(newest.items()) for snap in item.snaps if snap.snap_id == snap_id]


def check_set(value: ValidationSet, known: Callable[[str], ChannelMap | None]) -> None:
    """Refuse a validation set that no device could follow from this store.

    Raises:
        PlanError: it pins revisions that are not published, or are revoked; all of them are told.
    """
    problems = []
    for snap in value.snaps:
        if snap.revision is None:
            continue
        channels = known(snap.name)
        revision = channels.find(snap.revision) if channels and channels.snap_id == snap.snap_id else None
        if revision is None or revision.revoked is not None:
            why = "revoked" if revision is not None else "not in this store"
            problems.append(f"{snap.name}: revision {snap.revision} is {why}")
    if problems:
        raise PlanError(f"cannot publish validation set {value.key}={value.sequence}: devices could not follow it"
                        + (f": {problems[0]}" if len(problems) == 1 else ""),
                        details=tuple(problems) if len(problems) > 1 else (),
                        hint="publish the packages that it pins first")


def _refuse_set_violation(channels: ChannelMap, revision: Revision, channel: Channel,
                          sets: Iterable[ValidationSet]) -> None:
    for item, snap in bound_sets(sets, channels.snap_id):
        named = f"validation set {item.key}={item.sequence}"
        what = f"cannot release {channels.name} revision {revision.revision} to {channel}: {named}"
        if snap.presence is SetPresence.INVALID:
            raise PlanError(f"{what} forbids {channels.name}")
        if snap.revision is not None and snap.revision != revision.revision:
            raise PlanError(f"{what} pins revision {snap.revision}",
                            hint="publish the set's next sequence first; until then release it to candidate or below")


def _refuse_below_floor(channels: ChannelMap, revision: Revision, verb: str) -> None:
    floor = max((channels.floor(word) for word in revision.architectures), default=0)
    if revision.revision < floor:
        raise PlanError(f"cannot {verb} {channels.name} revision {revision.revision}: nothing below {floor} is"
                        " installed any more")


def _usable(channels: ChannelMap, number: int, what: str) -> Revision:
    """Raises: PlanError: the revision is not published, revoked, or below the floor."""
    revision = channels.find(number)
    if revision is None:
        there = ", ".join(str(item.revision) for item in channels.revisions) or "none"
        raise PlanError(f"cannot {what}: it is not published; there is {there}")
    if revision.revoked is not None:
        raise PlanError(f"cannot {what}: it was revoked: {revision.revoked.reason}")
    _refuse_below_floor(channels, revision, what.split()[0])
    return revision


def _with_entry(channels: ChannelMap, channel: Channel, architecture: str,
                releases: tuple[Release, ...]) -> ChannelMap:
    kept = [entry for entry in channels.channels if (entry.channel, entry.architecture) != (channel, architecture)]
    new = [ChannelEntry(channel=channel, architecture=architecture, releases=releases)] if releases else []
    return replace(channels, channels=(*kept, *new))
