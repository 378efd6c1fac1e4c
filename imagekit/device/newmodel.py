"""A newer revision of this device's own model: judged, kept, and gone by from then on.

Decides whether a model that a store has, or that lies beside packages, takes the place of the one that counts. Its
signature leads to the seed's roots as every other does; `imagekit.plan.model_update` says what it may change; what it
demands of validation sets must be at hand. It is kept whole or not at all, and its revision is remembered with the
other floors, so that neither a store nor a stick brings an older one back. It governs what comes: what runs, and the
slot to go back to, stay what they are (docs/decisions/0013-a-newer-model-for-a-device.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imagekit.assertions import Assertion, Chain, Model, Presence, SetPresence, allowed, encode_stream, parse_model
from imagekit.device import history as past
from imagekit.device.anchors import Anchors
from imagekit.device.history import Change, History, ModelFloor, edit_history, load_history
from imagekit.device.machine import Machine
from imagekit.errors import DocumentError, PlanError, TargetError, TrustError
from imagekit.plan.model_update import changed_headers, check_change, is_of, name_of
from imagekit.plan.resolve import model_digest
from imagekit.plan.sets import SetRules, combine, find_sets, violations

if TYPE_CHECKING:
    from imagekit.device.install import Known

WHAT = "model"  # of a change


@dataclass(frozen=True, slots=True, kw_only=True)
class NewModel:
    """What came of the models that were offered.

    `model` is the one to go by from now on, None: what counts stays; `proof` is kept with it: what proves it, and the
    validation sets that it names. `refused` is why this device does not go by a newer one, `notes` what else there is
    to tell.
    """

    model: Model | None = None
    proof: tuple[Assertion, ...] = ()
    before: int = 0  # the revision that counted
    changed: tuple[str, ...] = ()
    refused: str = ""
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """For people; empty where there is none."""
        if self.model is None:
            return ""
        return (f"model revision {self.model.revision} takes the place of {self.before}"
                f" ({', '.join(self.changed) or 'it says the same'})")

    def as_json(self) -> dict[str, Any] | None:
        """As `refresh` and `install` have it (docs/reference/updates.md)."""
        return None if self.model is None else {"revision": self.model.revision, "before": self.before,
                                                "changed": list(self.changed)}


def meet(machine: Machine, known: Known, assertions: tuple[Assertion, ...], *, write: bool, waits: str = ""
         ) -> tuple[Known, NewModel]:
    """Judge the models among what was offered, and keep one that is to be taken, with `write`; the device by then.

    Raises:
        TrustError: a newer one is not believed, or the device would go by one older than it has taken.
        TargetError: it cannot be kept.
    """
    found = judge(known, assertions, waits=waits)
    if write:
        _keep(machine, known, found)
        known = replace(known, history=load_history(machine))
    if found.model is not None:
        known = replace(known, anchors=replace(known.anchors, model=found.model))
    check_floor(known.anchors, known.history)
    return known, found


def newest(known: Known, assertions: Iterable[Assertion]) -> tuple[Model, Chain] | None:
    """Of the models among what was offered the newest revision of this device's, believed, if it is above what counts.

    Raises: TrustError, DocumentError: nobody believed signed it, or it is none.
    """
    anchors = known.anchors
    ours = [item for item in assertions if is_of(item, anchors.model) and item.revision > anchors.model.revision]
    if not ours:
        return None
    found = max(ours, key=lambda item: item.revision)
    chain = anchors.database.verify(found, now=known.now)
    return parse_model(found), chain


def judge(known: Known, assertions: tuple[Assertion, ...], *, waits: str = "") -> NewModel:
    """What becomes of the models among what was offered. With `waits`, a reason, one that may be taken is put off.

    Raises: as `newest`; TrustError: a validation set that it names is not believed.
    """
    anchors, floor = known.anchors, known.history.model
    anchors.add(tuple(item for item in assertions if item.type != "store"))  # that is learnt elsewhere
    told = dict.fromkeys(_left_out(item, anchors.model) for item in assertions if item.type == "model")
    kept = NewModel(before=anchors.model.revision, notes=tuple(filter(None, told)))
    found = newest(known, assertions)
    if found is None:
        return replace(kept, refused=next((_twin(item) for item in assertions if _is_twin(item, anchors.model)), ""))
    model, chain = found
    try:
        _check_floor_of(model, floor)
        check_change(anchors.model, model)
        sets = _followed_sets(anchors, model, known.now)
    except (PlanError, DocumentError) as error:
        refused = "; ".join((error.message, *error.details))
        return replace(kept, refused=refused, notes=(*kept.notes, refused))
    if waits and not _is_below(anchors.model, floor):
        return replace(kept, notes=(*kept.notes, f"revision {model.revision} of the model waits: {waits}"))
    proof = tuple({item.content: item for link in (chain, *sets) for item in link.assertions}.values())
    return replace(kept, model=model, proof=proof, changed=changed_headers(anchors.model, model))


def _left_out(item: Assertion, model: Model) -> str:
    """Why a model is not looked at; empty: it is this device's, newer or the same."""
    if not is_of(item, model):
        return f"a model is left out: it is {'/'.join(item.primary_key[1:])}, this device is {name_of(model)}"
    if item.revision < model.revision:
        return f"revision {item.revision} of the model is left out: this device goes by revision {model.revision}"
    return _twin(item) if _is_twin(item, model) else ""


def _is_twin(item: Assertion, model: Model) -> bool:
    return is_of(item, model) and item.revision == model.revision and item.content != model.assertion.content


