"""A machine in QEMU with USB: Debian's full kernel, the packed base with its own udev and Python, this tree's imagekit.

The cloud kernel that the PC's model has knows no USB. What the base lacks, which is what only people see (click, rich)
and pyudev, comes from this project's environment, as far as it is plain Python.
"""

from __future__ import annotations

import json
import lzma
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagekit.errors import HostError
from imagekit.packages.cpio import CpioEntry, encode_cpio
from imagekit.packages.erofs import Erofs
from imagekit.packages.uki import decode_uki
from imagekit.units import MIB
from tests.boot.stock import Stock, missing_tool
from tests.boot.uboot_rig import open_part
from tests.patience import WALL_S
from tests.tools.conftest import ADMIN_PATH
from tests.unit.flash.conftest import write_image

EMULATOR = "qemu-system-x86_64"
SCRIPT = Path(__file__).parent / "guest.sh"
PLAIN_PYTHON = ("imagekit", "click", "rich", "pygments", "markdown_it", "mdurl", "pyudev")
MODULES = ("drivers/usb/", "drivers/scsi/s", "drivers/virtio/", "drivers/block/virtio_blk", "fs/erofs/", "fs/netfs/",
           "crypto/", "lib/", "arch/x86/crypto/", "arch/x86/lib/", "block/")
