"""Surgery on a card that the Raspberry Pi's firmware boots: read, change and fill the FAT images of its slots.

Filling follows the updater's order: the record forgets the slot, packages and boot files are written, the record begins
the trial, autoboot.txt names the slot. Beside `imagekit.qemu.surgery`, which has the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imagekit.boot.autoboot import AUTOBOOT_NAME, Autoboot, decode_autoboot, encode_autoboot
from imagekit.boot.piboot import CMDLINE_NAME
from imagekit.boot.pislot import SUMS_NAME, Measure, encode_cmdline, encode_sums, is_of_kernel, parse_cmdline
from imagekit.boot.slotstate import TRIES, Slot
from imagekit.packages.erofs import Erofs
from imagekit.qemu.surgery import Disk
from imagekit.units import MIB

BOOT = "boot"
_TREES = "dtbs/"


def slot_files(disk: Disk, slot: Slot) -> dict[str, bytes]:
    """The files of a slot by name."""
    return disk.fat_files(f"boot-{slot.value}")


def set_slot_files(disk: Disk, slot: Slot, files: Mapping[str, bytes], *, measure: bool = True) -> None:
    """Make a slot's FAT image anew; its sums are those of the files, or with `measure` off are left as they are."""
    held = dict(files)
    if measure:
        held[SUMS_NAME] = encode_sums(slot, {name: Measure.of(content) for name, content in files.items()
                                             if name != SUMS_NAME})
    disk.set_fat_files(f"boot-{slot.value}", held, label=f"imagekit-{slot.value}")


def set_slot_roots(disk: Disk, slot: Slot, **roots: str) -> None:
    """Change `base_root` or `kernel_root` that a slot's command line names, measured as if it were right."""
    files = slot_files(disk, slot)
    entry = replace(parse_cmdline(files[CMDLINE_NAME], name=CMDLINE_NAME), **roots)  # type: ignore[arg-type]
    set_slot_files(disk, slot, {**files, CMDLINE_NAME: encode_cmdline(entry)})


def named_slot(disk: Disk) -> Slot:
    """The slot that autoboot.txt names. Raises: DocumentError: the file is not ours."""
    found = decode_autoboot(disk.fat_files(BOOT)[AUTOBOOT_NAME])
    return Slot.A if found.boot == disk.partition("boot-a").index else Slot.B


def name_slot(disk: Disk, slot: Slot) -> None:
    """Let autoboot.txt name a slot."""
    files = disk.fat_files(BOOT)
    files[AUTOBOOT_NAME] = encode_autoboot(Autoboot(boot=disk.partition(f"boot-{slot.value}").index,
                                                    trial=disk.partition(f"boot-{slot.other.value}").index))
    disk.set_fat_files(BOOT, files, label=BOOT)


def install_piboot(disk: Disk, slot: Slot, *, base: Path, kernel: Path, tries: int | None = TRIES,
                   cmdline: str | None = None) -> None:
    """Fill a slot and make it the one to boot next.

    `tries` None: as if it had been healthy before. `cmdline` replaces that of the other slot.
    """
    there = slot_files(disk, slot.other)
    other = parse_cmdline(there[CMDLINE_NAME], name=CMDLINE_NAME)
    disk.begin_filling(slot)
    roots = disk.put_package(f"base-{slot.value}", base), disk.put_package(f"kernel-{slot.value}", kernel)
    with kernel.open("rb") as stream:
        tree = Erofs(stream, name=kernel.name)
        paths = {entry.path.rpartition("/")[2]: entry.path for entry in tree.walk() if entry.path.startswith(_TREES)}
        files = {name: tree.read(paths.get(name, name), limit=256 * MIB) if is_of_kernel(name) else content
                 for name, content in there.items()}
    entry = replace(other, slot=slot, base_root=roots[0], kernel_root=roots[1],
                    cmdline=other.cmdline if cmdline is None else cmdline)
    set_slot_files(disk, slot, {**files, CMDLINE_NAME: encode_cmdline(entry)})
    disk.end_filling(tries)
    name_slot(disk, slot)
