"""The boards that boot tests run on, as data: a model, and what its hardware lets a test expect.

A board is added here, its machine in `qemu/`, its gadget and model where they belong; no test names one. Boards in CI
boot on every plain test run, and a few of their faults are drawn; all others run by `invoke boards`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from imagekit.schema import load_yaml

ROOT = Path(__file__).parent.parent.parent
FIRST_VERDICT_S = 300.0


class Counts(StrEnum):
    """Who chooses a slot and counts its tries, which decides what can go wrong and how it ends."""

    SYSTEMD_BOOT = "systemd-boot"
    U_BOOT = "u-boot"
    PIBOOT = "piboot"


@dataclass(frozen=True, kw_only=True)
class Board:
    """A model of `models/`, on the machine that is called as its gadget unless `machine` says another."""

    model: str
    loader: str  # the boot loader's file in the gadget
    hang: str  # how a boot begins after one that hung
    reset: str = "the guest's reset"  # how a boot begins after one that gave up
    drawn: int  # how many faults a plain test run draws; `./bootstrap faults` runs all
    patience: int = 5  # boots that a drawn fault may take; slow boards have less
    counts: Counts = Counts.SYSTEMD_BOOT
    machine: str = ""
    deadline_s: float = FIRST_VERDICT_S  # from power-on to a verdict, on a busy host
    in_ci: bool = True
    drawn_to_boot: bool = True  # whether a plain run may draw it, if it only boots: not where one boot takes minutes
    cannot: tuple[tuple[str, str], ...] = ()  # faults that the hardware does not come back from, and why
    boots_only: str = ""  # whose faults are this board's as well, because loader and slots are the same

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Of the board, and of its machine."""
        return self.machine or self.gadget

    @property
    def uboot(self) -> bool:
        """U-Boot chooses and counts, by the slot-state record."""
        return self.counts is Counts.U_BOOT

    @cached_property
    def _snaps(self) -> dict[str, str]:
        path = ROOT / f"models/{self.model}.yaml"
        return {snap["type"]: snap["name"] for snap in load_yaml(path.read_bytes(), name=str(path)).value["snaps"]}

    @property
    def title(self) -> str:
        return str(self._told["title"])

    @property
    def boot_path(self) -> tuple[str, ...]:
        return tuple(self._told["boot-path"])

    @cached_property
    def _told(self) -> dict[str, Any]:
        path = ROOT / f"gadgets/{self.gadget}/recipe.yaml"
        told: dict[str, Any] = load_yaml(path.read_bytes(), name=str(path)).value["board"]
        return told

    @property
    def gadget(self) -> str:
        return self._snaps["gadget"]

    @property
    def kernel(self) -> str:
        return self._snaps["kernel"]

    @property
    def base(self) -> str:
        return self._snaps["base"]


PC = Board(model="pc-demo", loader="systemd-bootx64.efi", hang="the watchdog's reset", drawn=2)
# The same PC with Debian's full kernel, on the disks that PCs have.
PC_DISKS = tuple(Board(model="pc", machine=machine, loader="systemd-bootx64.efi", hang="the watchdog's reset", drawn=0,
                       in_ci=False, boots_only="pc") for machine in ("pc-ahci", "pc-nvme", "pc-usb"))
# QEMU's virt machine has no watchdog that Debian's kernel knows: the kernel's own timer resets it.
ARM64_UEFI = Board(model="arm64-uefi", loader="systemd-bootaa64.efi", hang="the guest's reset", drawn=1,
                   patience=2)
ARM64_UBOOT = Board(model="arm64-uboot", loader="u-boot.bin", hang="the guest's reset", drawn=1, patience=1,
                    counts=Counts.U_BOOT)
# QEMU's watchdog of the Pi cannot be used: the kernel's own timer here too.
PI = Board(model="pi", loader="u-boot.bin", hang="the guest's reset", drawn=0, counts=Counts.U_BOOT,
           deadline_s=600)
PI_4 = Board(model="pi", machine="pi-4", loader="u-boot.bin", hang="the guest's reset", drawn=0, counts=Counts.U_BOOT,
             deadline_s=1800, in_ci=False, drawn_to_boot=False, boots_only="pi")
_HALTS = ("nothing but a module of Debian's kernel resets these boards: one that panics before its initrd halts, and"
          " power has to be cut; docs/reference/allwinner.md")
# Allwinner's boards reset themselves by their watchdog, whatever the reason is. This one has one core, and so but one
# thread of a busy host.
CUBIEBOARD = Board(model="cubieboard", loader="u-boot-sunxi-with-spl.bin", hang="the watchdog's reset",
                   reset="the watchdog's reset", drawn=0, counts=Counts.U_BOOT, deadline_s=1800, in_ci=False,
                   cannot=(("panicking-kernel", _HALTS), ("confirmed-panicking-kernel", _HALTS)))
# Their U-Boot is of the same source, kernel and base are the same. The Banana Pi took the least CPU: it is in CI.
ALLWINNER = tuple(Board(model=model, loader="u-boot-sunxi-with-spl.bin", hang="the watchdog's reset",
                        reset="the watchdog's reset", drawn=0, counts=Counts.U_BOOT, deadline_s=1800,
                        in_ci=model == "bpim2u", drawn_to_boot=False, boots_only="cubieboard")
                  for model in ("orangepi-pc", "bpim2u"))
# QEMU boots no image of it: tests/boot/test_sabrelite.py.
SABRELITE = Board(model="sabrelite", loader="u-boot-dtb.imx", hang="", drawn=0, counts=Counts.U_BOOT, in_ci=False)
PI_TRYBOOT = Board(model="pi-tryboot", loader="start.elf", hang="the guest's reset", drawn=0, counts=Counts.PIBOOT,
                   in_ci=False)
BOARDS = (PC, *PC_DISKS, ARM64_UEFI, ARM64_UBOOT, PI, PI_4, PI_TRYBOOT, CUBIEBOARD, *ALLWINNER)
BY_NAME = {board.name: board for board in BOARDS}


def is_asked_for(name: str) -> bool:
    """Whether IMAGEKIT_BOARDS, names with commas between them, has this one, or is `all`."""
    return not {"all", name}.isdisjoint(os.environ.get("IMAGEKIT_BOARDS", "").split(","))
