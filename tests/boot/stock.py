"""What boot tests are made from: the packages and images of one session, and packages that differ on purpose."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from imagekit.boot.entries import ENTRY_FOLDER, encode_entry, kernel_path, with_version
from imagekit.boot.slotstate import Slot, begin_boot, mark_healthy
from imagekit.cli.emulators import tools_for
from imagekit.errors import ExitCode, HostError
from imagekit.host.cache import Cache, default_cache_folder
from imagekit.host.ports import Progress, Tools
from imagekit.packages.erofs import Erofs
from imagekit.qemu.machine import MACHINES, find_firmware, load_machine
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_piboot import install_piboot, name_slot
from imagekit.qemu.surgery_uboot import install_uboot, set_slot_files, slot_files
from imagekit.qemu.workbench import copy_sparse
from imagekit.testing.documents import Brand
from tests.boot.boards import ROOT as ROOT
from tests.boot.boards import Board, Counts

OTHER_CONFIG = b"# another revision\n"
OTHER_STARTUP = b"@echo -off\r\n# another edition\r\nreset\r\n"
SIGNED_AT = "1767225600"  # 2026-01-01, the time of every signature: the images are the same wherever they are made


def missing_tool(what: str) -> NoReturn:
    """At home a missing program skips the test, in CI it fails it."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def imagekit(*args: str | Path, data: Path) -> subprocess.CompletedProcess[str]:
    """Run the program of this tree with a data folder of its own."""
    env = {"SOURCE_DATE_EPOCH": SIGNED_AT, **os.environ, "XDG_DATA_HOME": str(data)}
    return subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], cwd=ROOT, env=env, text=True,
                          capture_output=True, check=False)


def done(*args: str | Path, data: Path) -> None:
    """Run it; it must succeed. Raises: HostError: this machine lacks something."""
    ended = imagekit(*args, data=data)
    if ended.returncode == ExitCode.HOST:
        raise HostError(ended.stderr.strip())
    assert ended.returncode == 0, ended.stderr


