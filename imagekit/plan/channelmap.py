"""The channel map: which revisions of one package there are, and which devices get which.

One signed JSON document for each package name, `channels/NAME.json` in the store (docs/reference/store.md, "Channel
map"; its schema is channel-map.schema.json beside that page). It is written by the store and read by devices that may
be ten years older, so its rules are fixed: what `version` 1 says never changes its meaning; a reader leaves alone keys
that it does not know; what an old reader must not overlook gets a new version, which it refuses. Nothing of it is
believed but through the store's signatures, and it lets nothing be installed that assertions do not cover.

This module decides the form; `imagekit.plan.rollout` what a device makes of it, `imagekit.plan.releases` how it
changes. It is read on devices, where there is no jsonschema, so its shape is checked here by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from imagekit.errors import DocumentError, PlanError
from imagekit.plan.channels import Channel, parse_channel
from imagekit.schema import unique

FORMAT = "imagekit-channels"
VERSION = 1
LIMIT = 1 << 20  # bytes of a document
MAX_ADVISORY = 4000
WHOLE = 10_000  # a share: all devices
ALL = "all"  # the architecture of what runs on each

_NAME = re.compile(r"(?=[a-z0-9-]{2,40}\Z)(?=[0-9-]*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_SNAP_ID = re.compile(r"[a-zA-Z0-9]{32}\Z")
_SHA3 = re.compile(r"[A-Za-z0-9_-]{64}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_LARGEST = (1 << 53) - 1  # the largest whole number that every reader of JSON keeps


class UpdateClass(Enum):
    """Why a revision was made; `urgent` is a security fix that waits for no maintenance window."""

    FEATURE = "feature"
    SECURITY = "security"
    URGENT = "urgent"

    @property
    def rank(self) -> int:
        return list(UpdateClass).index(self)


class Compression(Enum):
    """How the store keeps a package. A squashfs is compressed already."""

    ZSTD = "zstd"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """That a revision is not to be used any more, and why."""

    time: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One revision that the store has. `size` and `sha3_384` are of the package itself, uncompressed."""

    revision: int
    architectures: tuple[str, ...]
    type: str
    version: str
    sha3_384: str
    size: int
    compression: Compression
    update_class: UpdateClass
    advisory: str
    published: datetime
    revoked: Revoked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A revision in a channel. `share` in ten-thousandths of all devices; `held`: nobody new gets it for now.

    `least` is the lowest revision from which a device may go to it; those below take the next release in the list.
    """

    revision: int
    share: int = WHOLE
    held: bool = False
    least: int = 0

    @property
    def final(self) -> bool:
        """Whether it takes every device, so that what stands behind it is reached only if it is revoked."""
        return self.share == WHOLE and not self.held and not self.least


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelEntry:
    """What a channel has for one architecture: the newest first; the first that takes a device is its own."""

    channel: Channel
    architecture: str
    releases: tuple[Release, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMap:
    """Everything that the store says of one package. `floors`: below these revisions nothing is installed, ever."""

    name: str
    snap_id: str
    revisions: tuple[Revision, ...] = ()
    channels: tuple[ChannelEntry, ...] = ()
    floors: Mapping[str, int] = field(default_factory=dict)

    def find(self, revision: int) -> Revision | None:
        return next((item for item in self.revisions if item.revision == revision), None)

    def entry(self, channel: Channel, architecture: str) -> ChannelEntry | None:
        return next((item for item in self.channels
                     if item.channel == channel and item.architecture == architecture), None)

    def floor(self, architecture: str) -> int:
        return max(self.floors.get(architecture, 0), self.floors.get(ALL, 0))


def encode_channel_map(value: ChannelMap) -> bytes:
    """The document: sorted, so that equal maps have equal bytes."""
    document = {
        "format": FORMAT, "version": VERSION, "name": value.name, "snap-id": value.snap_id,
        "floors": dict(value.floors),
        "revisions": [_revision_json(item) for item in sorted(value.revisions, key=lambda item: item.revision)],
        "channels": [
            {"channel": str(entry.channel), "architecture": entry.architecture,
             "releases": [{"revision": item.revision, "share": item.share, "held": item.held, "least": item.least}
                          for item in entry.releases]}
            for entry in sorted(value.channels, key=lambda entry: (str(entry.channel), entry.architecture))],
    }
    return (json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def encode_for_devices(value: ChannelMap) -> bytes:
    """The document, to be published. Raises: PlanError: devices could not read it, nor could the store any more."""
    what = f"cannot publish the channel map of {value.name}: no device could read it"
    try:
        raw = encode_channel_map(value)
        parse_channel_map(raw, name="it")
    except UnicodeEncodeError as error:
        raise PlanError(f"{what}: a text in it is not UTF-8") from error
    except DocumentError as error:
        raise PlanError(f"{what}: {error.message}",
                        hint="imagekit store prune makes it smaller" if len(raw) > LIMIT else None) from error
    return raw


def _revision_json(item: Revision) -> dict[str, object]:
    revoked = None if item.revoked is None else {"time": format_utc(item.revoked.time), "reason": item.revoked.reason}
    return {"revision": item.revision, "architectures": sorted(item.architectures), "type": item.type,
            "version": item.version, "sha3-384": item.sha3_384, "size": item.size,
            "compression": item.compression.value, "class": item.update_class.value, "advisory": item.advisory,
            "published": format_utc(item.published), "revoked": revoked}


def format_utc(time: datetime) -> str:
    """The one spelling of a time in these documents: UTC, whole seconds."""
    return time.astimezone(UTC).strftime(_TIME)


def parse_channel_map(raw: bytes, *, name: str) -> ChannelMap:
    """Read a channel map; `name` is what messages call it.

    Raises:
        DocumentError: not one, of a version unknown here, or at odds with itself.
    """
    if len(raw) > LIMIT:
        raise DocumentError(f"cannot read {name}: it has {len(raw)} bytes, at most {LIMIT} are taken")
    try:
        top = _Object(json.loads(raw, object_pairs_hook=unique), name)
    except (ValueError, RecursionError) as error:
        raise DocumentError(f"cannot read {name}: not valid JSON: {error}") from error
    if top.value.get("format") != FORMAT:
        raise DocumentError(f"cannot read {name}: it is no channel map")
    if top.number("version") != VERSION:
        raise DocumentError(f"cannot read {name}: it has version {top.value.get('version')!r}, known is {VERSION}",
                            hint="use a newer imagekit")
    floors = top.object("floors")
    found = ChannelMap(
        name=top.text("name", _NAME), snap_id=top.text("snap-id", _SNAP_ID),
        revisions=tuple(_revision(item) for item in top.objects("revisions")),
        channels=tuple(_entry(item) for item in top.objects("channels")),
        floors={key: floors.number(key, least=1) for key in floors.value if _WORD.match(key)})
    _check(found, name)
    return found


@dataclass(frozen=True, slots=True)
class _Object:
    """A JSON object that knows where it stands, and asks for its members by kind."""

    value: Any
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise DocumentError(f"cannot read {self.where}: an object is needed")

    def _problem(self, key: str, what: str) -> DocumentError:
        came = str(self.value.get(key))[:80]
        return DocumentError(f"cannot read {self.where}: {key}: {what} is needed, not {came!r}")

    def text(self, key: str, form: re.Pattern[str] | None = None, *, longest: int = MAX_ADVISORY) -> str:
        found = self.value.get(key)
        if not isinstance(found, str) or len(found) > longest or (form is not None and not form.match(found)):
            raise self._problem(key, "a string of the right form")
        try:
            found.encode()
        except UnicodeEncodeError as error:
            raise self._problem(key, "text that is UTF-8") from error
        return found

    def number(self, key: str, *, least: int = 0, most: int = _LARGEST) -> int:
        found = self.value.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self._problem(key, f"a whole number from {least} to {most}")
        return found

    def flag(self, key: str) -> bool:
        found = self.value.get(key)
        if not isinstance(found, bool):
            raise self._problem(key, "true or false")
        return found

    def time(self, key: str) -> datetime:
        try:
            return datetime.strptime(self.text(key), _TIME).replace(tzinfo=UTC)
        except ValueError as error:
            raise self._problem(key, "a time as 2026-01-31T00:00:00Z") from error

    def object(self, key: str) -> _Object:
        return _Object(self.value.get(key), f"{self.where}: {key}")

    def objects(self, key: str) -> list[_Object]:
        return [_Object(item, f"{self.where}: {key}[{index}]") for index, item in enumerate(self._list(key))]

    def words(self, key: str) -> tuple[str, ...]:
        found = self._list(key)
        if not found or not all(isinstance(item, str) and _WORD.match(item) for item in found):
            raise self._problem(key, "a list of names")
        return tuple(found)

    def _list(self, key: str) -> list[Any]:
        found = self.value.get(key)
        if not isinstance(found, list):
            raise self._problem(key, "a list")
        return found


def _revision(item: _Object) -> Revision:
    revoked = None
    if item.value.get("revoked") is not None:
        inner = item.object("revoked")
        revoked = Revoked(time=inner.time("time"), reason=inner.text("reason"))
    try:
        compression, update_class = Compression(item.text("compression")), UpdateClass(item.text("class"))
    except ValueError as error:
        raise DocumentError(f"cannot read {item.where}: {error}") from error
    return Revision(
        revision=item.number("revision", least=1), architectures=item.words("architectures"),
        type=item.text("type", _WORD), version=item.text("version", longest=64),
        sha3_384=item.text("sha3-384", _SHA3), size=item.number("size", least=1), compression=compression,
        update_class=update_class, advisory=item.text("advisory"), published=item.time("published"), revoked=revoked)


def _entry(item: _Object) -> ChannelEntry:
    channel = parse_channel(item.text("channel"))
    if str(channel) != item.value["channel"]:
        raise DocumentError(f"cannot read {item.where}: channel {item.value['channel']!r} must be written {channel}")
    return ChannelEntry(
        channel=channel, architecture=item.text("architecture", _WORD),
        releases=tuple(Release(revision=each.number("revision", least=1), share=each.number("share", most=WHOLE),
                               held=each.flag("held"), least=each.number("least"))
                       for each in item.objects("releases")))


def _check(found: ChannelMap, name: str) -> None:
    """Raises: DocumentError: something is named twice, or released and not there."""
    numbers = [item.revision for item in found.revisions]
    places = [(entry.channel, entry.architecture) for entry in found.channels]
    if len(set(numbers)) != len(numbers) or len(set(places)) != len(places):
        raise DocumentError(f"cannot read {name}: a revision or a channel stands in it twice")
    for entry in found.channels:
        released = [item.revision for item in entry.releases]
        for number in released:
            revision = found.find(number)
            if revision is None or entry.architecture not in revision.architectures or released.count(number) > 1:
                raise DocumentError(f"cannot read {name}: {entry.channel} for {entry.architecture} releases revision"
                                    f" {number}, which is not there for it, or there twice")
