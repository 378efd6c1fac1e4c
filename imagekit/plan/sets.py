"""Validation sets: which revisions of which snaps a model's account has found to work together, applied to an image.

A model names sets; a pinned one by its sequence, any other by its newest that is at hand. All of them are combined:
what one requires, another may not forbid, and two that require different revisions conflict. In an image both modes,
`enforce` and `prefer-enforce`, mean the same: every constraint holds. Components are not put into images, so that a
set that requires one of a snap in the image cannot be kept.

Sources: snapd's asserts/snapasserts/validation_sets.go, seed/seedwriter/writer.go (docs/reference/assertions.md,
"Validation sets").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions import (
    Chain,
    Database,
    Model,
    ModelSet,
    ModelSnap,
    SetPresence,
    SetSnap,
    ValidationSet,
    parse_validation_set,
)
from imagekit.errors import PlanError


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSet:
    """A set that the model names, as it is believed; `pinned`: the model states its sequence."""

    value: ValidationSet
    pinned: bool
    chain: Chain

    @property
    def name(self) -> str:
        """`ACCOUNT/NAME=SEQUENCE`."""
        return f"{self.value.key}={self.value.sequence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRule:
    """What the sets together demand of one snap; `revision` is None where any will do. `sets` are their names."""

    name: str
    snap_id: str
    presence: SetPresence
    revision: int | None
    components: tuple[str, ...]  # that are required
    sets: tuple[str, ...]

    @property
    def by(self) -> str:
        return f"validation set {', '.join(self.sets)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRules:
    """The demands of all sets, by snap-id."""

    rules: Mapping[str, SetRule]

    def of(self, snap: ModelSnap) -> SetRule | None:
        """The rule for a snap of the model; by its name where it has no id."""
        if snap.snap_id is not None:
            return self.rules.get(snap.snap_id)
        return next((rule for rule in self.rules.values() if rule.name == snap.name), None)


def find_sets(model: Model, database: Database, *, now: datetime) -> tuple[ResolvedSet, ...]:
    """The sets that the model names, believed.

    Raises:
        PlanError: one is not at hand.
        TrustError, DocumentError: one is not believed.
    """
    return tuple(_find(model, wanted, database, now) for wanted in model.validation_sets)


def _find(model: Model, wanted: ModelSet, database: Database, now: datetime) -> ResolvedSet:
    sequence = wanted.sequence if wanted.sequence is not None else _newest(wanted, model, database)
    chain = None if sequence is None else database.believed(
        "validation-set", model.series, wanted.account_id, wanted.name, str(sequence), now=now)
    if chain is None:
        which = wanted.key if wanted.sequence is None else f"{wanted.key}={wanted.sequence}"
        raise PlanError(f"cannot resolve model {model.model!r}: it names the validation set {which}, which is not at"
                        " hand", hint="put its file NAME.validation-set beside the packages or the model")
    return ResolvedSet(value=parse_validation_set(chain.links[-1].assertion), pinned=wanted.sequence is not None,
                       chain=chain)


def _newest(wanted: ModelSet, model: Model, database: Database) -> int | None:
    """The highest sequence at hand, believed or not: an older one is never taken because a newer is not believed."""
    key = (model.series, wanted.account_id, wanted.name)
    return max((int(item.primary_key[3]) for item in database.all("validation-set")
                if item.primary_key[:3] == key and item.primary_key[3].isdecimal()), default=None)


def combine(sets: Iterable[ResolvedSet]) -> SetRules:
    """What the sets demand together. Raises: PlanError: they conflict; all conflicts are told."""
    demands: dict[str, list[tuple[str, SetSnap]]] = {}
    for item in sets:
        for snap in item.value.snaps:
            demands.setdefault(snap.snap_id, []).append((item.name, snap))
    rules = {snap_id: _combined(snap_id, found) for snap_id, found in demands.items()}
    conflicts = [_conflict(demands[snap_id]) for snap_id, rule in rules.items() if rule is None]
    if conflicts:
        raise PlanError("cannot resolve: the validation sets of the model are in conflict"
                        + (f": {conflicts[0]}" if len(conflicts) == 1 else ""),
                        details=tuple(conflicts) if len(conflicts) > 1 else (),
                        hint="name sets, or sequences of them, that agree")
    return SetRules(rules={snap_id: rule for snap_id, rule in rules.items() if rule is not None})


def _combined(snap_id: str, found: list[tuple[str, SetSnap]]) -> SetRule | None:
    """The rule for one snap, None if the sets disagree. Optional at two revisions forbids it."""
    revisions = {snap.revision for _, snap in found if snap.revision is not None}
    required = any(snap.presence is SetPresence.REQUIRED for _, snap in found)
    forbidden = any(snap.presence is SetPresence.INVALID for _, snap in found) or len(revisions) > 1
    if required and forbidden:
        return None
    presence = (SetPresence.REQUIRED if required else SetPresence.INVALID if forbidden else SetPresence.OPTIONAL)
    return SetRule(
        name=found[0][1].name, snap_id=snap_id, presence=presence,
        revision=min(revisions) if revisions and not forbidden else None,
        components=tuple(sorted({item.name for _, snap in found for item in snap.components
                                 if item.presence is SetPresence.REQUIRED})),
        sets=tuple(name for name, _ in found))


def _conflict(found: list[tuple[str, SetSnap]]) -> str:
    words = [f"{name} has it {snap.presence.value}{f' at revision {snap.revision}' if snap.revision else ''}"
             for name, snap in found]
    return f"snap {found[0][1].name!r}: {', '.join(words)}"


def violations(model: Model, rules: SetRules, *, extras: tuple[ModelSnap, ...] = ()) -> tuple[str, ...]:
    """What cannot hold whatever packages there are: a snap that an image must have and may not, or the reverse."""
    named = {snap.snap_id or snap.name for snap in (*model.snaps, *extras)}
    found = []
    for snap in model.snaps:
        rule = rules.of(snap)
        if rule is not None and rule.presence is SetPresence.INVALID and snap.presence.value == "required":
            found.append(f"{snap.name}: the model requires it, {rule.by} forbids it")
    found += [f"{snap.name}: it is asked for beside the model, {rule.by} forbids it" for snap in extras
              if (rule := rules.of(snap)) is not None and rule.presence is SetPresence.INVALID]
    found += [f"{rule.name}: {rule.by} requires it, the model does not name it" for rule in rules.rules.values()
              if rule.presence is SetPresence.REQUIRED and not named & {rule.snap_id, rule.name}]
    return tuple(found)


def broken(model: Model, rules: SetRules, there: Iterable[tuple[str, int]]) -> tuple[tuple[str, str], ...]:
    """What packages that are there, by name and revision, break: the package, and what of the sets it breaks."""
    by_name = {rule.name: rule for rule in rules.rules.values()}
    by_name |= {snap.name: rule for snap in model.snaps if (rule := rules.of(snap)) is not None}
    packages, found = tuple(there), []
    for name, revision in packages:
        rule = by_name.get(name)
        if rule is not None and rule.presence is SetPresence.INVALID:
            found.append((f"{name} revision {revision}", f"{rule.by} forbids it"))
        elif rule is not None and rule.revision not in (None, revision):
            found.append((f"{name} revision {revision}", f"{rule.by} pins revision {rule.revision}"))
    found += [(name, f"{rule.by} requires it, and it is not there") for name, rule in by_name.items()
              if rule.presence is SetPresence.REQUIRED and name not in {item for item, _ in packages}]
    return tuple(found)
