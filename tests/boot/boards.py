"""The boards that boot tests run on, as data: a model, and what its hardware lets a test expect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagekit.schema import load_yaml

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, kw_only=True)
class Board:
    """A model of `models/`. Its gadget's name is that of the machine it boots on, and of the board."""

    model: str
    loader: str  # the boot loader's file in the gadget
    hang: str  # how a boot begins after one that hung
    drawn: int  # how many faults a plain test run draws; of slow boards none, `./bootstrap faults` runs them
    uboot: bool = False  # U-Boot chooses and counts, by the slot-state record

    def __str__(self) -> str:
        return self.gadget

    @cached_property
    def _snaps(self) -> dict[str, str]:
        path = ROOT / f"models/{self.model}.yaml"
        return {snap["type"]: snap["name"] for snap in load_yaml(path.read_bytes(), name=str(path)).value["snaps"]}

    @property
    def gadget(self) -> str:
        return self._snaps["gadget"]

    @property
    def kernel(self) -> str:
        return self._snaps["kernel"]

    @property
    def base(self) -> str:
        return self._snaps["base"]


PC = Board(model="pc-demo", loader="systemd-bootx64.efi", hang="the watchdog's reset", drawn=3)
# QEMU's virt machine has no watchdog that Debian's kernel knows: the kernel's own timer resets it.
ARM64_UEFI = Board(model="arm64-uefi", loader="systemd-bootaa64.efi", hang="the guest's reset", drawn=0)
ARM64_UBOOT = Board(model="arm64-uboot", loader="u-boot.bin", hang="the guest's reset", drawn=0, uboot=True)
# QEMU's watchdog of the Pi cannot be used: the kernel's own timer here too.
PI = Board(model="pi", loader="u-boot.bin", hang="the guest's reset", drawn=0, uboot=True)
BOARDS = (PC, ARM64_UEFI, ARM64_UBOOT, PI)
