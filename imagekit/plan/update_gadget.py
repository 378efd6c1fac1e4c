"""Plan what of a new gadget reaches a running device: the boot files whose structure's edition rose, and nothing else.

Pure. `imagekit.plan.gadget_update` says by the two documents whether the one may follow the other in place; here that
is held to what a device can write without ever being lost. Files on the boot partition's FAT are exchanged one at a
time (`imagekit.disk.fat_swap`). Where the slots have the gadget's files themselves, the idle one gets the new ones
with everything else. Whatever has no such way is refused, with its reason: content of a raw structure, a file that a
device does not have yet, files of the kernel, firmware that lies once and whose files only work together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from imagekit.assertions import Model, encode_stream
from imagekit.boot import pislot
from imagekit.boot.entries import slot_folder
from imagekit.boot.gadgetrecord import KnownGadget
from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import SCRIPT_NAME
from imagekit.disk.fat_read import FatVolume
from imagekit.disk.fat_swap import plan_swap
from imagekit.errors import DocumentError, PlanError
from imagekit.gadget import (
    GADGET_MOST,
    GADGET_YAML,
    Extension,
    FileContent,
    Filesystem,
    Gadget,
    Role,
    Structure,
    parse_gadget_yaml,
)
from imagekit.gadget.content_files import inside, landing_files
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernelyaml import is_reference
from imagekit.plan import piboot, uboot
from imagekit.plan.bootfiles import not_a_gadgets
from imagekit.plan.gadget_update import Action, GadgetUpdate, Side, plan_gadget_update
from imagekit.plan.layout import lay_out_of
from imagekit.plan.proofs import evidence
from imagekit.plan.resolve import Resolution, ResolvedPackage
from imagekit.plan.tables import plan_table

GADGET = "gadget"
_VFAT = (Filesystem.VFAT16, Filesystem.VFAT32)
_FIRMWARE = re.compile(r"(bootcode\.bin|start\w*\.elf|fixup\w*\.dat)\Z", re.IGNORECASE)
_WRITTEN_BY_US = (*(f"{slot_folder(slot).lower()}/" for slot in Slot), f"{SCRIPT_NAME}/")
_NO_ID = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGadget:
    """A gadget that was offered and is believed; `files` are all of its files by path."""

    package: ResolvedPackage
    gadget: Gadget
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A boot file that gets new content. `source` is the file of the gadget, empty where imagekit makes it."""

    path: str
    source: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GadgetPlan:
    """What comes with a gadget: files for `partition`, in order, and how the device remembers it afterwards.

    `in_slot`: the partition is the idle slot's, and has these files and no others of a gadget.
    """

    name: str
    file: str
    size: int
    sha3_384: str
    partition: str
    assets: tuple[Asset, ...]
    known: KnownGadget
    cmdline: str
    notes: tuple[str, ...]
    in_slot: bool = False

    @property
    def revision(self) -> int:
        return self.known.revision


def gadget_inside(package: Erofs, *, name: str) -> tuple[Gadget, dict[str, bytes]]:
    """The gadget of a package, and all of its files by path. Raises: DocumentError: it is none that can be used."""
    files = {item.path: package.read(item.path, limit=GADGET_MOST) for item in package.walk() if item.inode.is_file}
    if GADGET_YAML not in files:
        raise DocumentError(f"cannot use {name}: it has no {GADGET_YAML}")
    return parse_gadget_yaml(files[GADGET_YAML], name=f"{name} {GADGET_YAML}"), files


