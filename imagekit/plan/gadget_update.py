"""May a device that was made with one revision of a gadget go on with another one in place, and what is rewritten.

Decides by the two documents alone, as snapd does before it looks at the disk: volumes and structures are compared one
by one in the order of the disk; a structure is rewritten if its edition rose, or, when kernels are given, if it has
content of a kernel's asset that is updated along with the kernel. Nothing is moved, made or removed by an update.

Source: facts of snapd gadget/update.go (IsCompatible, canUpdateStructure, resolveUpdate, the policies);
docs/reference/gadget-yaml.md lists where this differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from imagekit.gadget import FileContent, Filesystem, Gadget, RawContent, Schema, Structure, Volume
from imagekit.gadget.content_check import KernelMismatch, reference_asset, resolve_reference
from imagekit.gadget.content_files import inside, landing_files
from imagekit.packages.kernelyaml import KernelContents, is_reference
from imagekit.plan.spans import Room, rooms, span_text


class Action(Enum):
    """What an update does with a structure."""

    REWRITE = "rewrite"  # its edition rose: all of its content is written again
    ASSETS = "kernel assets"  # only content of assets that the kernel updates
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One revision of a gadget with its files, if they are known, and the kernel that runs beside it."""

    gadget: Gadget
    files: Mapping[str, bytes] | None = None
    kernel: KernelContents | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureChange:
    """One structure in both revisions; one of them is missing where their numbers differ."""

    before: Structure | None
    after: Structure | None
    action: Action
    written: tuple[str, ...]  # sources and images
    preserved: tuple[str, ...]
    reasons: tuple[str, ...]  # why it cannot be
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        structure = self.after or self.before
        return structure.title if structure else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeChange:
    """One volume in both revisions."""

    name: str
    reasons: tuple[str, ...]
    structures: tuple[StructureChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GadgetUpdate:
    """The whole answer."""

    reasons: tuple[str, ...]
    volumes: tuple[VolumeChange, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Everything that forbids the update, each with its place."""
        found = list(self.reasons)
        for volume in self.volumes:
            found += [f"volume {volume.name!r}: {reason}" for reason in volume.reasons]
            found += [f"volume {volume.name!r}, structure {item.title!r}: {reason}"
                      for item in volume.structures for reason in item.reasons]
        return tuple(found)

    @property
    def allowed(self) -> bool:
        return not self.refusals

    @property
    def writes(self) -> tuple[tuple[str, StructureChange], ...]:
        """What is written, in order: whatever else there is, then boot structures, the seed last."""
        every = [(volume.name, item) for volume in self.volumes for item in volume.structures
                 if item.action is not Action.KEEP]
        return tuple(sorted(every, key=lambda pair: _turn(pair[1].after)))


def _turn(structure: Structure | None) -> int:
    role = structure.role.value if structure and structure.role else ""
    return 2 if role.startswith("system-seed") else 1 if role.startswith("system-boot") else 0


def plan_gadget_update(old: Side, new: Side) -> GadgetUpdate:
    """Compare two revisions of a gadget; the answer says whether, what and why not, and nothing is raised."""
    reasons = list(_gadget_reasons(old.gadget, new.gadget))
    if new.kernel is not None and (wanted := new.kernel.info.updated):
        used = {reference_asset(content) for volume in new.gadget.volumes for structure in volume.structures
                for content in structure.content}
        if not used & set(wanted):
            reasons.append(f"the new kernel updates {', '.join(wanted)}, but no content of the new gadget refers to it")
    after = {volume.name: volume for volume in new.gadget.volumes}
    volumes = tuple(_volume(volume, after[volume.name], old, new) for volume in old.gadget.volumes
                    if volume.name in after)
    return GadgetUpdate(reasons=tuple(reasons), volumes=volumes)


def _gadget_reasons(old: Gadget, new: Gadget) -> Iterator[str]:
    before, after = ({volume.name for volume in gadget.volumes} for gadget in (old, new))
    for names, what in ((before - after, "taken away"), (after - before, "added")):
        if names:
            yield f"volumes cannot be {what}: {', '.join(sorted(names))}"
    if max(len(before), len(after)) > 1:
        yield f"gadgets of several volumes are not updated in place: there are {max(len(before), len(after))}"


def _volume(before: Volume, after: Volume, old: Side, new: Side) -> VolumeChange:
    reasons = []
    for what, one, two in (("id", _lower(before.id), _lower(after.id)),
                           ("bootloader", before.bootloader, after.bootloader)):
        if one != two:
            reasons.append(f"its {what} changes from {_word(one)} to {_word(two)}")
    if "schema" not in before.partial and before.schema is not after.schema:
        reasons.append(f"its schema changes from {_word(before.schema)} to {_word(after.schema, 'partial')}")
    first, second = rooms(before), rooms(after)
    if len(first) != len(second):
        reasons.append(f"it has {len(second)} structures, a device has {len(first)}")
    pairs = [_structure(before, after, one, two, old, new) for one, two in zip(first, second, strict=False)]
    pairs += [_alone(before=room.structure) for room in first[len(second):]]
    pairs += [_alone(after=room.structure) for room in second[len(first):]]
    return VolumeChange(name=after.name, reasons=tuple(reasons), structures=tuple(pairs))


def _alone(*, before: Structure | None = None, after: Structure | None = None) -> StructureChange:
    return StructureChange(before=before, after=after, action=Action.KEEP, written=(), preserved=(), reasons=(),
                           notes=("not in the new gadget" if before else "not in the old gadget",))


def _structure(before: Volume, after: Volume, one: Room, two: Room, old: Side, new: Side) -> StructureChange:
    reasons = [*_identity_reasons(after, one.structure, two.structure), *_room_reasons(one, two),
               *_filesystem_reasons(before, after, one.structure, two.structure)]
    action = _action(one.structure, two.structure, old, new)
    written: tuple[str, ...] = ()
    if action is not Action.KEEP:
        contents = two.structure.content if action is Action.REWRITE else _assets(two.structure, old, new)
        written = tuple(item.source if isinstance(item, FileContent) else item.image for item in contents)
        reasons += _source_reasons(contents, new)
    return StructureChange(
        before=one.structure, after=two.structure, action=action, written=written, reasons=tuple(reasons),
        preserved=two.structure.update.preserve if action is not Action.KEEP else (),
        notes=tuple(_notes(one.structure, two.structure, action, old, new)))


def _identity_reasons(after: Volume, one: Structure, two: Structure) -> Iterator[str]:
    """Name, role, type and id; names count only where a GPT has them."""
    if after.schema is Schema.GPT and one.name != two.name:
        yield f"its name changes from {one.name!r} to {two.name!r}"
    if one.role is not two.role:
        yield f"its role changes from {_word(one.role)} to {_word(two.role)}"
    same = (one.type.mbr is not None and one.type.mbr == two.type.mbr) or (
        one.type.guid is not None and one.type.guid == two.type.guid)
    if not same and (one.type.in_table or two.type.in_table):
        yield f"its type changes from {one.type} to {two.type}"
    if _lower(one.id) != _lower(two.id):
        yield f"its id changes from {_word(one.id)} to {_word(two.id)}"


def _room_reasons(one: Room, two: Room) -> Iterator[str]:
    if not one.size.meets(two.size):
        yield f"it shall have {span_text(two.size)}, a device may have {span_text(one.size)}"
    if one.start is not None and two.start is not None and not one.start.meets(two.start):
        yield f"it shall begin at {span_text(two.start)}, on a device it may begin at {span_text(one.start)}"


def _filesystem_reasons(before: Volume, after: Volume, one: Structure, two: Structure) -> Iterator[str]:
    had, has = _has_filesystem(before, one), _has_filesystem(after, two)
    if had != has:
        yield "it gets a filesystem, and had none" if has else "it loses its filesystem"
    elif has:
        first = None if one.filesystem is Filesystem.NONE else one.filesystem
        second = None if two.filesystem is Filesystem.NONE else two.filesystem
        if first is not None and first is not second:
            yield f"its filesystem changes from {_word(first)} to {_word(second, 'partial')}"
        if one.label != two.label:
            yield f"its filesystem-label changes from {_word(one.label)} to {_word(two.label)}"


def _has_filesystem(volume: Volume, structure: Structure) -> bool:
    if structure.filesystem not in (None, Filesystem.NONE):
        return True
    return structure.type.in_table and "filesystem" in volume.partial


def _action(one: Structure, two: Structure, old: Side, new: Side) -> Action:
    if two.update.edition > one.update.edition and two.content:
        return Action.REWRITE
    return Action.ASSETS if _assets(two, old, new) else Action.KEEP


def _assets(structure: Structure, old: Side, new: Side) -> tuple[FileContent | RawContent, ...]:
    """The contents that come along with another kernel."""
    updated = new.kernel.info.updated if new.kernel is not None and new.kernel != old.kernel else ()
    return tuple(content for content in structure.content if reference_asset(content) in updated)


def _source_reasons(contents: Sequence[FileContent | RawContent], new: Side) -> Iterator[str]:
    """What is written must be there; what stays as it is need not be."""
    for content in contents:
        source = content.source if isinstance(content, FileContent) else content.image
        if isinstance(content, FileContent) and is_reference(source):
            try:
                resolve_reference(content, new.kernel)
            except KernelMismatch as error:
                yield error.message
        elif new.files is not None and not _bytes_of(content, new.files):
            yield f"the new gadget has no file {source!r}"


def _notes(one: Structure, two: Structure, action: Action, old: Side, new: Side) -> Iterator[str]:
    """What stays as it is though one may think otherwise."""
    if two.update.edition < one.update.edition:
        yield f"its edition fell from {one.update.edition} to {two.update.edition}: the old content stays"
    elif action is Action.REWRITE or not _content_differs(one, two, old, new):
        return
    else:
        yield f"its content differs, but its edition stays {two.update.edition}: the old content stays"


def _content_differs(one: Structure, two: Structure, old: Side, new: Side) -> bool:
    if one.content != two.content:
        return True
    if old.files is None or new.files is None:
        return False
    return any(_bytes_of(item, old.files) != _bytes_of(item, new.files) for item in two.content)


def _bytes_of(content: FileContent | RawContent, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The gadget's own files that a content brings."""
    if isinstance(content, RawContent):
        image = inside(content.image)
        return {image: files[image]} if image in files else {}
    if is_reference(content.source):
        return {}
    sizes = {path: len(raw) for path, raw in files.items()}
    return {item.target: files[item.source] for item in landing_files(content.source, content.target, sizes)}


def _lower(text: str | None) -> str | None:
    return text.lower() if text is not None else None


def _word(value: object, absent: str = "none") -> str:
    if value is None:
        return absent
    return str(value.value) if isinstance(value, Enum) else str(value)
