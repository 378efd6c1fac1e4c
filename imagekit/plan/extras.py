"""Packages beside the model: what may be added to an image of grade dangerous, and what is never added.

A model of any other grade says all that its devices run, and the brand has signed that. An extra package is an app or
a base, or core or snapd; kernel and gadget are the model's alone. Its snap-id is that of the snap-declaration with its
name, if one is at hand; without one nobody has signed it. Source: `seed/seedwriter` of snapd, and `--snap` of
ubuntu-image.
"""

from __future__ import annotations

from imagekit.assertions import Database, Grade, Model, ModelSnap, Presence, SnapType
from imagekit.errors import PlanError, TrustError

CHANNEL = "latest/stable"  # as snapd has it where nobody says another
NEVER = (SnapType.KERNEL, SnapType.GADGET)


def extra_snap(name: str, kind: SnapType, model: Model, database: Database) -> ModelSnap:
    """A package that the model does not name, in the form of those that it does.

    Raises:
        TrustError: two snaps are declared with that name.
    """
    ids = sorted({item.text("snap-id") for item in database.all("snap-declaration")
                  if item.text("series") == model.series and item.text("snap-name") == name})
    if len(ids) > 1:
        raise TrustError(f"cannot add package {name!r}: {len(ids)} snaps are declared with that name",
                         hint="keep the assertions of one of them beside the packages", details=tuple(ids))
    return ModelSnap(name=name, snap_id=ids[0] if ids else None, type=kind, default_channel=CHANNEL,
                     presence=Presence.REQUIRED, modes=("run",))


def check_extras(model: Model, extras: tuple[ModelSnap, ...]) -> None:
    """Raises: TrustError, PlanError: the grade takes none, the model names one, or it is of a type that none may be."""
    named = {snap.name for snap in model.snaps}
    ids = {snap.snap_id: snap.name for snap in model.snaps if snap.snap_id is not None}
    for snap in extras:
        begin = f"cannot add package {snap.name!r} to model {model.model!r}"
        if model.grade is not Grade.DANGEROUS:
            raise TrustError(f"{begin}: its grade is {model.grade.value}, and only dangerous takes packages that the"
                             " model does not name", hint="name it in the model's snaps and sign that anew; for trials,"
                             " sign a model of grade dangerous")
        if snap.name in named:
            raise PlanError(f"{begin}: the model names it", hint="put its file into a folder of packages")
        if snap.snap_id in ids:
            raise PlanError(f"{begin}: its snap-id {snap.snap_id} is that of {ids[snap.snap_id]!r} in the model")
        if snap.type in NEVER:
            raise PlanError(f"{begin}: it is a {snap.type.value}, and an image has none but the model's",
                            hint=f"name it in the model in place of {_of(model, snap.type)}")


def _of(model: Model, kind: SnapType) -> str:
    return ", ".join(repr(snap.name) for snap in model.snaps if snap.type is kind) or f"the {kind.value}"
