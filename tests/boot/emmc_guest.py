"""A machine in QEMU with an eMMC and its boot partitions: Debian's armhf kernel and base, this tree's imagekit.

The AST2600's board is the only one of QEMU 10 that has an eMMC and that Debian has a kernel for. It has no virtio: base
and tools are files in the initrd. How the eMMC lies in its file: boot0, boot1, user area.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from imagekit.errors import HostError
from imagekit.qemu.machine import MACHINES, load_machine
from imagekit.units import MIB
from tests.boot import guests
from tests.boot.stock import Silence, done, missing_tool, tools_for
from tests.boot.uboot_rig import open_part
from tests.patience import WALL_S

EMULATOR, LEAST_QEMU = "qemu-system-arm", (9, 1)  # the first with an eMMC
BASE, KERNEL, INITRD = "debian-13-armhf", "imx6-kernel", "initrd-armhf"
MODULES = ("drivers/mmc/host/sdhci", "drivers/block/loop", "fs/erofs/", "fs/netfs/", "crypto/", "lib/",
           "arch/arm/crypto/")
NEEDED_FIRST = ("loop", "erofs", "sdhci_of_aspeed")
TREE = "aspeed-ast2600-evb.dtb"
EMMC_SIZE, BOOT_SIZE = 64 * MIB, 1 * MIB
DRIVE = 2  # behind those of two SD cards


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the machine starts with."""

    emulator: tuple[str, ...]
    kernel: Path
    tree: Path
    initrd: Path


def make_guest(folder: Path, *, boot: bytes) -> Parts:
    """Base, modules and tools, packed; `boot` is the content of an image that the guest has."""
    guests.need_tools("depmod", "modprobe", "mkfs.erofs")
    root, files = folder / "kernel", folder / "tree"
    try:
        emulator = tools_for(replace(load_machine("cubieboard", [MACHINES]), least_qemu=LEAST_QEMU), told=Silence())
        done("pack", BASE, "-o", folder / "packages", data=folder / "data")
        open_part(INITRD, "busybox-static", root, only=lambda name: name.endswith("bin/busybox"))
        open_part("guest-armhf", "mmc-utils", files, only=lambda name: name.endswith("bin/mmc"))
    except HostError as error:
        missing_tool(error.message)
    version = guests.unpack_kernel(KERNEL, root, modules=MODULES, more=(TREE,))
    guests.put_tools(files, "emmc_steps.sh")
    (files / "boot.img").write_bytes(boot)
    guests.pack_tools(files, folder / "tools.img")
    more = {"bin/busybox": root / "usr/bin/busybox", "guest/tools.img": folder / "tools.img",
            "guest/base.img": folder / f"packages/{BASE}_1.snap"}
    (folder / "initrd").write_bytes(guests.initrd(
        root, version, first=NEEDED_FIRST, disks=("/guest/base.img", "/guest/tools.img"),
        more={name: path.read_bytes() for name, path in more.items()}))
    kernel, = (root / "boot").glob("vmlinuz-*")
    tree, = root.rglob(TREE)
    return Parts(emulator=tuple(emulator.find(EMULATOR)), kernel=kernel, tree=tree, initrd=folder / "initrd")


@contextmanager
def started(parts: Parts, emmc: Path) -> Iterator[guests.Guest]:
    """The machine. Its eMMC is set to boot from boot0."""
    argv = [*parts.emulator, "-no-user-config", "-machine", "ast2600-evb,boot-emmc=on", "-display", "none", "-nic",
            "none", "-monitor", "none", "-audiodev", "none,id=none", "-no-reboot", "-serial", "stdio",
            "-kernel", str(parts.kernel), "-dtb", str(parts.tree), "-initrd", str(parts.initrd),
            "-append", "console=ttyS4,115200n8 quiet panic=-1",
            "-drive", f"if=sd,index={DRIVE},format=raw,file={emmc}"]
    with guests.running(argv, wall_s=2 * WALL_S) as process:
        yield guests.Guest(process)
