"""What a device makes of a channel map: the revision that is meant for it, and why. Shared by store and device.

A release with a share below the whole takes the devices whose bucket lies below it. The bucket is a stable hash of the
device, the package and the revision: raising a share keeps everybody who was in, and another revision asks other
devices first. Nothing here fetches or trusts anything; the map has come through the store's signatures, and what is
chosen is installed only if assertions cover it.

    bucket = floor(10000 * h / 2^64), where h is the first 64 bits, big-endian, of
             SHA-256("imagekit-share-1" LF brand LF model LF serial LF name LF revision)
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from imagekit.plan.channelmap import ALL, WHOLE, ChannelEntry, ChannelMap, Release, Revision, UpdateClass
from imagekit.plan.channels import Channel

_LABEL = "imagekit-share-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceId:
    """Which device it is; none of the three has a line break (assertions see to that)."""

    brand: str
    model: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a device asks with, for one package.

    `current` is what it runs, None if it has none. `floor` is the lowest revision that it ever takes again, by its own
    memory. `pinned` is what its validation sets demand; it goes before the channel, not before floor and revocation.
    `downward`: the owner has just chosen another channel, so that an older revision is meant.
    """

    device: DeviceId
    architecture: str
    channel: Channel
    current: int | None
    floor: int = 0
    pinned: int | None = None
    downward: bool = False


class Why(StrEnum):
    """Why a device gets what it gets."""

    NEWER = "newer"  # a release that takes it
    PINNED = "pinned"  # by a validation set
    REVOKED = "revoked"  # what it runs is revoked, and something else is meant for it
    CHOSEN = "chosen"  # the owner chose another channel
    CURRENT = "current"  # it has what is meant for it
    WAITING = "waiting"  # there is something newer, and it is not its turn
    CLOSED = "closed"  # nothing is released to the channel
    STRANDED = "stranded"  # what it runs is revoked, or a set pins what may not be installed; nothing fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The answer. `revision` is None where nothing is to be done.

    `channel` is the one that had something. `update_class` is the most pressing of all revisions on the way, and
    `advisories` are theirs, the newest first.
    """

    why: Why
    revision: Revision | None = None
    channel: Channel | None = None
    update_class: UpdateClass = UpdateClass.FEATURE
    advisories: tuple[tuple[int, UpdateClass, str], ...] = ()


def bucket(device: DeviceId, name: str, revision: int) -> int:
    """Where a device stands in the rollout of a revision: from 0, first, to 9999, last."""
    text = "\n".join((_LABEL, device.brand, device.model, device.serial, name, str(revision)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") * WHOLE >> 64


def choose(channels: ChannelMap, asking: Asking) -> Choice:
    """The revision for a device."""
    current = channels.find(asking.current) if asking.current is not None else None
    revoked = current is not None and current.revoked is not None
    if asking.pinned is not None:
        return _pinned(channels, asking, asking.pinned, revoked=revoked)
    entry = _entry(channels, asking)
    if entry is None:
        return Choice(why=Why.STRANDED if revoked else Why.CLOSED)
    release = next((item for item in entry.releases if _takes(channels, asking, item)), None)
    if release is None:
        return Choice(why=Why.STRANDED if revoked else Why.WAITING, channel=entry.channel)
    if release.revision == asking.current:
        newer = any(item.revision > release.revision for item in entry.releases)
        return Choice(why=Why.WAITING if newer else Why.CURRENT, channel=entry.channel)
    if asking.current is not None and release.revision < asking.current:
        if not revoked and not asking.downward:
            return Choice(why=Why.CURRENT, channel=entry.channel)
        return _answer(channels, asking, release.revision, Why.REVOKED if revoked else Why.CHOSEN, entry.channel)
    return _answer(channels, asking, release.revision, Why.REVOKED if revoked else Why.NEWER, entry.channel)


def _pinned(channels: ChannelMap, asking: Asking, pinned: int, *, revoked: bool) -> Choice:
    if pinned == asking.current:
        return Choice(why=Why.STRANDED if revoked else Why.CURRENT)
    return (_answer(channels, asking, pinned, Why.PINNED, None) if _installable(channels, asking, pinned)
            else Choice(why=Why.STRANDED))


def _entry(channels: ChannelMap, asking: Asking) -> ChannelEntry | None:
    for channel in asking.channel.followed:
        for architecture in (asking.architecture, ALL):
            entry = channels.entry(channel, architecture)
            if entry is not None and entry.releases:
                return entry
    return None


def _installable(channels: ChannelMap, asking: Asking, number: int) -> bool:
    revision = channels.find(number)
    return (revision is not None and revision.revoked is None and bool({asking.architecture, ALL}
            & set(revision.architectures)) and number >= max(asking.floor, channels.floor(asking.architecture)))


def _takes(channels: ChannelMap, asking: Asking, release: Release) -> bool:
    """Whether a release is for this device. One that it runs already is, whatever its share."""
    if not _installable(channels, asking, release.revision):
        return False
    if release.revision == asking.current:
        return True
    if release.held or (asking.current is not None and asking.current < release.least):
        return False
    return bucket(asking.device, channels.name, release.revision) < release.share


def _answer(channels: ChannelMap, asking: Asking, number: int, why: Why, channel: Channel | None) -> Choice:
    target = channels.find(number)
    assert target is not None  # or it would not be installable
    low, high = (asking.current or number - 1), number
    passed = sorted((item for item in channels.revisions if low < item.revision <= high and item.revoked is None
                     and {asking.architecture, ALL} & set(item.architectures)), key=lambda item: -item.revision)
    pressing = max((item.update_class for item in passed), key=lambda item: item.rank, default=UpdateClass.FEATURE)
    if why is Why.REVOKED:
        pressing = UpdateClass.URGENT
    return Choice(why=why, revision=target, channel=channel, update_class=pressing,
                  advisories=tuple((item.revision, item.update_class, item.advisory) for item in passed
                                   if item.advisory))
