"""Read what a Raspberry Pi's own firmware starts an image from: autoboot.txt, and each slot's boot partition.

The counterpart of `imagekit.build.inspect_uboot`, in the same values: `cmdline.txt` takes the place of the loader
entry, `slot.sum` says which slots are whole. Nothing is raised for what lies there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from imagekit.boot.autoboot import AUTOBOOT_NAME, decode_autoboot
from imagekit.boot.piboot import CMDLINE_NAME, Family
from imagekit.boot.pislot import KERNEL, SUMS_NAME, TREE_SUFFIX, is_of_kernel, is_whole, parse_cmdline
from imagekit.boot.slotstate import Slot
from imagekit.build.inspect_uboot import fat_files, same_as_package, slot_files
from imagekit.disk.probe import DiskImage
from imagekit.errors import DocumentError
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernel_image import kernel_architecture
from imagekit.packages.uki import Loader
from imagekit.plan.inspection import EfiProgram, EntryFound, EspFound, KernelFound, PartFound

BOOT = "boot"
TREES = "dtbs/"
_BUILT = re.compile(rb"VC_BUILD_ID_TIME: ([A-Z][a-z]{2} [ 0-9][0-9] 20[0-9]{2})\0")
_LINUX = re.compile(rb"Linux version ([!-~]{1,80})")


def boots_by_piboot(stream: BinaryIO, image: DiskImage) -> bool:
    """Whether slots have boot partitions that describe themselves as the Pi's firmware takes them."""
    found = image.find(BOOT)
    try:
        if found is not None and AUTOBOOT_NAME in fat_files(stream, found.partition.start, found.name):
            return True
    except DocumentError:
        pass
    return any(SUMS_NAME in slot_files(stream, image, slot) for slot in Slot)


def look_at_piboot(stream: BinaryIO, image: DiskImage) -> EspFound:
    """autoboot.txt, the firmware by the date in it, and every slot's own description."""
    found = image.find(BOOT)
    problem, files = "" if found is not None else "there is no partition with autoboot.txt", dict[str, bytes]()
    if found is not None:
        try:
            files = fat_files(stream, found.partition.start, found.name)
        except DocumentError as error:
            problem = error.message
    slots = {slot: slot_files(stream, image, slot) for slot in Slot}
    loaders = () if problem else (_autoboot(files, image), *_firmware(slots))
    return EspFound(problem=problem, loaders=loaders, raw_entries={}, programs=frozenset(files), offered=(),
                    settings={}, piboot=True,
                    entries=tuple(_entry(slot, held) for slot, held in slots.items() if CMDLINE_NAME in held),
                    sound=frozenset(slot for slot, held in slots.items() if is_whole(held, slot)))


def _autoboot(files: Mapping[str, bytes], image: DiskImage) -> EfiProgram:
    """autoboot.txt, with what its numbers mean on this disk."""
    loader, problem = None, ""
    try:
        if AUTOBOOT_NAME not in files:
            raise DocumentError(f"there is no {AUTOBOOT_NAME}: the first partition that can be booted is taken")
        found = decode_autoboot(files[AUTOBOOT_NAME])
        names = {item.partition.index: item.name for item in image.partitions}
        told = [names.get(number, "no partition") for number in (found.boot, found.trial)]
        if sorted(told) != ["boot-a", "boot-b"]:
            raise DocumentError(f"it names partitions {found.boot} and {found.trial}, which are {' and '.join(told)}")
        loader = Loader(name=AUTOBOOT_NAME, version=f"for {told[0]}")
    except DocumentError as error:
        problem = error.message
    return EfiProgram(path=AUTOBOOT_NAME, architecture=None, loader=loader, problem=problem)


def _firmware(slots: Mapping[Slot, Mapping[str, bytes]]) -> Iterator[EfiProgram]:
    """The firmware files of each slot by the day that they were built, which stands in them."""
    for slot, files in slots.items():
        for family in (Family.PI3, Family.PI4):
            match = _BUILT.search(files.get(family.first_file, b""))
            if match is not None:
                yield EfiProgram(path=f"boot-{slot.value}/{family.first_file}", architecture=None, problem="",
                                 loader=Loader(name="Raspberry Pi firmware", version=f"of {match[1].decode()}"))


def _entry(slot: Slot, files: Mapping[str, bytes]) -> EntryFound:
    name = f"boot-{slot.value}/{CMDLINE_NAME}"
    try:
        return EntryFound(file_name=name, slot=slot, tries=None, entry=parse_cmdline(files[CMDLINE_NAME], name=name),
                          problem="")
    except DocumentError as error:
        return EntryFound(file_name=name, slot=slot, tries=None, entry=None, problem=error.message)


def look_at_piboot_kernels(stream: BinaryIO, image: DiskImage, esp: EspFound,
                           parts: Iterable[PartFound]) -> tuple[KernelFound, ...]:
    """The kernel's files in every slot that has a command line."""
    wanted = {item.slot for item in esp.entries}
    return tuple(_kernel(stream, image, esp, item) for item in parts if item.part == "kernel" and item.slot in wanted)


def _kernel(stream: BinaryIO, image: DiskImage, esp: EspFound, part: PartFound) -> KernelFound:
    files = slot_files(stream, image, part.slot)
    raw = files.get(KERNEL, b"")
    version = _LINUX.search(raw)
    problem = "" if part.slot in esp.sound else f"a file beside it is not as {SUMS_NAME} measures it, or is missing"
    return KernelFound(slot=part.slot, path=f"boot-{part.slot.value}/{KERNEL}", architecture=kernel_architecture(raw),
                       version=version[1].decode() if version else None, problem=problem,
                       equal=same_as_package(stream, image, part, {name: content for name, content in files.items()
                                                                   if is_of_kernel(name)}, places=_trees))


def _trees(package: Erofs) -> dict[str, str]:
    """Device trees by their last name, as they lie in a slot, and where the package has them."""
    return {entry.path.rpartition("/")[2]: entry.path for entry in package.walk()
            if entry.path.startswith(TREES) and entry.path.endswith(TREE_SUFFIX)}
