"""What may be wrong with the boot files of a slot that U-Boot boots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import ENV_NAME, INITRD, encode_env
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_uboot import install_uboot, set_slot_files, slot_env, slot_files
from tests.boot.stock import Stock

KERNELS = ("Image", "Image.gz", "zImage")  # of 64-bit and of 32-bit boards
Wound = Callable[[Disk, Slot], object]


def change(disk: Disk, slot: Slot, name: str, changed: Callable[[bytes], bytes | None]) -> None:
    """Change a file of a slot, and not what slot.env says of it; None takes it away."""
    files = slot_files(disk, slot)
    content = changed(files.pop(name))
    set_slot_files(disk, slot, files if content is None else {**files, name: content})


def change_kernel(disk: Disk, slot: Slot, changed: Callable[[bytes], bytes | None]) -> None:
    """Change the kernel of a slot, whatever it is called."""
    (name,) = set(slot_files(disk, slot)) & set(KERNELS)
    change(disk, slot, name, changed)


def measured_anew(disk: Disk, slot: Slot, **changes: Any) -> None:
    """Let slot.env describe the slot as it is, with `changes` of its fields: to U-Boot nothing is wrong."""
    files = slot_files(disk, slot)
    set_slot_files(disk, slot, {**files, ENV_NAME: encode_env(replace(slot_env(files, slot), **changes))})


def noise(disk: Disk, slot: Slot) -> None:
    """A kernel that is none, and measured as such: booti refuses it."""
    change_kernel(disk, slot, lambda raw: raw[::-1])
    measured_anew(disk, slot)


def panic(disk: Disk, slot: Slot) -> None:
    """The kernel finds zeros where its initrd should be, and no root."""
    change(disk, slot, INITRD, lambda raw: bytes(len(raw)))
    measured_anew(disk, slot)


DAMAGED: dict[str, Wound] = {
    "missing-kernel": lambda disk, slot: change_kernel(disk, slot, lambda raw: None),
    "short-kernel": lambda disk, slot: change_kernel(disk, slot, lambda raw: raw[: len(raw) // 2]),
    "noise-kernel": lambda disk, slot: change_kernel(disk, slot, lambda raw: raw[:4096] + raw[:4095:-1]),
    "missing-slot-env": lambda disk, slot: change(disk, slot, ENV_NAME, lambda raw: None),
    "lost-volume": lambda disk, slot: disk.write(f"boot-{slot.value}", 0, bytes(1 << 20)),
}
MEASURED: dict[str, Wound] = {"refused-kernel": noise, "panicking-kernel": panic}


def wounded(disk: Disk, stock: Stock, *, trial: bool, wound: Wound) -> None:
    """Slot b is filled and broken, or slot a, which is confirmed, goes bad."""
    if trial:
        install_uboot(disk, Slot.B, base=stock.base, kernel=stock.kernel)
    wound(disk, Slot.B if trial else Slot.A)
