"""Reading a model: headers in, a `Model` out, every problem told.

What the generations demand of each other's headers is decided here; what a model then means is in
`imagekit.assertions.model`. Source: snapd's asserts/model.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from imagekit.assertions.fields import ACCOUNT_ID, MODEL_NAME, SET_NAME, SNAP_ID, SNAP_NAME, Fields, Form, check_type
from imagekit.assertions.headers import shown
from imagekit.assertions.model import (
    ESSENTIAL_MODES,
    WELL_KNOWN_BASES,
    Enforcement,
    Grade,
    Model,
    ModelComponent,
    ModelSet,
    ModelSnap,
    Presence,
    SnapType,
    StorageSafety,
)
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.sets import as_map, check_component_name
from imagekit.assertions.wire import Assertion

RISKS = ("stable", "candidate", "beta", "edge")

_MODE = Form(re.compile(r"[a-z][a-z-]+\Z"), "a mode: a-z and hyphens, two at least", AssertionRules.MODEL_MODES)
_DISTRIBUTION = Form(re.compile(r"[a-z0-9._-]+\Z"), "the ID of an os-release file", AssertionRules.MODEL_DISTRIBUTION)
_SIGNER = Form(ACCOUNT_ID.pattern, ACCOUNT_ID.what, AssertionRules.MODEL_SIGNERS)
_ONE_EACH = (SnapType.SNAPD, SnapType.KERNEL, SnapType.GADGET)


def parse_model(assertion: Assertion) -> Model:
    """Raises: DocumentProblems: with everything that breaks the rules of models."""
    fields = check_type(assertion, "model")
    extended, classic = "snaps" in fields, fields.flag("classic")
    brand = fields.text("brand-id")
    if assertion.authority_id != brand:
        fields.problem(f"{shown(assertion.authority_id)} is not the brand {brand!r}, which alone signs its models",
                       "authority-id", rule=AssertionRules.MODEL_AUTHORITY)
    _check_generation(fields, extended, classic)
    demanded = extended or not classic
    base = fields.text("base", form=SNAP_NAME) if extended else _older_base(fields, classic)
    grade = _grade(fields, extended)
    model = Model(
        series=fields.text("series"), brand_id=brand, model=fields.text("model", form=MODEL_NAME),
        display_name=fields.optional("display-name"), base=base, classic=classic,
        architecture=fields.text("architecture") if demanded else fields.optional("architecture"),
        distribution=_distribution(fields, classic and extended), grade=grade,
        storage_safety=_storage_safety(fields, grade), store=fields.optional("store"), revision=assertion.revision,
        timestamp=fields.time("timestamp"),
        snaps=_snaps(fields, base, grade, classic) if extended else _older_snaps(fields, classic),
        validation_sets=_validation_sets(fields, brand),
        serial_authority=_signers(fields, "serial-authority", brand),
        preseed_authority=_signers(fields, "preseed-authority", brand),
        system_user_authority=None if fields.headers.get("system-user-authority") == "*"
        else _signers(fields, "system-user-authority", brand),
        assertion=assertion)
    fields.finish()
    return model


def channel_problem(channel: str) -> str | None:
    """What is wrong with TRACK, TRACK/RISK or TRACK/RISK/BRANCH, if anything is."""
    track, *rest = channel.split("/")
    if track in RISKS:
        return f"{shown(channel)} names no track, as in 'latest/{track}'"
    if not track or len(rest) > 2 or (rest and rest[0] not in RISKS) or (len(rest) == 2 and not rest[1]):
        return f"{shown(channel)} is not a channel: TRACK/RISK with the risks {', '.join(RISKS)}"
    return None


def _check_generation(fields: Fields, extended: bool, classic: bool) -> None:
    """Headers that do not go with each other."""
    reason = "does not go with the header 'snaps', which names them all" if extended else "needs the header 'snaps'"
    for name in ("gadget", "kernel", "required-snaps") if extended else ("grade", "storage-safety"):
        if name in fields:
            fields.problem(reason, name, rule=AssertionRules.MODEL_GENERATION)
    if classic and not extended:
        for name in ("kernel", "base"):
            if name in fields:
                fields.problem("does not go with a classic model without 'snaps'", name,
                               rule=AssertionRules.MODEL_GENERATION)


def _distribution(fields: Fields, wanted: bool) -> str:
    if wanted:
        return fields.text("distribution", form=_DISTRIBUTION)
    if "distribution" in fields:
        fields.problem("goes only with a classic model that has 'snaps'", "distribution",
                       rule=AssertionRules.MODEL_DISTRIBUTION)
    return ""


def _grade(fields: Fields, extended: bool) -> Grade:
    if not extended:
        return Grade.UNSET
    return fields.choice("grade", Grade, default=Grade.SIGNED, rule=AssertionRules.MODEL_GRADE)


def _storage_safety(fields: Fields, grade: Grade) -> StorageSafety:
    if grade == Grade.UNSET:
        return StorageSafety.UNSET
    normal = StorageSafety.ENCRYPTED if grade == Grade.SECURED else StorageSafety.PREFER_ENCRYPTED
    safety = fields.choice("storage-safety", StorageSafety, default=normal, rule=AssertionRules.MODEL_STORAGE)
    if grade == Grade.SECURED and safety != StorageSafety.ENCRYPTED:
        fields.problem(f"{safety.value!r} does not go with grade secured, only 'encrypted' does", "storage-safety",
                       rule=AssertionRules.MODEL_STORAGE)
    return safety


def _snaps(fields: Fields, base: str, grade: Grade, classic: bool) -> tuple[ModelSnap, ...]:
    entries = fields.maps("snaps")
    fields.once(entries, "name")
    fields.once(entries, "id")
    snaps = tuple(_snap(entry, base, grade, classic) for entry in entries)
    counts = {kind: sum(snap.type == kind for snap in snaps) for kind in _ONE_EACH}
    for kind, count in counts.items():
        if count > 1:
            fields.problem(f"{count} of type {kind}, at most one is allowed", "snaps",
                           rule=AssertionRules.MODEL_ONE_EACH)
    for kind in (SnapType.GADGET, SnapType.KERNEL):
        if not classic and not counts[kind]:
            fields.problem(f"none is of type {kind}, a core model needs one", "snaps", rule=AssertionRules.MODEL_NEEDS)
    if classic and counts[SnapType.KERNEL] and not counts[SnapType.GADGET]:
        fields.problem("a kernel and no gadget, a kernel needs one", "snaps", rule=AssertionRules.MODEL_NEEDS)
    if base and base not in {*WELL_KNOWN_BASES, *(snap.name for snap in snaps)} and grade != Grade.DANGEROUS:
        fields.problem(f"the base {base!r} is not among them, and not one that is well known", "snaps",
                       rule=AssertionRules.MODEL_BASE)
    return snaps


def _snap(entry: Fields, base: str, grade: Grade, classic: bool) -> ModelSnap:
    name = entry.text("name", form=SNAP_NAME)
    kind = entry.choice("type", SnapType, default=SnapType.APP, rule=AssertionRules.MODEL_SNAP_TYPE)
    if name and name == base and kind not in (SnapType.BASE, *_ONE_EACH):
        entry.problem(f"{kind.value!r} is not 'base', but {name!r} is the model's base", "type",
                      rule=AssertionRules.MODEL_SNAP_TYPE)
    if "id" not in entry and grade != Grade.DANGEROUS:
        entry.problem(f"missing, expected {SNAP_ID.what}; only grade dangerous does without", "id",
                      rule=AssertionRules.MODEL_SNAP_ID)
    channel = entry.optional("default-channel", default="latest/stable")
    if reason := channel_problem(channel):
        entry.problem(reason, "default-channel", rule=AssertionRules.MODEL_CHANNEL)
    presence = entry.choice("presence", Presence, default=Presence.REQUIRED, rule=AssertionRules.PRESENCE)
    modes = _modes(entry, name, essential=kind in _ONE_EACH or (bool(name) and name == base))
    if (wrapped := entry.flag("classic")) and not (classic and kind == SnapType.APP and modes == ("run",)):
        entry.problem("only an app in run mode of a classic model may be", "classic",
                      rule=AssertionRules.MODEL_CLASSIC_SNAP)
    return ModelSnap(name=name, snap_id=entry.text("id", form=SNAP_ID) or None if "id" in entry else None, type=kind,
                     default_channel=channel, presence=presence, modes=modes, classic=wrapped,
                     components=_components(entry, modes))


def _modes(entry: Fields, name: str, *, essential: bool) -> tuple[str, ...]:
    if not essential:
        return entry.texts("modes", form=_MODE) or ("run",)
    for header in ("modes", "presence"):
        if entry.headers.get(header):
            entry.problem(f"{name!r} is needed always and in every mode: leave this out", header,
                          rule=AssertionRules.MODEL_ESSENTIAL)
    return ESSENTIAL_MODES


def _components(entry: Fields, modes: tuple[str, ...]) -> tuple[ModelComponent, ...]:
    components = entry.map("components")
    return tuple(_component(components, name, modes) for name in components.headers) if components else ()


def _component(components: Fields, name: str, modes: tuple[str, ...]) -> ModelComponent:
    check_component_name(components, name)
    fields = components.inner(as_map(components, name), name)
    for header in fields.headers:
        if header not in ("presence", "modes"):
            fields.problem("there is no such key, only presence and modes", header, rule=AssertionRules.MODEL_COMPONENT)
    presence = Presence.REQUIRED
    if fields.headers.get("presence"):
        presence = fields.choice("presence", Presence, default=presence, rule=AssertionRules.PRESENCE)
    else:
        fields.problem("missing, expected required or optional", "presence", rule=AssertionRules.MODEL_COMPONENT)
    own = fields.texts("modes", form=_MODE)
    for index, mode in enumerate(own):
        if mode not in modes:
            fields.problem(f"{mode!r} is not among the modes of the snap, {', '.join(modes)}", "modes", index,
                           rule=AssertionRules.MODEL_COMPONENT)
    return ModelComponent(name=name, presence=presence, modes=own or modes)


def _older_base(fields: Fields, classic: bool) -> str:
    base = fields.optional("base")
    if base and not SNAP_NAME.match(base):
        fields.problem(f"{shown(base)} is not {SNAP_NAME.what}", "base", rule=SNAP_NAME.rule)
    return base or ("" if classic else "core")


def _older_snaps(fields: Fields, classic: bool) -> tuple[ModelSnap, ...]:
    """The snaps of a model without the header `snaps`: no ids, a track after an equals sign."""
    found = []
    for kind in (SnapType.GADGET, SnapType.KERNEL):
        if kind.value not in fields and classic:
            continue
        text = fields.text(kind.value)
        name, _, track = text.partition("=")
        if text and (not SNAP_NAME.match(name) or "/" in track or track in RISKS):
            fields.problem(f"{shown(text)} is not {SNAP_NAME.what}, or that with =TRACK", kind.value,
                           rule=AssertionRules.MODEL_TRACK)
        elif text:
            found.append(_plain_snap(name, kind, f"{track or 'latest'}/stable"))
    for name in fields.texts("required-snaps", form=SNAP_NAME):
        found.append(_plain_snap(name, SnapType.APP, "latest/stable"))
    return tuple(found)


def _plain_snap(name: str, kind: SnapType, channel: str) -> ModelSnap:
    return ModelSnap(name=name, snap_id=None, type=kind, default_channel=channel, presence=Presence.REQUIRED,
                     modes=("run",))


def _signers(fields: Fields, name: str, brand: str) -> tuple[str, ...]:
    """Who may sign in the brand's place, the brand among them."""
    value = fields.headers.get(name, ())
    if isinstance(value, (str, Mapping)):
        star = ", or *" if name == "system-user-authority" else ""
        fields.problem(f"{shown(value)} is not a list of account ids{star}", name, rule=AssertionRules.MODEL_SIGNERS)
        return (brand,)
    found = fields.texts(name, form=_SIGNER)
    return found if brand in found else (brand, *found)


def _validation_sets(fields: Fields, brand: str) -> tuple[ModelSet, ...]:
    entries = fields.maps("validation-sets")
    fields.once(entries, "name", lambda entry: (
        f"{entry.headers.get('account-id') or brand}/{entry.headers.get('name')}"))
    return tuple(_validation_set(entry, brand) for entry in entries)


def _validation_set(entry: Fields, brand: str) -> ModelSet:
    if not entry.headers.get("mode"):
        entry.problem("missing, expected enforce or prefer-enforce", "mode", rule=AssertionRules.MODEL_SETS)
    return ModelSet(
        name=entry.text("name", form=SET_NAME), account_id=entry.optional("account-id") or brand,
        sequence=entry.number("sequence", least=1) if "sequence" in entry else None,
        mode=entry.choice("mode", Enforcement, default=Enforcement.ENFORCE, rule=AssertionRules.MODEL_SETS))