class Silence:
    """A progress that nobody watches."""

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        """Nothing."""

    def advance(self, amount: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


def locked_tools() -> Tools:
    """mkfs.erofs as the program itself uses it."""
    from imagekit.build.parts import Parts, Policy
    from imagekit.build.project import load_lock
    from imagekit.build.recipes import load_recipe

    silence: Progress = Silence()
    parts = Parts(Cache(default_cache_folder(os.environ)), load_lock(), policy=Policy(), environment=os.environ,
                  progress=silence)
    return parts.tools(load_recipe("tools").recipe)


@dataclass(kw_only=True)
class Stock:
    """One session's packages and images of a board."""

    board: Board
    folder: Path
    data: Path
    trust: Path
    packages: Path
    image: Path

    @property
    def base(self) -> Path:
        return self.packages / f"{self.board.base}_1.snap"

    @property
    def gadget(self) -> Path:
        return self.packages / f"{self.board.gadget}_1.snap"

    @property
    def kernel(self) -> Path:
        return self.packages / f"{self.board.kernel}_1.snap"

    @cached_property
    def made(self) -> Mapping[str, Any]:
        """What the manifest says of the image."""
        made: dict[str, Any] = json.loads((self.image.parent / "manifest.json").read_text())["image"]
        return made

    @property
    def digest(self) -> str:
        return str(self.made["digest"])

    @cached_property
    def sick_base(self) -> Path:
        """A valid base whose health check says no."""
        return self.variant(self.base, "sick", {"usr/lib/imagekit/health.d/50-never": b"#!/bin/sh\nexit 1\n"})

    @cached_property
    def hanging_base(self) -> Path:
        """A valid base that hangs as soon as it is given the machine."""
        return self.variant(self.base, "hanging", {"usr/lib/systemd/systemd": b"#!/bin/sh\nexec sleep infinity\n"})

    @cached_property
    def other_base(self) -> Path:
        """A good base that is not the model's."""
        return self.variant(self.base, "other", {"usr/share/other": b"another revision\n"})

    @cached_property
    def other_kernel(self) -> Path:
        """A good kernel package that is not the model's."""
        return self.variant(self.kernel, "other", {"meta/other": b"another revision\n"})

    @cached_property
    def other_gadget(self) -> Path:
        """A gadget of the next edition, with another startup.nsh."""
        with self.gadget.open("rb") as stream:
            text = Erofs(stream).read("meta/gadget.yaml").decode()
        return self.variant(self.gadget, "other", {
            "meta/gadget.yaml": text.replace("edition: 1", "edition: 2", 1).encode(), "startup.nsh": OTHER_STARTUP})

    @property
    def other_config(self) -> Path:
        """A gadget for the Raspberry Pi's firmware with another config.txt."""
        with self.gadget.open("rb") as stream:
            config = Erofs(stream).read("config.txt")
        return self.variant(self.gadget, "other", {"config.txt": config + OTHER_CONFIG})

    @cached_property
    def both(self) -> Path:
        """The image with the same packages in slot b, both slots known to be good, slot a the one to boot."""
        path = self.folder / "both.img"
        copy_sparse(self.image, path)
        with Disk(path) as disk:
            self.filler(disk)(Slot.B, base=self.base, kernel=self.kernel, tries=None)
            rank_first(disk, Slot.A, entries=self.board.counts is Counts.SYSTEMD_BOOT)
            if self.board.counts is Counts.PIBOOT:
                name_slot(disk, Slot.A)
        return path

    def filler(self, disk: Disk) -> Callable[..., object]:
        """What fills a slot of such a disk."""
        if self.board.counts is Counts.PIBOOT:
            return partial(install_piboot, disk)
        return partial(install_uboot, disk) if self.board.uboot else disk.install

    def take_kernel(self, disk: Disk, slot: Slot) -> None:
        """Take a slot's kernel away; under the Pi's firmware all of its boot files."""
        if self.board.counts is Counts.PIBOOT:
            disk.write(f"boot-{slot.value}", 0, bytes(1 << 20))
        elif self.board.uboot:
            files = slot_files(disk, slot)
            set_slot_files(disk, slot, {name: content for name, content in files.items() if "mage" not in name})
        else:
            files = disk.esp_files()
            del files[kernel_path(slot)]
            disk.set_esp_files(files)

    def variant(self, package: Path, name: str, files: Mapping[str, bytes]) -> Path:
        """The package with these files in it, by a tar that keeps owners and modes, and mkfs.erofs."""
        archive, made = self.folder / f"{name}.tar", self.folder / f"{package.stem}-{name}.snap"
        with package.open("rb") as stream, tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
            write_tar(Erofs(stream, name=package.name), tar, without=files)
            for path, content in files.items():
                member = tarfile.TarInfo(f"./{path}")
                member.mode, member.size = 0o755, len(content)
                tar.addfile(member, io.BytesIO(content))
        locked_tools().run("mkfs.erofs", "--tar=f", "-T0", "-U", "11111111-2222-3333-4444-555555555555", made, archive)
        archive.unlink()
        return made


def sign_revision(stock: Stock, package: Path, revision: int, *, name: str = "") -> Path:
    """A package as a further revision of `name`, or of the board's base, signed, in a folder with its assertions."""
    path = stock.folder / f"revision-{revision}" / f"{name or stock.board.base}_{revision}.snap"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.symlink_to(package)
        done("sign", path, "-k", "acme", "--trust", stock.trust, data=stock.data)
    return path


StockOf = Callable[[Board], Stock]


def tools_of(board: Board) -> Tools:
    """The programs that the board's machine is run by. Raises: HostError: there is no QEMU that has it."""
    return tools_for(load_machine(board.name, [MACHINES]), told=Silence())


def make_stock(board: Board, folder: Path) -> Stock:
    """Pack, sign and build, as a user would. Raises: HostError: this machine lacks something."""
    machine = load_machine(board.name, [MACHINES])
    tools = tools_of(board)
    for name in (machine.emulator, "qemu-img"):
        tools.find(name)
    find_firmware(machine)
    return build_stock(board, folder)


def build_stock(board: Board, folder: Path) -> Stock:
    """The same for a board that QEMU does not boot."""
    data, trust, packages = folder / "data", folder / "trust", folder / "packages"
    trust.mkdir(parents=True)
    for assertion in Brand("acme").roots:
        (trust / f"acme.{assertion.type}").write_bytes(assertion.encode())
    done("key", "import", ROOT / "tests/keys/TEST-ONLY-brand.pem", "--name", "acme", data=data)
    done("pack", board.kernel, board.base, board.gadget, "-o", packages, data=data)
    done("sign", *sorted(packages.glob("*.snap")), "-k", "acme", "--trust", trust, data=data)
    model = folder / f"{board.model}.model"
    done("sign", f"models/{board.model}.yaml", "-k", "acme", "-o", model, "--trust", trust, data=data)
    done("build", model, "--packages", packages, "-o", folder / "out", "--trust", trust, data=data)
    return Stock(board=board, folder=folder, data=data, trust=trust, packages=packages,
                 image=folder / "out" / f"{board.model}.img")


def write_tar(package: Erofs, tar: tarfile.TarFile, *, without: Collection[str]) -> None:
    """Every other file of a package into an archive."""
    kinds = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFREG: tarfile.REGTYPE, stat.S_IFLNK: tarfile.SYMTYPE,
             stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFIFO: tarfile.FIFOTYPE}
    root = tarfile.TarInfo("./")
    root.type, root.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(root)
    for entry in package.walk():
        inode = entry.inode
        if entry.path in without:
            continue
        member = tarfile.TarInfo(f"./{entry.path}")
        member.type = kinds[stat.S_IFMT(inode.mode)]
        member.mode, member.uid, member.gid = stat.S_IMODE(inode.mode), inode.uid, inode.gid
        if inode.is_link:
            member.linkname = package.readlink(entry.path)
        if inode.is_file:
            content = package.read(entry.path, limit=1 << 28)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        else:
            tar.addfile(member)


def rank_first(disk: Disk, slot: Slot, *, entries: bool = True) -> None:
    """Make a slot the one to boot next, in the record, and in the loader's entries where it has `entries`."""
    if entries:
        files, known = disk.esp_files(), disk.entries()
        name, entry = known[slot]
        first = max(version.version for _, version in known.values()) + 1
        files[f"{ENTRY_FOLDER}/{name}"] = encode_entry(with_version(entry, first))
        disk.set_esp_files(files)
    if (state := disk.state) and state.slot is not slot:
        disk.set_state(mark_healthy(begin_boot(state, slot).record))
