"""Boards whose packages hold noise: small enough to be built anew by any test that wants to spoil one.

They are made as a user makes them, and read by everything that reads real ones; none of them boots.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.boot.piboot import BOARDS
from imagekit.testing.documents import Brand
from imagekit.testing.images import Workshop, noise


@dataclass(frozen=True, kw_only=True)
class SmallBoard:
    """What its gadget says and holds besides, and what is in its kernel package."""

    gadget: str
    own: Mapping[str, bytes]
    kernel: Mapping[str, bytes]

    def build(self, folder: Path, *, kernel: Mapping[str, bytes] | None = None,
              gadget: str = "") -> subprocess.CompletedProcess[str]:
        """Make the packages, sign them and build `out/pc.img`; `kernel` and `gadget` stand for the board's own."""
        workshop = Workshop(folder=folder, brand=Brand("acme"))
        workshop.package("pc", "gadget", {**_told("pc", "gadget"), **self.own,
                                          "meta/gadget.yaml": (gadget or self.gadget).encode()})
        workshop.package("pc-kernel", "kernel",
                         {**_told("pc-kernel", "kernel"), **(self.kernel if kernel is None else kernel)})
        workshop.package("debian-13", "base", {**_told("debian-13", "base"), "usr/bin/init": noise("base", 1 << 20),
                                               "usr/lib/os-release": b"ID=debian\n"})
        workshop.write_trust()
        model = workshop.model(architecture="arm64")
        return subprocess.run(
            [sys.executable, "-m", "imagekit.cli", "build", str(model), "--packages", str(workshop.packages), "--trust",
             str(workshop.trust), "-o", str(folder / "out")], capture_output=True, text=True, check=False, timeout=120)


def _told(name: str, kind: str) -> dict[str, bytes]:
    return {"meta/snap.yaml": f"name: {name}\nversion: '1'\ntype: {kind}\narchitectures: [arm64]\n".encode()}


# What gadgets of such boards have alike: U-Boot's state and boot slots, what follows on every disk, and what is what.
UBOOT_SLOTS = """\
      - {name: slot-state, type: 33DEB6F2-752F-574C-BB05-38266357DEAF, size: 1M}
      - {name: boot-a, type: 4C89B746-C37A-57B2-84F2-2CAB23537C90, size: 8M}
      - {name: boot-b, type: 4C89B746-C37A-57B2-84F2-2CAB23537C90, size: 8M}
"""
SLOTS = """\
      - {name: base-a, type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M}
      - {name: base-b, type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M}
      - {name: kernel-a, type: 23358B13-2DBE-5357-962A-B7CADD51CAA6, size: 8M}
      - {name: kernel-b, type: 23358B13-2DBE-5357-962A-B7CADD51CAA6, size: 8M}
      - {name: seed, role: system-seed, type: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, filesystem: vfat, size: 40M,
         filesystem-label: ubuntu-seed}
      - {name: data, role: system-data, type: 4D21B016-B534-45C2-A9FB-5C16E091FD2D, filesystem: ext4, size: 16M,
         filesystem-label: ubuntu-data}
"""
PARTS = """\
  structures:
    slot-state: {part: state}
    boot-a: {slot: a, part: boot}
    boot-b: {slot: b, part: boot}
    base-a: {slot: a, part: base}
    base-b: {slot: b, part: base}
    kernel-a: {slot: a, part: kernel}
    kernel-b: {slot: b, part: kernel}
"""
UBOOT = SmallBoard(
    gadget="""\
volumes:
  board:
    bootloader: u-boot
    structure:
      - {name: boot, role: system-boot, type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B, filesystem: vfat, size: 8M,
         content: [{source: u-boot.bin, target: u-boot.bin}]}
""" + UBOOT_SLOTS + SLOTS + """\
x-imagekit:
  bootloader: u-boot
  device-tree: vendor/board.dtb
  cmdline: console=ttyAMA0,115200 panic=10
""" + PARTS,
    own={"u-boot.bin": b"u-boot"},
    kernel={"Image": noise("image", 3_000_001), "initrd": noise("initrd", 70_000), "modules/6.12/a.ko": b"module",
            "dtbs/vendor/board.dtb": noise("tree", 5000)})

PI_TREES = {name: noise(name, 3000) for board in ("raspi3b", "raspi4b") for name in BOARDS[board].device_trees[:1]}
PIBOOT = SmallBoard(
    gadget="""\
volumes:
  board:
    bootloader: piboot
    structure:
      - {name: boot, role: system-boot, type: "0C,C12A7328-F81F-11D2-BA4B-00A0C93EC93B", filesystem: vfat, size: 8M}
      - {name: boot-a, type: "0C,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", size: 8M}
      - {name: boot-b, type: "0C,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", size: 8M}
      - {name: slot-state, type: 33DEB6F2-752F-574C-BB05-38266357DEAF, size: 1M}
""" + SLOTS + """\
x-imagekit:
  bootloader: piboot
  hybrid-mbr: [boot, boot-a, boot-b]
  slot-files: [config.txt, start.elf, start4.elf]
  cmdline: console=ttyS1,115200 panic=10
""" + PARTS,
    own={"config.txt": b"arm_64bit=1\nkernel=Image\ninitramfs initrd followkernel\nupstream_kernel=1\n",
         "start.elf": noise("start", 4000), "start4.elf": noise("start4", 4000)},
    kernel={"Image": noise("image", 1_000_001), "initrd": noise("initrd", 70_000), "modules/6.12/a.ko": b"module",
            **{f"dtbs/broadcom/{name}": raw for name, raw in PI_TREES.items()}})