def plan_gadget(old: Gadget, new: NewGadget, resolution: Resolution, volume: FatVolume) -> GadgetPlan:
    """What a device that has `old` and this boot `volume` gets by `new`.

    Raises:
        PlanError: it cannot be brought to a running device, with every reason.
    """
    update, reasons = _compared(old, new)
    assets: dict[str, Asset] = {}
    risen = tuple(_risen(update))
    reasons += [reason for structure, action in risen for reason in _structure_reasons(structure, action)]
    for structure, _ in risen if not reasons else ():
        assets |= {asset.path: asset for asset in boot_assets(structure, new.gadget, new.files, resolution.model)
                   if not _kept(asset.path, structure, volume)}
    reasons += [] if reasons else _file_reasons(assets.values(), volume)
    _refuse(new, reasons)
    written = tuple(asset for asset in assets.values() if _differs(asset, volume))
    plan_swap(volume, {asset.path: asset.content for asset in written})  # or refused now, with nothing begun
    return _planned(new, update, resolution, boot_partition(new.gadget), written)


def plan_slot_gadget(old: Gadget, new: NewGadget, resolution: Resolution, partition: str) -> GadgetPlan:
    """What a device gets by `new` where a gadget's files lie in the slots, the idle one's in `partition`.

    What lies outside of them has no second place, and stays. With the files comes what says of which gadget they are.

    Raises:
        PlanError: it cannot be brought to a running device, with every reason.
    """
    update, reasons = _compared(old, new)
    reasons += [f"structure {structure.title!r}: its edition rises, and what lies outside of the slots is there once"
                for structure, _ in _risen(update)]
    _refuse(new, reasons)
    assert new.gadget.extension is not None
    own = {name: inside(path) for name, path in piboot.own_files(new.gadget.extension).items()}
    _refuse(new, [f"it has no file {path}, which its slot-files name" for path in own.values()
                  if path not in new.files])
    bare = _planned(new, update, resolution, partition, ())
    made = {pislot.GADGET_NAME: bare.known.document, pislot.GADGET_PROOF: bare.known.proof}
    return replace(bare, in_slot=True, assets=(
        *(Asset(path=name, source=path, content=new.files[path]) for name, path in own.items()),
        *(Asset(path=name, source="", content=content) for name, content in made.items())))


def _compared(old: Gadget, new: NewGadget) -> tuple[GadgetUpdate, list[str]]:
    """The one beside the other, and what no device takes. Raises: PlanError: nobody signed it."""
    package = new.package
    if package.revision is None or package.declaration is None:
        raise PlanError(f"cannot install {package.file_name}: nobody signed it, and a device takes nothing else")
    update = plan_gadget_update(Side(gadget=old), Side(gadget=new.gadget, files=new.files))
    return update, [*update.refusals, *_extension_reasons(old.extension, new.gadget.extension)]


def _refuse(new: NewGadget, reasons: Sequence[str]) -> None:
    """Raises: PlanError: there are reasons."""
    if reasons:
        raise PlanError(f"cannot update the gadget to {new.package.name} {new.package.number}"
                        + (f": {reasons[0]}" if len(reasons) == 1 else f": {len(reasons)} reasons"),
                        details=tuple(reasons) if len(reasons) > 1 else (),
                        hint="what cannot change on a running device comes with a new image")


def _planned(new: NewGadget, update: GadgetUpdate, resolution: Resolution, partition: str,
             assets: tuple[Asset, ...]) -> GadgetPlan:
    package = new.package
    assert new.gadget.extension is not None
    return GadgetPlan(
        name=package.name, file=package.file.path, size=package.size, sha3_384=package.sha3_384, partition=partition,
        assets=assets,
        known=KnownGadget(revision=package.number, document=new.files[GADGET_YAML],
                          proof=encode_stream(evidence(resolution, package))),
        cmdline=new.gadget.extension.cmdline,
        notes=tuple(f"{item.title}: {note}" for part in update.volumes for item in part.structures
                    for note in item.notes))


def _risen(update: GadgetUpdate) -> Iterator[tuple[Structure, Action]]:
    """What is written, in order; also a boot structure without content of its own, for what imagekit makes there."""
    for _, change in update.writes:
        assert change.after is not None
        yield change.after, change.action
    for volume in update.volumes:
        for item in volume.structures:
            if (item.action is Action.KEEP and item.before and item.after and item.after.role is Role.BOOT
                    and item.after.update.edition > item.before.update.edition):
                yield item.after, Action.REWRITE


