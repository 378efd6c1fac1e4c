"""A machine in QEMU with USB: Debian's full kernel, the PC's packed base, this tree's imagekit.

The cloud kernel that the PC's model has knows no USB.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.build.project import GADGETS
from imagekit.cli.doctor_boards import rom_ids, udev_rules
from imagekit.errors import HostError
from imagekit.packages.erofs import Erofs
from imagekit.packages.uki import decode_uki
from imagekit.units import MIB
from tests.boot import guests
from tests.boot.stock import Stock, missing_tool
from tests.boot.uboot_rig import open_part
from tests.boot.usbredir import UsbPort
from tests.patience import WALL_S
from tests.unit.flash.conftest import write_image

EMULATOR = "qemu-system-x86_64"
MODULES = ("drivers/usb/", "drivers/hid/hid", "drivers/hid/usbhid/", "drivers/scsi/s", "drivers/virtio/",
           "drivers/block/virtio_blk", "fs/erofs/", "fs/netfs/", "crypto/", "lib/", "arch/x86/crypto/", "arch/x86/lib/",
           "block/")
BROUGHT = {"libusb-1.0-0": "usr/lib/", "libstdc++6": "usr/lib/", "libtinyxml2-11": "usr/lib/", "uuu": "usr/bin/",
           **{f"python3-{name}": "usr/lib/python3/" for name in (
               "jsonschema", "jsonschema-specifications", "referencing", "attr", "rpds-py")}}
RECOVERED, LOADER = "sabrelite", "mx6qsabrelite/u-boot-dtb.imx"
NEEDED_FIRST = ("virtio_pci", "virtio_blk", "erofs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the machine starts with."""

    kernel: Path
    initrd: Path
    base: Path
    tools: Path
    image: Path
    loader: Path


def make_guest(stock: Stock, folder: Path) -> Parts:
    """Modules, tools and image, packed."""
    guests.need_tools(EMULATOR, "depmod", "modprobe", "mkfs.erofs")
    root, tree = folder / "kernel", folder / "tree"
    version = guests.unpack_kernel("pc-kernel-generic", root, modules=MODULES)
    guests.put_tools(tree, "usb_steps.sh")
    modules = root / "usr/lib/modules" / version
    modules.rename(tree / "modules" / version)
    modules.symlink_to(tree / "modules" / version)
    write_image(tree / "disk.img")
    try:
        for package, files in BROUGHT.items():
            open_part("guest", package, tree, only=lambda name, files=files: name.startswith(files))
        open_part(RECOVERED, "u-boot-imx", folder, only=lambda name: name.endswith(LOADER))
    except HostError as error:
        missing_tool(error.message)
    loader, = folder.rglob(Path(LOADER).name)
    loader.rename(tree / "loader.imx")
    shutil.copytree(GADGETS / RECOVERED, tree / "python/gadgets" / RECOVERED)
    (tree / "70-imagekit.rules").write_text(udev_rules(rom_ids()))
    guests.pack_tools(tree, folder / "tools.img")
    (folder / "initrd").write_bytes(_initrd(stock, root, version))
    kernel, = (root / "boot").glob("vmlinuz-*")
    return Parts(kernel=kernel, initrd=folder / "initrd", base=stock.base, tools=folder / "tools.img",
                 image=tree / "disk.img", loader=tree / "loader.imx")


def _initrd(stock: Stock, root: Path, version: str) -> bytes:
    """The packed kernel's own for its busybox, behind it what is ours: a later /init takes the place of an earlier."""
    with stock.kernel.open("rb") as stream:
        theirs = decode_uki(Erofs(stream).read("kernel.efi", limit=128 * MIB), name="kernel.efi").section(".initrd")
    ours = guests.initrd(root, version, first=NEEDED_FIRST, disks=("/dev/vda", "/dev/vdb"))
    return theirs + bytes(-len(theirs) % 4) + ours


class Qmp:
    """QEMU's monitor, as far as it is needed here."""

    def __init__(self, link: socket.socket) -> None:
        self._stream = link.makefile("rw")
        self._stream.readline()
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> None:
        """Run a command. Events are passed over."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while not {"return", "error"} & (answer := json.loads(self._stream.readline())).keys():
            pass
        assert "return" in answer, answer


class Machine(guests.Guest):
    """A running guest, into which a USB disk and boards are plugged."""

    def __init__(self, running: subprocess.Popen[str], qmp: Qmp, port: UsbPort) -> None:
        super().__init__(running)
        self._qmp, self._pulled_at, self.port = qmp, "", port

    def plug(self, serial: str) -> None:
        """The disk is plugged in."""
        self._qmp.do("device_add", driver="usb-storage", id="card", bus="xhci.0", port="1", drive="stick",
                     serial=serial, removable=True)

    def write_slowly(self, bytes_s: int) -> None:
        """The disk takes no more than so many bytes a second."""
        self._qmp.do("block_set_io_throttle", device="stick", bps=0, bps_rd=0, bps_wr=bytes_s, iops=0, iops_rd=0,
                     iops_wr=0)

    def pull_at(self, words: str) -> None:
        """The disk is pulled out as soon as a command says these words."""
        self._pulled_at = words

    def heard(self, line: str) -> None:
        if self._pulled_at and self._pulled_at in line:
            self._qmp.do("stop")  # what is under way ends first: QEMU 10 was once gone without a word here
            self._qmp.do("device_del", id="card")
            self._qmp.do("cont")
            self._pulled_at = ""


@contextmanager
def started(guest: Parts, card: Path) -> Iterator[Machine]:
    """The machine with a USB disk that is not plugged in yet, the drive `stick`, and a port for boards."""
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    # One processor: emulated ones that each have a thread were once seen to trip over code that Linux patches.
    argv = [EMULATOR, "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1",
            "-m", "768M", "-display", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
            "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
            "-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", "console=ttyS0 quiet panic=-1",
            "-drive", f"if=virtio,format=raw,readonly=on,file={guest.base}",
            "-drive", f"if=virtio,format=raw,readonly=on,file={guest.tools}",
            "-device", "qemu-xhci,id=xhci", "-drive", f"if=none,id=stick,format=raw,file={card}",
            "-chardev", f"socket,id=boards,fd={far.fileno()}", "-device", "usb-redir,chardev=boards,bus=xhci.0,port=2"]
    with closing(ours), theirs, near, far, closing(UsbPort(near)) as port, guests.running(
            argv, wall_s=2 * WALL_S, pass_fds=[theirs.fileno(), far.fileno()]) as process:
        far.close()  # the machine's end tells the port
        yield Machine(process, Qmp(ours), port)
