"""Surgery on a disk that U-Boot boots: read, change and fill the FAT images of its slots.

Filling follows the updater's order: the record forgets the slot, packages and boot files are written, the record begins
the trial. Beside `imagekit.qemu.surgery`, which has the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imagekit.boot.slotstate import TRIES, Slot
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, LOADER_WORD, SlotEnv, decode_env, encode_env
from imagekit.packages.erofs import Erofs
from imagekit.qemu.surgery import Disk
from imagekit.units import MIB

_OWN = 5  # words of the kernel's command line that are ours, in front


def slot_files(disk: Disk, slot: Slot) -> dict[str, bytes]:
    """The files of a slot by name."""
    return disk.fat_files(f"boot-{slot.value}")


def set_slot_files(disk: Disk, slot: Slot, files: Mapping[str, bytes]) -> None:
    """Make a slot's FAT image anew."""
    disk.set_fat_files(f"boot-{slot.value}", files, label=f"imagekit-{slot.value}")


def slot_env(files: Mapping[str, bytes], slot: Slot) -> SlotEnv:
    """What a slot's `slot.env` says, its files measured anew."""
    words = decode_env(files[ENV_NAME], name=ENV_NAME)["bootargs"].split()
    own = dict(word.removeprefix("imagekit.").split("=", 1) for word in words[:_OWN])
    assert words[_OWN - 1] == LOADER_WORD
    return SlotEnv(slot=slot, base_root=own["base"], kernel_root=own["kernel"], state_partuuid=own["state"],
                   cmdline=" ".join(words[_OWN:]), files=SlotEnv.measure(without_env(files)))


def without_env(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files that `slot.env` measures."""
    return {name: content for name, content in files.items() if name != ENV_NAME}


def install_uboot(disk: Disk, slot: Slot, *, base: Path, kernel: Path, tries: int | None = TRIES,
                  cmdline: str | None = None) -> None:
    """Fill a slot and make it the one to boot next.

    `tries` None: as if it had been healthy before. `cmdline` replaces that of the other slot.
    """
    there = slot_files(disk, slot.other)
    other = slot_env(there, slot.other)
    disk.begin_filling(slot)
    roots = disk.put_package(f"base-{slot.value}", base), disk.put_package(f"kernel-{slot.value}", kernel)
    with kernel.open("rb") as stream:
        tree = Erofs(stream, name=kernel.name)
        # The board's device tree is not the kernel package's to choose: the one that is there stays.
        files = {name: there[name] if name == DEVICE_TREE else tree.read(name, limit=256 * MIB)
                 for name in without_env(there)}
    env = SlotEnv(slot=slot, base_root=roots[0], kernel_root=roots[1], state_partuuid=other.state_partuuid,
                  cmdline=other.cmdline if cmdline is None else cmdline, files=SlotEnv.measure(files))
    set_slot_files(disk, slot, {**files, ENV_NAME: encode_env(env)})
    disk.end_filling(tries)