def boot_partition(gadget: Gadget) -> str:
    """The partition with the boot files. Raises: PlanError: the gadget has none with a name."""
    for item in gadget.boot_volume.structures:
        if item.role is Role.BOOT and item.name:
            return item.name
    raise PlanError("cannot update the gadget: it has no structure of role system-boot with a name")


def _extension_reasons(old: Extension | None, new: Extension | None) -> Iterator[str]:
    """Of our own key a device takes another command line, other files in the slots, and the boot script's addresses."""
    free: dict[str, Any] = {"cmdline": "", "addresses": {}, "slot_files": ()}
    if old is None or new is None:
        yield "it has no x-imagekit" if new is None else "the device's own has no x-imagekit"
    elif replace(old, **free) != replace(new, **free):
        yield "its x-imagekit changes in more than cmdline, addresses and slot-files"
    elif old.unpacks != new.unpacks:
        yield "its x-imagekit changes whether the kernel is compressed"


def _structure_reasons(structure: Structure, action: Action) -> Iterator[str]:
    where = f"structure {structure.title!r}"
    if action is Action.ASSETS:
        yield f"{where}: files of the kernel are not updated on a device"
    elif structure.role is not Role.BOOT or structure.filesystem not in _VFAT:
        yield (f"{where}: its edition rises, and it is no FAT of role system-boot: it would be written over the only"
               " copy, and a power cut in the middle could leave nothing that starts")
    for content in structure.content:
        if isinstance(content, FileContent) and is_reference(content.source):
            yield f"{where}: {content.source} comes from the kernel, whose slots have files of their own"


def boot_assets(structure: Structure, gadget: Gadget, files: Mapping[str, bytes], model: Model) -> Iterator[Asset]:
    """Everything that the structure holds by a gadget of these files; of two with one path the later counts."""
    extension, sizes = gadget.extension, {path: len(raw) for path, raw in files.items()}
    assert extension is not None
    if extension.bootloader == uboot.BACKEND:
        layout = lay_out_of(gadget, gadget.boot_volume)
        script = uboot.boot_script(extension, layout, plan_table(layout, disk=_NO_ID, unique=lambda _: _NO_ID),
                                   architecture=model.architecture or "", time=model.timestamp)
        yield Asset(path=SCRIPT_NAME, source="", content=script)
    for content in structure.content:
        if isinstance(content, FileContent):
            for item in landing_files(content.source, content.target, sizes):
                yield Asset(path=item.target, source=item.source, content=files[item.source])


def _kept(path: str, structure: Structure, volume: FatVolume) -> bool:
    """Whether the gadget wants a file preserved where it is."""
    kept = {inside(item).lower() for item in structure.update.preserve}
    return path.lower() in kept and volume.find(path) is not None


def _file_reasons(assets: Iterable[Asset], volume: FatVolume) -> Iterator[str]:
    found = tuple(assets)
    for asset in found:
        entry = volume.find(asset.path)
        if entry is None or entry.is_dir:
            yield f"{asset.path} is new: a device gets no files that it did not have"
        elif asset.source and (f"{asset.path.lower()}/").startswith(_WRITTEN_BY_US):
            yield f"the gadget's {asset.path!r} lies where imagekit writes"
        elif asset.source and (why := not_a_gadgets(asset.path, asset.content)) and _differs(asset, volume):
            yield why
    firmware = [asset.path for asset in found if _FIRMWARE.search(asset.path) and _differs(asset, volume)]
    if len(firmware) > 1:
        yield (f"{', '.join(firmware)} only work together, and files change one at a time: a power cut between two of"
               " them could leave nothing that starts")


def _differs(asset: Asset, volume: FatVolume) -> bool:
    entry = volume.find(asset.path)
    return (entry is None or entry.is_dir or entry.size != len(asset.content)
            or volume.read(asset.path, limit=entry.size) != asset.content)
