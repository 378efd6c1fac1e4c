"""Machines in QEMU that imagekit runs in: Debian's kernel, a packed base with its own udev and Python, this tree.

What the base lacks, which is what only people see (click, rich) and what finds boards (pyudev, serial, usb, yaml),
comes from this project's environment, as far as it is plain Python; programs and libraries come from locked packages.
"""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagekit.errors import HostError
from imagekit.packages.cpio import CpioEntry, encode_cpio
from tests.boot.stock import missing_tool
from tests.boot.uboot_rig import open_part
from tests.tools.conftest import ADMIN_PATH

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "guest.sh"
PLAIN_PYTHON = ("imagekit", "click", "rich", "pygments", "markdown_it", "mdurl", "pyudev", "serial", "usb",
                "yaml")


def need_tools(*names: str) -> None:
    """Skips at home, fails in CI."""
    for name in names:
        if shutil.which(name, path=ADMIN_PATH) is None:
            missing_tool(f"{name} is not installed")


def ran(name: str, *args: str | Path) -> str:
    """What a program of the system says."""
    found = shutil.which(name, path=ADMIN_PATH)
    assert found is not None
    return subprocess.run([found, *args], check=True, text=True, capture_output=True).stdout


def unpack_kernel(recipe: str, root: Path, *, modules: tuple[str, ...], more: tuple[str, ...] = ()) -> str:
    """The kernel of a recipe, with some of its modules; which version it is. `more` are ends of other files' names."""
    def wanted(name: str) -> bool:
        _, inside, path = name.partition("/kernel/")
        if not inside:
            return "boot/vmlinuz" in name or "/modules." in name or name.endswith(more)
        return path.startswith(modules)

    try:
        open_part(recipe, "linux-image-6", root, only=wanted)
    except HostError as error:
        missing_tool(error.message)
    found, = (root / "usr/lib/modules").iterdir()
    (root / "lib").symlink_to("usr/lib")
    ran("depmod", "-b", root, found.name)
    return found.name


def put_tools(tree: Path, steps: str) -> None:
    """Fill a folder with this tree's imagekit, and what the guest does; `modules` is left empty."""
    (tree / "python").mkdir(parents=True)
    for name in PLAIN_PYTHON:
        spec = find_spec(name)
        assert spec is not None and spec.submodule_search_locations
        shutil.copytree(spec.submodule_search_locations[0], tree / "python" / name,
                        ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "modules").mkdir()
    shutil.copyfile(SCRIPT, tree / "guest.sh")
    shutil.copyfile(FOLDER / steps, tree / "steps.sh")


def pack_tools(tree: Path, image: Path) -> None:
    ran("mkfs.erofs", "--quiet", "-T0", image, tree)


def initrd(root: Path, version: str, *, first: Iterable[str], disks: tuple[str, str],
           more: Mapping[str, bytes] | None = None) -> bytes:
    """An archive with `/init`, the modules that it loads `first`, what it mounts (base and tools), and `more` files."""
    paths: dict[str, Path] = {}
    for name in first:
        told = ran("modprobe", "-d", root, "-S", version, "--show-depends", name)
        paths |= {path.name.partition(".")[0]: path for line in told.splitlines()
                  if line.startswith("insmod ") for path in [Path(line.split()[1])]}
    entries = [CpioEntry(path="init", mode=0o755, content=SCRIPT.read_bytes()),
               CpioEntry(path="guest/order", content="".join(f"{name}\n" for name in paths).encode()),
               CpioEntry(path="guest/disks", content=f"{' '.join(disks)}\n".encode())]
    entries += [CpioEntry(path=f"guest/{name}", content=lzma.decompress(path.read_bytes()))
                for name, path in paths.items()]
    entries += [CpioEntry(path=path, mode=0o755, content=content) for path, content in (more or {}).items()]
    return encode_cpio(entries)


class Guest:
    """A running guest. Lines of its console come one by one, to whoever waits for them."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        assert running.stdout is not None
        self._lines = running.stdout
        self.console: list[str] = []

    def line(self) -> str:
        said = self._lines.readline()
        self.console.append(said.strip())
        assert said, self.tail  # it has ended
        return self.console[-1]

    def until(self, words: str) -> None:
        while words not in self.line():
            pass

    def heard(self, line: str) -> None:
        """A line of a command's output has come."""

    def outcome(self, name: str) -> tuple[int, str]:
        """How a command of the steps ended, and what it wrote."""
        self.until(f"guest: begin {name}")
        said: list[str] = []
        while not (line := self.line()).startswith(f"guest: end {name} "):
            if not line.startswith("guest: said: "):
                said.append(line)
                self.heard(line)
        return int(line.split()[-1]), "\n".join(said)

    @property
    def tail(self) -> str:
        """The end of the console, with what commands wrote to stderr."""
        return "\n".join(self.console[-60:])

    def listed(self, name: str) -> dict[str, dict[str, Any]]:
        """What `flash list` found, by path."""
        status, said = self.outcome(name)
        assert status == 0, self.tail
        return {item["path"]: item for item in json.loads(said)["devices"]}


@contextmanager
def running(argv: Sequence[str], *, wall_s: float, pass_fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[str]]:
    """An emulator, whose standard output is the console; ended after `wall_s` seconds, or with the block."""
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", pass_fds=pass_fds)
    clock = threading.Timer(wall_s, process.kill)
    clock.start()
    try:
        yield process
    finally:
        clock.cancel()
        process.kill()
        process.wait()