def _twin(item: Assertion) -> str:
    return f"revision {item.revision} of the model is left out: this device goes by another one of that number"


def _check_floor_of(model: Model, floor: ModelFloor | None) -> None:
    """Raises: PlanError: a newer one was taken here, or another one of that revision."""
    if floor is None or model.revision > floor.revision:
        return
    name = f"cannot take revision {model.revision} of model {name_of(model)}: "
    if model.revision < floor.revision:
        raise PlanError(f"{name}revision {floor.revision} was taken here")
    if model_digest(model) != floor.sha3_384:
        raise PlanError(f"{name}another one of that number was taken here")


def _followed_sets(anchors: Anchors, model: Model, now: datetime) -> tuple[Chain, ...]:
    """The proofs of the validation sets that a model names.

    Raises:
        PlanError: one is not at hand, or this device has, or lacks, what such a model does not allow.
        TrustError: one is not believed.
    """
    sets = find_sets(model, anchors.database, now=now)
    rules = combine(sets)
    broken = [*violations(model, rules), *_never_there(anchors, model, rules)]
    if not allowed(model.grade).unasserted_snaps:
        broken += [f"grade {model.grade} takes no package that nobody signed, and {name} {number} of the seed is one"
                   for (name, number), file in sorted(anchors.packages.items()) if file.measured is not None]
    if broken:
        raise PlanError(f"cannot take revision {model.revision} of model {name_of(model)}: {broken[0]}",
                        details=tuple(broken[1:]))
    return tuple(item.chain for item in sets)


def _never_there(anchors: Anchors, model: Model, rules: SetRules) -> Iterator[str]:
    """What the sets require and this device never gets, so that no update could be resolved: components, and packages
    beside base, kernel and gadget that its seed has not.
    """
    updated = {model.base_snap.name, model.kernel.name, model.gadget.name}
    for snap in model.snaps:
        rule = rules.of(snap)
        if rule is None or rule.presence is SetPresence.INVALID:
            continue
        there = snap.name in updated or any(name == snap.name and rule.revision in (None, number)
                                            for name, number in anchors.packages)
        if there and rule.components:
            yield f"{snap.name}: {rule.by} requires its component {rule.components[0]}, and a device has none"
        elif not there and (snap.presence is Presence.REQUIRED or rule.presence is SetPresence.REQUIRED):
            wanted = "it" if rule.revision is None else f"its revision {rule.revision}"
            yield f"{snap.name}: {rule.by} requires {wanted}, and this device has none"


def _keep(machine: Machine, known: Known, found: NewModel) -> None:
    """The model first, by which the device goes from that moment on, then its floor, which a full disk may forget."""
    if found.model is not None:
        past.save(machine, past.MODEL, encode_stream(found.proof))
    model = found.model or known.anchors.model
    change = _change(known, found)

    def told(memory: History) -> History:
        if _is_forgotten(known.anchors, model, memory):
            memory = replace(memory, model=ModelFloor(revision=model.revision, sha3_384=model_digest(model)))
        if change is None or (found.refused and found.refused in {item.reason for item in memory.changes}):
            return memory  # of one that is offered again and again it is told once
        return memory.with_change(change)

    if told(known.history) != known.history:
        with suppress(TargetError):
            edit_history(machine, told)


def _change(known: Known, found: NewModel) -> Change | None:
    time = known.now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if found.refused:
        return Change(time=time, what=WHAT, packages=(), outcome="refused", reason=found.refused)
    return Change(time=time, what=WHAT, packages=(), outcome="taken", reason=found.text) if found.model else None


def is_settled(known: Known, found: NewModel) -> bool:
    """Whether there is nothing to keep, to tell, or to make up for."""
    return found.model is None and not found.refused and not _is_forgotten(
        known.anchors, known.anchors.model, known.history)


def _is_forgotten(anchors: Anchors, model: Model, memory: History) -> bool:
    """Whether the device goes by a model, or is about to, that is no floor yet."""
    return model is not anchors.seed_model and (memory.model is None or model.revision > memory.model.revision)


def _is_below(model: Model, floor: ModelFloor | None) -> bool:
    return floor is not None and model.revision < floor.revision


def check_floor(anchors: Anchors, memory: History) -> None:
    """Raises: TrustError: the model that was taken here is lost, and by an older one nothing is installed."""
    floor = memory.model
    if floor is not None and _is_below(anchors.model, floor):
        raise TrustError(f"cannot update this device: it went by revision {floor.revision} of model"
                         f" {name_of(anchors.model)}, which is lost here, and nothing is installed by revision"
                         f" {anchors.model.revision}",
                         hint="offer that model, or a newer one, again: on a stick, or in the store")


def model_json(anchors: Anchors, memory: History) -> dict[str, Any]:
    """As `status` and `model` have it (docs/reference/updates.md)."""
    lost = memory.model.revision if memory.model is not None and _is_below(anchors.model, memory.model) else None
    return {"brand": anchors.model.brand_id, "model": anchors.model.model, "revision": anchors.model.revision,
            "seed_revision": anchors.seed_model.revision, "lost": lost}


def model_text(told: dict[str, Any]) -> str:
    """The same for people."""
    seed = f" (the seed has {told['seed_revision']})" if told["seed_revision"] != told["revision"] else ""
    lost = f"; revision {told['lost']} was taken here and is lost: no updates" if told["lost"] is not None else ""
    return f"{told['brand']}/{told['model']}, revision {told['revision']}{seed}{lost}"
