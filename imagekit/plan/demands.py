"""What a model demands that no image of ours would have, told before anything is looked for.

Images are of one kind: a core device with two slots and a seed of UC20, not encrypted. Everything else a model can ask
for is refused here with its reason, never left out in silence; `Demands` also says what would have been built.
Sources: docs/reference/assertions.md, "Models" and "Grades".
"""

from __future__ import annotations

from dataclasses import dataclass

from imagekit.assertions import SERIES, Generation, Grade, Model, StorageSafety
from imagekit.assertions.model import RESERVED
from imagekit.errors import PlanError
from imagekit.plan.policy import HEADER, model_policy, model_policy_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What of a model is built and what is not, for people."""

    built: tuple[str, ...]
    not_built: tuple[str, ...]


def demands_of(model: Model) -> Demands:
    """Look at what the model asks for. Raises: DocumentError: its policy of updates is none."""
    headers = model.assertion.headers
    missing = [f"{name}: a reserved header" for name in RESERVED if name in headers]
    if model.series != SERIES:
        missing.append(f"series: {model.series!r} is not {SERIES!r}, the only one that images are made of")
    if model.hybrid:
        missing.append("classic: a hybrid system boots a classic root file system, images boot their base")
    elif model.classic:
        missing.append("classic: it has no kernel and no base of its own, so there is no disk to make")
    elif model.generation is Generation.UC16:
        missing.append("gadget, kernel, required-snaps: a model of UC16 or UC18 gives no ids and no grade; name the"
                       " packages in 'snaps', and images are made as for UC20")
    if model.grade is Grade.SECURED:
        missing.append("grade: 'secured' demands that every package is signed and listed, that the storage is encrypted"
                       " and that the boot is secured by the TPM; images are not encrypted yet")
    elif model.storage_safety is StorageSafety.ENCRYPTED:
        missing.append("storage-safety: 'encrypted' demands encrypted storage, which is not made yet")
    for index, snap in enumerate(model.snaps):
        if snap.components:
            missing.append(f"snaps[{index}].components: not put into images yet")
    named = ", ".join(f"{snap.type.value} {snap.name}" for snap in model.snaps)
    built = [f"snaps: {named}"] if named else []
    if model.validation_sets:
        built.append(f"validation-sets: {', '.join(item.key for item in model.validation_sets)}")
    if HEADER in headers:
        built.append(f"{HEADER}: {model_policy_text(model_policy(model))}")
    return Demands(built=tuple(built), not_built=tuple(missing))


def refuse_unbuildable(model: Model) -> None:
    """Raises: PlanError: the model demands what images do not have; all of it is told, and what would be built."""
    found = demands_of(model)
    if found.not_built:
        raise PlanError(f"cannot resolve model {model.model!r}: it demands what images do not have:"
                        f" {found.not_built[0]}",
                        details=(*(f"not built: {item}" for item in found.not_built[1:]),
                                 *(f"could be built: {item}" for item in found.built)))
