"""Validation sets and preseeds: which revisions of which snaps go together.

Sources: snapd's asserts/validation_set.go and preseed.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from imagekit.assertions.fields import DIGEST, MODEL_NAME, SET_NAME, SNAP_ID, SNAP_NAME, Fields, Form, check_type
from imagekit.assertions.headers import Header, shown
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion

SYSTEM_LABEL = Form(re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z"), "a system's label: a-z, 0-9 and single inner hyphens",
                    AssertionRules.PRESEED_LABEL)


class SetPresence(StrEnum):
    """What a validation set demands of a snap or component; `invalid` forbids it."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetComponent:
    """A component of a snap in a validation set. `revision` is None where any will do."""

    name: str
    presence: SetPresence
    revision: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSnap:
    """A snap in a validation set. `revision` is None where any will do."""

    name: str
    snap_id: str
    presence: SetPresence
    revision: int | None
    components: tuple[SetComponent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSet:
    """Snaps that an account has found to work together; `sequence` counts its versions from 1."""

    series: str
    account_id: str
    name: str
    sequence: int
    snaps: tuple[SetSnap, ...]
    timestamp: datetime
    assertion: Assertion

    @property
    def key(self) -> str:
        """`ACCOUNT/NAME`, whatever the sequence."""
        return f"{self.account_id}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreseedSnap:
    """A snap in a preseeded system; without id and revision it is unasserted."""

    name: str
    snap_id: str | None
    revision: int | None
    components: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preseed:
    """The digest of a prepared first boot of one seeded system, with the snaps in it."""

    series: str
    brand_id: str
    model: str
    system_label: str
    artifact_sha3_384: str
    snaps: tuple[PreseedSnap, ...]
    timestamp: datetime
    assertion: Assertion


def parse_validation_set(assertion: Assertion) -> ValidationSet:
    fields = check_type(assertion, "validation-set")
    account_id = fields.text("account-id")
    if assertion.authority_id != account_id:
        fields.problem(f"{shown(assertion.authority_id)} is not {account_id!r}, the account that the set belongs to and"
                       " that alone signs it", "authority-id", rule=AssertionRules.SET_AUTHORITY)
    fields.require("snaps", "a list of snaps")
    entries = fields.maps("snaps")
    fields.once(entries, "name")
    fields.once(entries, "id")
    found = ValidationSet(
        series=fields.text("series"), account_id=account_id, name=fields.text("name", form=SET_NAME),
        sequence=fields.number("sequence", least=1), snaps=tuple(map(_set_snap, entries)),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return found


def _set_snap(entry: Fields) -> SetSnap:
    presence = entry.choice("presence", SetPresence, default=SetPresence.REQUIRED, rule=AssertionRules.PRESENCE)
    revision = entry.number("revision", least=1) if "revision" in entry else None
    if revision is not None and presence == SetPresence.INVALID:
        entry.problem(f"{revision} of a snap that must not be there, expected none", "revision",
                      rule=AssertionRules.SET_REVISION)
    components = entry.map("components")
    return SetSnap(
        name=entry.text("name", form=SNAP_NAME), snap_id=entry.text("id", form=SNAP_ID), presence=presence,
        revision=revision,
        components=tuple(_set_component(components, name, revision) for name in components.headers)
        if components else ())


def _set_component(components: Fields, name: str, snap_revision: int | None) -> SetComponent:
    check_component_name(components, name)
    fields = components.inner(as_map(components, name), name)
    presence = SetPresence.REQUIRED
    if "presence" in fields:
        presence = fields.choice("presence", SetPresence, default=presence, rule=AssertionRules.PRESENCE)
    else:
        fields.require("presence", "required, optional or invalid")
    revision = fields.number("revision", least=1) if "revision" in fields else None
    if presence == SetPresence.INVALID and revision is not None:
        wrong = f"{revision} of a component that must not be there, expected none"
    elif snap_revision is None and revision is not None:
        wrong = f"{revision} of a component whose snap has no revision, expected none"
    elif snap_revision is not None and revision is None and presence != SetPresence.INVALID:
        wrong = "missing, expected one since the snap has one"
    else:
        return SetComponent(name=name, presence=presence, revision=revision)
    fields.problem(wrong, "revision", rule=AssertionRules.SET_REVISION)
    return SetComponent(name=name, presence=presence, revision=None)


def check_component_name(components: Fields, name: str) -> None:
    if not SNAP_NAME.match(name):
        components.problem(f"{shown(name)} is not the name of a component: as {SNAP_NAME.what}", name,
                           rule=AssertionRules.SNAP_NAME)


def as_map(components: Fields, name: str) -> Mapping[str, Header]:
    """The component `name`, whose presence may stand alone."""
    value = components.headers[name]
    if isinstance(value, str):
        return MappingProxyType({"presence": value})
    if isinstance(value, Mapping):
        return value
    components.problem(f"{shown(value)} is not a map or a presence", name, rule=AssertionRules.MAP)
    return MappingProxyType({"presence": "required"})


def parse_preseed(assertion: Assertion) -> Preseed:
    fields = check_type(assertion, "preseed")
    fields.require("snaps", "a list of snaps")
    entries = fields.maps("snaps")
    fields.once(entries, "name")
    fields.once(entries, "id")
    preseed = Preseed(
        series=fields.text("series"), brand_id=fields.text("brand-id"), model=fields.text("model", form=MODEL_NAME),
        system_label=fields.text("system-label", form=SYSTEM_LABEL),
        artifact_sha3_384=fields.text("artifact-sha3-384", form=DIGEST), snaps=tuple(map(_preseed_snap, entries)),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return preseed


def _preseed_snap(entry: Fields) -> PreseedSnap:
    identity = entry.text("id", form=SNAP_ID) if "id" in entry else None
    revision = entry.number("revision", least=1) if "revision" in entry else None
    if (identity is None) != (revision is None):
        there, lacking = ("revision", "id") if identity is None else ("id", "revision")
        entry.problem(f"missing, expected one since there is {'an' if there == 'id' else 'a'} {there}", lacking,
                      rule=AssertionRules.PRESEED_SNAP)
    parts = entry.maps("components")
    entry.once(parts, "name")
    components = []
    for part in parts:
        number = part.number("revision", least=1) if "revision" in part else None
        if (number is None) != (revision is None):
            part.problem("does not go with its snap: both have a revision, or neither", "revision",
                         rule=AssertionRules.PRESEED_SNAP)
        components.append((part.text("name", form=SNAP_NAME), number))
    return PreseedSnap(name=entry.text("name", form=SNAP_NAME), snap_id=identity, revision=revision,
                       components=tuple(components))
