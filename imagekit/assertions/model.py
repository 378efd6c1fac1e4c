"""The model: a brand's recipe of a device.

Both generations are read: the list `snaps` with grades, and the older headers `gadget`, `kernel` and `required-snaps`.
Reading allows what building an image cannot keep; `unbuildable` names it, so that nothing is promised and left out.
Source: snapd's model assertion (docs/reference/assertions.md, "Model").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from imagekit.assertions.fields import ACCOUNT_ID, SNAP_ID, SNAP_NAME, Fields
from imagekit.assertions.headers import Header
from imagekit.assertions.types import SERIES
from imagekit.assertions.wire import Assertion
from imagekit.errors import DocumentError

RESERVED = ("core", "os", "class", "allowed-modes")
WELL_KNOWN_BASES: Mapping[str, str] = MappingProxyType({
    "core": "99T7MUlRhtI3U0QFgl5mXXESAiSwt776",
    "core18": "CSO04Jhav2yK0uz97cr0ipQRyqg0qQL6",
    "core20": "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q",
    "core22": "amcUKQILKXHHTlmSa7NMdnXSx02dNeeT",
    "core24": "dwTAh7MZZ01zyriOZErqd1JynQLiOGvM",
})
RISKS = ("stable", "candidate", "beta", "edge")
ESSENTIAL_MODES = ("run", "ephemeral")

_MODEL = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_MODE = re.compile(r"[a-z][a-z-]*\Z")
_TRACK = re.compile(r"[a-zA-Z0-9](?:[-.]?[a-zA-Z0-9])*\Z")
_DISTRIBUTION = re.compile(r"[a-z0-9._-]+\Z")
_NAME = "a snap name: 2 to 40 of a-z, 0-9 and single inner hyphens, with a letter"


class Grade(StrEnum):
    """How much of a device's software must be signed. Models without a list of snaps have none."""

    UNSET = "unset"
    DANGEROUS = "dangerous"
    SIGNED = "signed"
    SECURED = "secured"


class StorageSafety(StrEnum):
    ENCRYPTED = "encrypted"
    PREFER_ENCRYPTED = "prefer-encrypted"
    PREFER_UNENCRYPTED = "prefer-unencrypted"


class SnapType(StrEnum):
    APP = "app"
    BASE = "base"
    GADGET = "gadget"
    KERNEL = "kernel"
    CORE = "core"
    SNAPD = "snapd"