NEEDED_FIRST = ("virtio_pci", "virtio_blk", "erofs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """What the machine starts with."""

    kernel: Path
    initrd: Path
    base: Path
    tools: Path
    image: Path


def make_guest(stock: Stock, folder: Path) -> Guest:
    """Modules, tools and image, packed."""
    for name in (EMULATOR, "depmod", "modprobe", "mkfs.erofs"):
        if shutil.which(name, path=ADMIN_PATH) is None:
            missing_tool(f"{name} is not installed")
    root, tree = folder / "kernel", folder / "tree"
    _unpack_kernel(root)
    modules, = (root / "usr/lib/modules").iterdir()
    (root / "lib").symlink_to("usr/lib")
    _ran("depmod", "-b", root, modules.name)
    (tree / "python").mkdir(parents=True)
    for name in PLAIN_PYTHON:
        spec = find_spec(name)
        assert spec is not None and spec.submodule_search_locations
        shutil.copytree(spec.submodule_search_locations[0], tree / "python" / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "modules").mkdir()
    modules.rename(tree / "modules" / modules.name)
    (root / "usr/lib/modules" / modules.name).symlink_to(tree / "modules" / modules.name)
    write_image(tree / "disk.img")
    shutil.copyfile(SCRIPT, tree / "guest.sh")
    _ran("mkfs.erofs", "--quiet", "-T0", folder / "tools.img", tree)
    (folder / "initrd").write_bytes(_initrd(stock, root, modules.name))
    kernel, = (root / "boot").glob("vmlinuz-*")
    return Guest(kernel=kernel, initrd=folder / "initrd", base=stock.base, tools=folder / "tools.img",
                 image=tree / "disk.img")


def _ran(name: str, *args: str | Path) -> str:
    found = shutil.which(name, path=ADMIN_PATH)
    assert found is not None
    return subprocess.run([found, *args], check=True, text=True, capture_output=True).stdout


def _unpack_kernel(root: Path) -> None:
    def wanted(name: str) -> bool:
        _, inside, path = name.partition("/kernel/")
        if not inside:
            return "boot/vmlinuz" in name or "/modules." in name
        return path.startswith(MODULES)

    try:
        open_part("pc-kernel-generic", "linux-image-6", root, only=wanted)
    except HostError as error:
        missing_tool(error.message)


def _initrd(stock: Stock, root: Path, version: str) -> bytes:
    """The packed kernel's own for its busybox, behind it what is ours: a later /init takes the place of an earlier."""
    with stock.kernel.open("rb") as stream:
        theirs = decode_uki(Erofs(stream).read("kernel.efi", limit=128 * MIB), name="kernel.efi").section(".initrd")
    paths: dict[str, Path] = {}
    for name in NEEDED_FIRST:
        told = _ran("modprobe", "-d", root, "-S", version, "--show-depends", name)
        paths |= {path.name.partition(".")[0]: path for line in told.splitlines()
                  if line.startswith("insmod ") for path in [Path(line.split()[1])]}
    entries = [CpioEntry(path="init", mode=0o755, content=SCRIPT.read_bytes()),
               CpioEntry(path="guest/order", content="".join(f"{name}\n" for name in paths).encode())]
    entries += [CpioEntry(path=f"guest/{name}", content=lzma.decompress(path.read_bytes()))
                for name, path in paths.items()]
    return theirs + bytes(-len(theirs) % 4) + encode_cpio(entries)


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


class Machine:
    """A running guest. Lines of its console come one by one, to whoever waits for them."""

    def __init__(self, running: subprocess.Popen[str], qmp: Qmp) -> None:
        assert running.stdout is not None
        self._lines, self._qmp = running.stdout, qmp
        self.console: list[str] = []

    def plug(self, serial: str) -> None:
        """The disk is plugged in."""
        self._qmp.do("device_add", driver="usb-storage", id="card", bus="xhci.0", port="1", drive="stick",
                     serial=serial, removable=True)

    def write_slowly(self, bytes_s: int) -> None:
        """The disk takes no more than so many bytes a second."""
        self._qmp.do("block_set_io_throttle", device="stick", bps=0, bps_rd=0, bps_wr=bytes_s, iops=0, iops_rd=0,
                     iops_wr=0)

    def line(self) -> str:
        said = self._lines.readline()
        self.console.append(said.strip())
        assert said, "\n".join(self.console[-60:])  # it has ended
        return self.console[-1]

    def until(self, words: str) -> None:
        while words not in self.line():
            pass

    def outcome(self, name: str, *, pulled_at: str = "") -> tuple[int, str]:
        """How a command of guest.sh ended, and what it wrote; `pulled_at` are words at which the disk is pulled out."""
        self.until(f"guest: begin {name}")
        said: list[str] = []
        while not (line := self.line()).startswith(f"guest: end {name} "):
            said.append(line)
            if pulled_at and pulled_at in line:
                self._qmp.do("device_del", id="card")
                pulled_at = ""
        return int(line.split()[-1]), "\n".join(said)

    def listed(self, name: str) -> dict[str, dict[str, Any]]:
        """What `flash list` found, by path."""
        status, said = self.outcome(name)
        assert status == 0, said
        return {item["path"]: item for item in json.loads(said)["devices"]}


@contextmanager
def started(guest: Guest, card: Path) -> Iterator[Machine]:
    """The machine with a USB disk that is not plugged in yet: the drive `stick`."""
    ours, theirs = socket.socketpair()
    with closing(ours), theirs:
        running = subprocess.Popen(
            [EMULATOR, "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "2",
             "-m", "768M", "-display", "none", "-nic", "none", "-no-reboot", "-serial", "stdio",
             "-chardev", f"socket,id=qmp,fd={theirs.fileno()}", "-mon", "chardev=qmp,mode=control",
             "-kernel", str(guest.kernel), "-initrd", str(guest.initrd), "-append", "console=ttyS0 quiet panic=-1",
             "-drive", f"if=virtio,format=raw,readonly=on,file={guest.base}",
             "-drive", f"if=virtio,format=raw,readonly=on,file={guest.tools}",
             "-device", "qemu-xhci,id=xhci", "-drive", f"if=none,id=stick,format=raw,file={card}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            pass_fds=[theirs.fileno()])
        clock = threading.Timer(WALL_S, running.kill)
        clock.start()
        try:
            yield Machine(running, Qmp(ours))
        finally:
            clock.cancel()
            running.kill()
            running.wait()
