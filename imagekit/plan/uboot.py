"""What U-Boot boots from, in an image: its script on the boot partition, and the FAT image of a slot.

Decides the values of the script and the files of `boot-a|b`. The FAT image is as large as its structure, written whole
by builder and updater, and never mounted. Which slot boots is `imagekit.boot.uboot`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import COMPRESSED, DEVICE_TREE, ENV_NAME, INITRD, KERNELS, LABEL, SlotEnv, encode_env
from imagekit.boot.uboot_script import ScriptValues, render_script
from imagekit.boot.uimage import BootScript, encode_script
from imagekit.errors import PlanError
from imagekit.gadget import Extension, Part
from imagekit.plan.layout import VolumeLayout
from imagekit.plan.tables import DiskTable, entry_at
from imagekit.plan.writes import PackageMember

BACKEND = "u-boot"

__all__ = ["BACKEND", "LABEL", "SlotFile", "boot_script", "slot_files", "wanted_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotFile:
    """A file of the kernel package that a slot holds, and its CRC-32."""

    path: str
    size: int
    crc32: int


def wanted_files(extension: Extension, architecture: str) -> dict[str, str]:
    """Name in the slot -> path in the kernel package. Raises: PlanError: U-Boot is no loader of this architecture."""
    if architecture not in KERNELS:
        raise PlanError(f"cannot boot {architecture} by u-boot: the backend is for {', '.join(KERNELS)}")
    kernel = kernel_file(extension, architecture)
    tree = {DEVICE_TREE: f"dtbs/{extension.device_tree}"} if extension.device_tree else {}
    return {kernel: kernel, INITRD: INITRD, **tree}


def kernel_file(extension: Extension, architecture: str) -> str:
    """The kernel's name in the slot, and in its package: compressed where the gadget says where to unpack it."""
    return COMPRESSED if extension.unpacks else KERNELS[architecture][0]


def boot_script(extension: Extension, layout: VolumeLayout, table: DiskTable, *, architecture: str,
                time: datetime) -> bytes:
    """`boot.scr`, for the partitions of this disk."""
    def number(part: Part, slot: str | None) -> int:
        name = extension.named(part, slot)
        assert name is not None
        entry = entry_at(table, layout.named(name).start)
        if entry is None:
            raise PlanError(f"cannot find structure {name!r} on a device: it is outside the partition table",
                            hint="give it a partition type instead of bare")
        return entry.index

    values = ScriptValues(state=number(Part.STATE, None), boot_a=number(Part.BOOT, "a"),
                          boot_b=number(Part.BOOT, "b"), kernel=kernel_file(extension, architecture),
                          boot=KERNELS[architecture][1],
                          device_tree=extension.device_tree is not None, addresses=extension.addresses)
    return encode_script(BootScript(text=render_script(values), name="imagekit", architecture=architecture,
                                    time=int(time.timestamp())))


def slot_files(files: Mapping[str, SlotFile], *, slot: Slot, package: str, base_root: str, kernel_root: str,
               state_partuuid: str, cmdline: str) -> dict[str, bytes | PackageMember]:
    """What a slot's FAT image holds: the kernel's files as they are, and slot.env, which measures them."""
    env = SlotEnv(slot=slot, base_root=base_root, kernel_root=kernel_root, state_partuuid=state_partuuid,
                  cmdline=cmdline, files={name: (found.size, found.crc32) for name, found in files.items()})
    members = {name: PackageMember(package=package, path=found.path, size=found.size) for name, found in files.items()}
    return {**members, ENV_NAME: encode_env(env)}
