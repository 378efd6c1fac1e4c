"""Whether a newer revision of its own model may take the place of the one that a device goes by.

Decides what of a model may change under a device that nobody looks at. What says how it is updated may: policy,
channels, validation sets, who may sign what for it, packages that it can do without. What the device is may not: the
disk was laid out, and its slots were filled, for one architecture and one gadget, kernel and base, and nothing on a
running device makes another of them. What keeps it safe may not get weaker. Publishers are told the same before any
device is (docs/decisions/0013-a-newer-model-for-a-device.md).
"""

from __future__ import annotations

from collections.abc import Iterator

from imagekit.assertions import Model, ModelSnap, Presence
from imagekit.assertions.wire import Assertion
from imagekit.errors import PlanError
from imagekit.plan.demands import refuse_unbuildable

_OF_EVERY_REVISION = frozenset({"revision", "timestamp", "sign-key-sha3-384"})


def name_of(model: Model) -> str:
    """BRAND/MODEL."""
    return f"{model.brand_id}/{model.model}"


def is_of(assertion: Assertion, model: Model) -> bool:
    """Whether an assertion is this model, in whatever revision."""
    return assertion.type == "model" and assertion.primary_key == model.assertion.primary_key


def check_change(old: Model, new: Model) -> None:
    """`new` is a higher revision of `old`.

    Raises:
        PlanError: no device that goes by `old` may go by `new`; all reasons are told.
        DocumentError: its policy of updates is none.
    """
    refuse_unbuildable(new)
    if found := tuple(_refusals(old, new)):
        raise PlanError(f"cannot take revision {new.revision} of model {name_of(new)}: {found[0]}", details=found[1:],
                        hint="what cannot change on a device is another model: give it a name of its own")


def changed_headers(old: Model, new: Model) -> tuple[str, ...]:
    """The headers that say something else, or are gone, or new; without those that every revision changes."""
    before, after = old.assertion.headers, new.assertion.headers
    return tuple(sorted(name for name in before.keys() | after.keys()
                        if name not in _OF_EVERY_REVISION and before.get(name) != after.get(name)))


def _refusals(old: Model, new: Model) -> Iterator[str]:
    for what, before, after in (("architecture", old.architecture, new.architecture),
                                ("storage-safety", old.storage_safety, new.storage_safety),
                                ("store", old.store or "none", new.store or "none")):
        if before != after:
            yield f"{what}: it changes from {before} to {after}"
    if new.grade.code < old.grade.code:
        yield f"grade: it falls from {old.grade} to {new.grade}"
    for what, was, becomes in (("gadget", old.gadget, new.gadget), ("kernel", old.kernel, new.kernel),
                               ("base", old.base_snap, new.base_snap)):
        if _identity(was) != _identity(becomes):
            yield f"{what}: it changes from {_told(was)} to {_told(becomes)}"
    required = {_identity(snap) for snap in old.snaps if snap.presence is Presence.REQUIRED}
    fixed = {new.gadget.name, new.kernel.name, new.base_snap.name}
    for snap in new.snaps:
        if snap.presence is Presence.REQUIRED and snap.name not in fixed and _identity(snap) not in required:
            yield f"snaps: {snap.type} {snap.name} becomes required, and a running device is given no new package"


def _identity(snap: ModelSnap) -> tuple[str, str | None]:
    return snap.name, snap.snap_id


def _told(snap: ModelSnap) -> str:
    return f"{snap.name} ({snap.snap_id or 'without an id'})"