class Presence(StrEnum):
    REQUIRED = "required"
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnap:
    """A package that a model names. `snap_id` is None where the model may leave it out and does."""

    name: str
    snap_id: str | None
    type: SnapType
    default_channel: str
    presence: Presence
    modes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`revision` is the assertion's; `snaps` are in the model's order."""

    series: str
    brand_id: str
    model: str
    architecture: str
    base: str
    classic: bool
    grade: Grade
    revision: int
    timestamp: datetime
    snaps: tuple[ModelSnap, ...]
    assertion: Assertion

    @property
    def kernel(self) -> ModelSnap:
        """Raises: DocumentError: the model names none."""
        return self._only(SnapType.KERNEL)

    @property
    def gadget(self) -> ModelSnap:
        """Raises: DocumentError: the model names none."""
        return self._only(SnapType.GADGET)

    @property
    def base_snap(self) -> ModelSnap:
        """The base that the device boots, in the list or by the header `base`."""
        named = [snap for snap in self.snaps if snap.name == self.base]
        return named[0] if named else ModelSnap(
            name=self.base, snap_id=WELL_KNOWN_BASES.get(self.base), type=SnapType.BASE,
            default_channel="latest/stable", presence=Presence.REQUIRED, modes=ESSENTIAL_MODES)

    def _only(self, kind: SnapType) -> ModelSnap:
        found = [snap for snap in self.snaps if snap.type == kind]
        if not found:
            raise DocumentError(f"cannot use {self.assertion.label}: it names no {kind}")
        return found[0]


def parse_model(assertion: Assertion) -> Model:
    """Raises: HeaderProblems: with everything that breaks the rules of models."""
    if assertion.type != "model":
        raise DocumentError(f"cannot use {assertion.label}: expected model")
    fields = Fields(assertion.headers)
    model = read_model(fields, assertion)
    fields.finish(assertion.label)
    return model


def unbuildable(model: Model) -> tuple[str, ...]:
    """What a model demands of an image that none of ours would have, for people."""
    headers = model.assertion.headers
    found = [f"{name}: a reserved header" for name in RESERVED if name in headers]
    if model.classic:
        found.append("classic: not a device that boots its base")
    if model.grade == Grade.SECURED:
        found.append("grade: 'secured' demands encrypted storage, which is not made yet")
    elif headers.get("storage-safety") == StorageSafety.ENCRYPTED:
        found.append("storage-safety: storage is not encrypted yet")
    for index, entry in enumerate(_maps(headers.get("validation-sets"))):
        if entry.get("mode") == "enforce":
            found.append(f"validation-sets[{index}].mode: 'enforce' is not kept yet")
    for index, entry in enumerate(_maps(headers.get("snaps"))):
        if "components" in entry:
            found.append(f"snaps[{index}].components: not put into images yet")
    return tuple(found)


def _maps(value: Header | None) -> tuple[Mapping[str, Header], ...]:
    return tuple(item for item in value if isinstance(item, Mapping)) if isinstance(value, tuple) else ()


def read_model(fields: Fields, assertion: Assertion) -> Model:
    """As `parse_model`, the problems left in `fields`."""
    headers = fields.headers
    extended, classic = "snaps" in headers, fields.flag("classic")
    brand = fields.text("brand-id", pattern=ACCOUNT_ID, what="an account id")
    if headers.get("series") != SERIES:
        fields.problem(f"{headers.get('series')!r} is not {SERIES!r}, the only series", "series")
    if headers.get("authority-id") != brand:
        fields.problem(f"{headers.get('authority-id')!r} is not the brand {brand!r}, which alone signs its models",
                       "authority-id")
    name = fields.text("model", pattern=_MODEL, what="a model name: a-z, 0-9 and single inner hyphens")
    needs_base = extended
    base = fields.text("base", default=None if needs_base else "core", pattern=SNAP_NAME, what=_NAME)
    architecture = fields.text("architecture", default="" if classic and not extended else None)
    grade = _read_grade(fields, extended)
    _check_authorities(fields)
    _check_validation_sets(fields, brand)
    _check_distribution(fields, classic and extended)
    snaps = _read_snaps(fields, base, grade, classic) if extended else _read_older(fields, classic)
    return Model(series=SERIES, brand_id=brand, model=name, architecture=architecture, base=base, classic=classic,
                 grade=grade, revision=assertion.revision, timestamp=fields.time("timestamp"), snaps=snaps,
                 assertion=assertion)


def _read_grade(fields: Fields, extended: bool) -> Grade:
    if not extended:
        for name in ("grade", "storage-safety"):
            if name in fields.headers:
                fields.problem("needs the header 'snaps'", name)
        return Grade.UNSET
    grade = fields.choice("grade", Grade, default=Grade.SIGNED)
    if grade == Grade.UNSET:
        fields.problem("'unset' is not one of dangerous, signed, secured", "grade")
    normal = StorageSafety.ENCRYPTED if grade == Grade.SECURED else StorageSafety.PREFER_ENCRYPTED
    safety = fields.choice("storage-safety", StorageSafety, default=normal)
    if grade == Grade.SECURED and safety != StorageSafety.ENCRYPTED:
        fields.problem(f"{safety.value!r} does not go with grade secured, only 'encrypted' does", "storage-safety")
    return grade


def _read_snaps(fields: Fields, base: str, grade: Grade, classic: bool) -> tuple[ModelSnap, ...]:
    for name in ("gadget", "kernel", "required-snaps"):
        if name in fields.headers:
            fields.problem("does not go with the header 'snaps', which names them all", name)
    entries = fields.maps("snaps")
    snaps = tuple(_read_snap(entry, base, grade, classic) for entry in entries)
    for seen in ("name", "snap_id"):
        taken: set[str] = set()
        for entry, snap in zip(entries, snaps, strict=True):
            value = getattr(snap, seen)
            if value and value in taken:
                entry.problem(f"{value!r} is named twice", "name" if seen == "name" else "id")
            taken.add(value)
    counts = {kind: sum(snap.type == kind for snap in snaps) for kind in SnapType}
    for kind in (SnapType.SNAPD, SnapType.KERNEL, SnapType.GADGET):
        if counts[kind] > 1:
            fields.problem(f"{counts[kind]} of type {kind}, at most one is allowed", "snaps")
        if kind != SnapType.SNAPD and not classic and not counts[kind]:
            fields.problem(f"one entry must be of type {kind}", "snaps")
    if classic and counts[SnapType.KERNEL] and not counts[SnapType.GADGET]:
        fields.problem("a kernel needs a gadget", "snaps")
    if base and base not in {snap.name for snap in snaps} | set(WELL_KNOWN_BASES) and grade != Grade.DANGEROUS:
        fields.problem(f"one entry must be the base {base!r}", "snaps")
    return snaps


def _read_snap(entry: Fields, base: str, grade: Grade, classic: bool) -> ModelSnap:
    name = entry.text("name", pattern=SNAP_NAME, what=_NAME)
    kind = entry.choice("type", SnapType, default=SnapType.APP)
    if name and name == base and kind not in (SnapType.BASE, SnapType.CORE if base == "core" else SnapType.BASE):
        entry.problem(f"{kind.value!r} is not 'base', but {name!r} is the model's base", "type")
    essential = kind in (SnapType.SNAPD, SnapType.KERNEL, SnapType.GADGET) or name == base
    if essential:
        for header in ("modes", "presence"):
            if header in entry.headers:
                entry.problem(f"{name!r} is needed always and everywhere", header)
    identity = entry.text("id", default="" if grade == Grade.DANGEROUS else None, pattern=SNAP_ID,
                          what="a snap id: 32 letters and digits")
    channel = entry.text("default-channel", default="latest/stable")
    if reason := channel_problem(channel):
        entry.problem(reason, "default-channel")
    modes = entry.texts("modes", pattern=_MODE, what="a mode") or ("run",)
    if entry.flag("classic") and not (classic and kind == SnapType.APP and modes == ("run",)):
        entry.problem("only apps in run mode of a classic model may be", "classic")
    _check_components(entry, modes)
    return ModelSnap(name=name, snap_id=identity or None, type=kind, default_channel=channel,
                     presence=entry.choice("presence", Presence, default=Presence.REQUIRED),
                     modes=ESSENTIAL_MODES if essential else modes)


def channel_problem(channel: str) -> str | None:
    """What is wrong with TRACK, TRACK/RISK or TRACK/RISK/BRANCH, if anything is."""
    track, *rest = channel.split("/")
    if track in RISKS:
        return f"{channel!r} names no track, as in 'latest/{track}'"
    if not _TRACK.match(track) or len(rest) > 2 or (rest and rest[0] not in RISKS) or (len(rest) == 2 and not rest[1]):
        return f"{channel!r} is not a channel: TRACK/RISK with the risks {', '.join(RISKS)}"
    return None


def _check_components(entry: Fields, modes: tuple[str, ...]) -> None:
    value = entry.headers.get("components", MappingProxyType({}))
    if not isinstance(value, Mapping):
        entry.problem("must be a map", "components")
        return
    for name, component in value.items():
        inner = component if isinstance(component, Mapping) else {"presence": component}
        if inner.get("presence") not in list(Presence):
            entry.problem(f"{inner.get('presence')!r} is not required or optional", "components", name)
        wanted = inner.get("modes", ())
        if isinstance(wanted, (str, Mapping)) or not {*map(str, wanted)} <= {*modes}:
            entry.problem(f"{wanted!r} is not among the modes of the snap", "components", name, "modes")


def _read_older(fields: Fields, classic: bool) -> tuple[ModelSnap, ...]:
    """The snaps of a model without the header `snaps`: no ids, a track after an equals sign."""
    if classic:
        for name in ("kernel", "base"):
            if name in fields.headers:
                fields.problem("does not go with a classic model without 'snaps'", name)
    found = []
    for kind in (SnapType.GADGET, SnapType.KERNEL):
        text = fields.text(kind.value, default="" if classic else None)
        if text and kind.value in fields.headers:
            name, _, track = text.partition("=")
            if not SNAP_NAME.match(name) or ("=" in text and not _TRACK.match(track)):
                fields.problem(f"{text!r} is not {_NAME}, or that with =TRACK", kind.value)
            found.append(_plain_snap(name, kind, f"{track or 'latest'}/stable"))
    for name in fields.texts("required-snaps", pattern=SNAP_NAME, what=_NAME):
        found.append(_plain_snap(name, SnapType.APP, "latest/stable"))
    return tuple(found)


def _plain_snap(name: str, kind: SnapType, channel: str) -> ModelSnap:
    return ModelSnap(name=name, snap_id=None, type=kind, default_channel=channel, presence=Presence.REQUIRED,
                     modes=("run",))


def _check_authorities(fields: Fields) -> None:
    for name in ("serial-authority", "preseed-authority", "system-user-authority"):
        if name != "system-user-authority" or fields.headers.get(name) != "*":
            fields.texts(name, pattern=ACCOUNT_ID, what="an account id")


def _check_validation_sets(fields: Fields, brand: str) -> None:
    seen = set()
    for entry in fields.maps("validation-sets"):
        name = entry.text("name", pattern=_MODEL, what="the name of a validation set")
        identity = entry.text("account-id", default=brand, pattern=ACCOUNT_ID, what="an account id"), name
        if identity in seen:
            entry.problem(f"{'/'.join(identity)!r} is named twice", "name")
        seen.add(identity)
        if entry.text("mode") not in ("enforce", "prefer-enforce", ""):
            entry.problem(f"{entry.headers['mode']!r} is not enforce or prefer-enforce", "mode")
        if "sequence" in entry.headers:
            entry.number("sequence", least=1)


def _check_distribution(fields: Fields, wanted: bool) -> None:
    if wanted:
        fields.text("distribution", pattern=_DISTRIBUTION, what="the ID of an os-release file")
    elif "distribution" in fields.headers:
        fields.problem("goes only with a classic model that has 'snaps'", "distribution")
