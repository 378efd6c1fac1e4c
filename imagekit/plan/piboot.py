"""What the Raspberry Pi's firmware boots from, in an image: autoboot.txt, and the FAT image of a slot.

Decides the partitions that `autoboot.txt` names and the files of `boot-a|b`: the kernel's as they are, all of its
device trees, the gadget's (firmware and `config.txt`), the command line and the sums. The FAT image is as large as its
structure, written whole by builder and updater, and never mounted. Which slot boots is `imagekit.boot.piboot`'s.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

from imagekit.boot.autoboot import AUTOBOOT_NAME, Autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry
from imagekit.boot.piboot import CMDLINE_NAME, CONFIG_NAME, WALK_MOST
from imagekit.boot.pislot import (
    GADGET_NAME,
    GADGET_PROOF,
    INITRD,
    KERNEL,
    SUMS_NAME,
    TREE_SUFFIX,
    Measure,
    encode_cmdline,
    encode_sums,
)
from imagekit.errors import PlanError
from imagekit.gadget import Extension, Part, Role
from imagekit.plan.layout import VolumeLayout
from imagekit.plan.tables import DiskTable, entry_at
from imagekit.plan.uboot import SlotFile
from imagekit.plan.writes import PackageMember

BACKEND = "piboot"
ARCHITECTURE = "arm64"
TREES = "dtbs/"  # of the kernel package
_TAKEN = (KERNEL.lower(), INITRD, CMDLINE_NAME, SUMS_NAME, GADGET_NAME, GADGET_PROOF)


def wanted_files(paths: Iterable[str], architecture: str) -> dict[str, str]:
    """Name in the slot -> path in the kernel package, of which `paths` are the files.

    Raises:
        PlanError: another architecture, no device tree, or two of one name.
    """
    if architecture != ARCHITECTURE:
        raise PlanError(f"cannot boot {architecture} by piboot: the backend is for {ARCHITECTURE}")
    found = {KERNEL: KERNEL, INITRD: INITRD}
    for path in sorted(paths):
        name = path.rpartition("/")[2]
        if path.startswith(TREES) and path.endswith(TREE_SUFFIX):
            if name in found:
                raise PlanError(f"cannot put {path} beside {found[name]}: the firmware looks for {name} in one place")
            found[name] = path
    if not any(name.endswith(TREE_SUFFIX) for name in found):
        raise PlanError(f"cannot fill the boot files of a slot: the kernel package has no device tree below {TREES}",
                        hint="name them in the kernel's recipe: device-trees")
    return found


def autoboot_file(extension: Extension, layout: VolumeLayout, table: DiskTable) -> dict[str, bytes]:
    """`autoboot.txt` of a fresh device, which boots slot a.

    Raises:
        PlanError: the partitions do not lie where the firmware would find them.
    """
    first = layout.holding(Role.BOOT).structure.name
    places = {name: _number(layout, table, name) for name in (
        first, extension.named(Part.BOOT, "a"), extension.named(Part.BOOT, "b")) if name}
    if places.pop(first, None) != 1:
        raise PlanError(f"cannot boot by piboot: {first!r} is not the first partition, where the firmware looks for"
                        f" {AUTOBOOT_NAME}", hint="the structure with role system-boot comes first")
    if too_far := [name for name, number in places.items() if number > WALK_MOST]:
        raise PlanError(f"cannot boot by piboot: {too_far[0]!r} is partition {places[too_far[0]]}, the firmware looks"
                        f" at {WALK_MOST}", hint="put the boot partitions in front")
    listed = list(extension.hybrid_mbr)
    if listed and listed != [first, *places]:
        raise PlanError(f"cannot boot by piboot: hybrid-mbr lists {', '.join(listed)}, so that numbers mean other"
                        " partitions to firmware that reads the MBR", hint=f"list {', '.join([first, *places])}")
    boot, trial = places.values()
    return {AUTOBOOT_NAME: encode_autoboot(Autoboot(boot=boot, trial=trial))}


def _number(layout: VolumeLayout, table: DiskTable, name: str) -> int:
    entry = entry_at(table, layout.named(name).start)
    if entry is None:
        raise PlanError(f"cannot find structure {name!r} on a device: it is outside the partition table",
                        hint="give it a partition type instead of bare")
    return entry.index


def own_files(extension: Extension) -> dict[str, str]:
    """Name in a slot -> file of the gadget, for all that the gadget has there.

    Raises:
        PlanError: a name is imagekit's or the kernel's, or the firmware would boot nothing from them.
    """
    found = {path.rpartition("/")[2]: path for path in extension.slot_files}
    if taken := [name for name in found if name.lower().endswith(TREE_SUFFIX) or name.lower() in _TAKEN]:
        raise PlanError(f"cannot fill the boot files of a slot: the gadget's {taken[0]} lies where imagekit writes"
                        " another file")
    if CONFIG_NAME not in found:
        raise PlanError(f"cannot fill the boot files of a slot: slot-files of the gadget lack {CONFIG_NAME}",
                        hint="it names kernel and initramfs to the firmware: see docs/reference/gadget-yaml.md")
    return found


def slot_files(entry: LoaderEntry, kernel: Mapping[str, SlotFile], own: Mapping[str, bytes], *,
               package: str) -> dict[str, bytes | PackageMember]:
    """What a slot's FAT image holds. `kernel` are files of the kernel package, `own` those of the gadget, by name."""
    made = {**own, CMDLINE_NAME: encode_cmdline(entry)}
    measures = {name: Measure(size=found.size, crc32=found.crc32) for name, found in kernel.items()} | {
        name: Measure(size=len(content), crc32=zlib.crc32(content)) for name, content in made.items()}
    members = {name: PackageMember(package=package, path=found.path, size=found.size) for name, found in kernel.items()}
    return {**members, **made, SUMS_NAME: encode_sums(entry.slot, measures)}
