"""A device made of files, in the middle of its life: partitions, an ESP, what the initrd left, packages to offer.

Built from a real image of small packages; the loader and the initrd are their models. Nothing of the updater is
replaced but its programs (mount, systemctl) and what the kernel would say of device-mapper.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from imagekit.assertions import Assertion, Header, encode_stream, snap_id
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.build.run import Request, build
from imagekit.device import history
from imagekit.device.health import end_gadget_trial
from imagekit.device.install import Options, Outcome, install
from imagekit.device.machine import Machine
from imagekit.device.refresh import Refreshed, refresh
from imagekit.device.report import load_report
from imagekit.device.state import StatePartition
from imagekit.device.verity import VerityDevice
from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import GADGET, Silent, Workshop, kernel_image, noise
from tests.tools.conftest import require
from tests.tools.small_boards import PI_TREES, PIBOOT, UBOOT
from tests.tools.update_oracle import DiskState, boot_until_healthy

SYSTEMD_BOOT, U_BOOT, PI = "systemd-boot", "u-boot", "piboot"
LOADERS = (SYSTEMD_BOOT, U_BOOT, PI)
GADGET_LOADERS = (SYSTEMD_BOOT, U_BOOT)  # whose gadgets have boot files outside of the slots
ARCHITECTURES = {SYSTEMD_BOOT: "amd64", U_BOOT: "arm64", PI: "arm64"}
SMALL = {SYSTEMD_BOOT: GADGET.replace("size: 8M", "size: 3M").replace("size: 6M", "size: 3M").replace(
             "size: 40M", "size: 6M"),
         U_BOOT: UBOOT.gadget.replace("size: 8M", "size: 5M"), PI: PIBOOT.gadget.replace("size: 8M", "size: 5M")}
BOOT = {SYSTEMD_BOOT: "esp", U_BOOT: "boot", PI: "boot"}
PARTITIONS = ("slot-state", "esp", "boot", "boot-a", "boot-b", "base-a", "base-b", "kernel-a", "kernel-b", "seed")


@dataclass(kw_only=True)
class Maker:
    """Packages of one brand for devices of one loader; `data` is another size of their data partitions."""

    workshop: Workshop
    loader: str
    data: str = ""
    image: Path = field(init=False)

    def __post_init__(self) -> None:
        require("mkfs.erofs", "mke2fs")
        self.workshop.folder.mkdir(parents=True, exist_ok=True)
        self.gadget(1)
        self.kernel(1)
        self.base(1)

    def build(self, **headers: Header) -> Path:
        """The image of revision 1 of everything; `headers` change the model."""
        self.workshop.write_trust()
        model = self.workshop.model(architecture=ARCHITECTURES[self.loader], **headers)
        out = self.workshop.folder / "out"
        request = Request(model=model, packages=(self.workshop.packages,), trust=(self.workshop.trust,), epoch=None,
                          now=NOW)
        manifest = build(request, out, tools=LocalTools, cache=Cache(self.workshop.folder / "cache"),
                         progress=Silent())
        self.image = out / manifest.image.file
        return self.image

    def package(self, name: str, kind: str, files: Mapping[str, bytes], *, revision: int = 1,
                architecture: str | None = None) -> Path:
        arch = architecture or ARCHITECTURES[self.loader]
        yaml = f"name: {name}\nversion: '{revision}'\ntype: {kind}\narchitectures: [{arch}]\n"
        return self.workshop.package(name, kind, {"meta/snap.yaml": yaml.encode(), **files}, revision=revision)

    def gadget(self, revision: int, *, edition: int | None = None, change: Callable[[str], str] = str,
               files: Mapping[str, bytes] | None = None) -> Path:
        """A gadget whose boot files are its own, or `files`; `change` is made to its gadget.yaml."""
        update = f"update: {{edition: {edition or revision}}}"
        text = SMALL[self.loader].replace("\n        content:", f"\n        {update}\n        content:").replace(
            "vfat, size: 5M,\n", f"vfat, size: 5M, {update},\n", 1)
        if self.data:
            text = re.sub(r"(filesystem: ext4,?\s+size: )\w+", rf"\g<1>{self.data}", text)
        if files is None:
            files = pi_files(revision) if self.loader == PI else gadget_files(revision)
        return self.package("pc", "gadget", {"meta/gadget.yaml": change(text).encode(), **files}, revision=revision)

    def base(self, revision: int, *, size: int = 1_200_000, architecture: str | None = None) -> Path:
        return self.package("debian-13", "base", {"usr/bin/init": noise(f"base {revision}", size),
                                                  "usr/lib/os-release": b"ID=debian\n"}, revision=revision,
                            architecture=architecture)

    def kernel(self, revision: int, *, size: int = 900_000, initrd: int = 70_000, tree: int = 5000,
               more: Mapping[str, bytes] | None = None) -> Path:
        files = {"modules/6.12/a.ko": f"module {revision}".encode()}
        if self.loader == SYSTEMD_BOOT:
            files["kernel.efi"] = kernel_image(size, seed=f"kernel {revision}")
        elif self.loader == PI:
            files |= {"Image": noise(f"image {revision}", size), "initrd": noise(f"initrd {revision}", initrd),
                      **{f"dtbs/broadcom/{name}": noise(f"{name} {revision}", tree) for name in PI_TREES}}
        else:
            files |= {"Image": noise(f"image {revision}", size), "initrd": noise(f"initrd {revision}", initrd),
                      "dtbs/vendor/board.dtb": noise(f"tree {revision}", tree),
                      "dtbs/vendor/other.dtb": noise(f"other {revision}", tree)}
        return self.package("pc-kernel", "kernel", {**files, **(more or {})}, revision=revision)

    def stick(self, folder: Path, *packages: Path, packed: bool = False, more: tuple[Assertion, ...] = ()) -> Path:
        """A folder that offers these packages with their assertions."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in packages:
            found = path.with_name(path.name + ".zst") if packed else path
            shutil.copyfile(found, folder / found.name)
            shutil.copyfile(path.with_suffix(".assert"), folder / path.with_suffix(".assert").name)
        if more:
            (folder / "more.assert").write_bytes(encode_stream(more))
        return folder


def gadget_files(revision: int) -> dict[str, bytes]:
    """The boot files of a revision, each of another length."""
    names = ("systemd-bootx64.efi", "loader.conf", "startup.nsh", "u-boot.bin")
    return {name: b"MZ" + noise(f"{name} {revision}", 3000 * revision + 100) for name in names}


def pi_files(revision: int) -> dict[str, bytes]:
    """What a revision's slots have of the gadget, where the Raspberry Pi's firmware boots."""
    return {"config.txt": PIBOOT.own["config.txt"] + f"# revision {revision}\n".encode(),
            **{name: noise(f"{name} {revision}", 4000 + 700 * revision) for name in ("start.elf", "start4.elf")}}


def make(folder: Path, loader: str, *, brand: Brand | None = None, data: str = "") -> Maker:
    return Maker(workshop=Workshop(folder=folder, brand=brand or Brand("acme")), loader=loader, data=data)


class Programs:
    """Remembers what was run."""

    def __init__(self, mounting: Callable[[str], None]) -> None:
        self.ran: list[tuple[str, ...]] = []
        self.mounting = mounting

    def run(self, *command: str) -> str:
        self.ran.append(command)
        if command[0] == "umount" or command[:2] == ("mount", "-t"):
            self.mounting(command[0])
        return ""


class Rig:
    """One device. Its disk is a folder of partitions, `esp` a folder of files.

    `kept` is a folder with what such a device had besides when it was switched off: `efi` and `var`.
    """

    def __init__(self, folder: Path, image: Path, loader: str, *, kept: Path | None = None) -> None:
        self.folder, self.loader = folder, loader
        self.programs = Programs(self._mounting)
        self.clock = NOW
        self.said: list[str] = []
        for name in ("run", "dev", "var/lib/imagekit", "package", "efi", "sys/block/vda"):
            (folder / name).mkdir(parents=True)
        with image.open("rb") as stream:
            self.table = gpt.decode(stream)
            for item in self.table.partitions:
                self._partition(item, stream.fileno())
            if loader != U_BOOT and kept is None:
                self._extract_esp(stream)
        for name in ("efi", "var"):
            if kept is not None and (kept / name).is_dir():
                shutil.copytree(kept / name, folder / name, dirs_exist_ok=True)
        (folder / "machine-id").write_text(f"{1:032x}\n")
        self.slot = Slot.A
        self.up()

    def _partition(self, item: gpt.Partition, image: int) -> None:
        path = self.folder / f"sys/block/vda/vda{item.index}"
        path.mkdir()
        (path / "uevent").write_text(f"DEVNAME=vda{item.index}\nPARTN={item.index}\nPARTNAME={item.name}\n")
        (path / "size").write_text(f"{item.size // 512}\n")
        with self.device(item.name).open("wb") as out:
            out.truncate(item.size)
            if item.name in PARTITIONS:
                for offset in range(0, item.size, 1 << 20):
                    chunk = os.pread(image, min(1 << 20, item.size - offset), item.start + offset)
                    if any(chunk):
                        out.seek(offset)
                        out.write(chunk)

    def _extract_esp(self, stream: object) -> None:
        found = self.table.find(BOOT[self.loader])
        assert found is not None
        volume = read_fat(stream, found.start, name=found.name)  # type: ignore[arg-type]
        for entry in volume.walk():
            target = self.folder / "efi" / entry.path
            if entry.is_dir:
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(volume.read(entry.path))

    def _mounting(self, command: str) -> None:
        """The ESP is a folder while it is mounted, and a partition while it is not."""
        state = self.disk_state()
        state.unmount() if command == "umount" else state.mount()
        self.take(state)

    def device(self, name: str) -> Path:
        found = self.table.find(name)
        assert found is not None, name
        return self.folder / f"dev/vda{found.index}"

    @property
    def state(self) -> SlotState | None:
        return StatePartition(device=self.device("slot-state")).load()

    # what the updater sees

    @property
    def machine(self) -> Machine:
        at = self.folder
        return Machine(
            run=at / "run", esp=at / "efi", sys=at / "sys", dev=at / "dev", proc=at / "proc", var=at / "var",
            base=at / "base", kernel=at / "kernel", package=at / "package", optional_units=at / "optional-units",
            hook_folders=(), repart=at / "repart.d", machine_id=at / "machine-id", programs=self.programs,
            verity=self._verity)

    def _verity(self, mount_point: Path) -> VerityDevice:
        part = mount_point.name
        path = self.device(f"{part}-{self.slot.value}")
        with path.open("rb") as stream:
            size = Erofs(stream).size
        return VerityDevice(path=path, size=size, root=self.roots[part], restarts=True)

    # what the loader, the initrd and the health check do

    def disk_state(self) -> DiskState:
        partitions = {name: self.device(name).read_bytes() for name in PARTITIONS
                      if name != "seed" and self.table.find(name) is not None}
        esp = self.folder / "efi"
        return DiskState(loader=self.loader, partitions=partitions, sick=frozenset(),
                         esp={str(path.relative_to(esp)): path.read_bytes() for path in sorted(esp.rglob("*"))
                              if path.is_file()})

    def take(self, state: DiskState) -> None:
        """Be the device with this disk."""
        for name, raw in state.partitions.items():
            self.device(name).write_bytes(raw)
        shutil.rmtree(self.folder / "efi")
        (self.folder / "efi").mkdir()
        for path, raw in state.esp.items():
            target = self.folder / "efi" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(raw)

    def up(self, *, sick: frozenset[tuple[str, int]] = frozenset()) -> Slot:
        """Power on until a slot is healthy. Every verdict is told to the updater, as the health check does."""
        state = self.disk_state()
        state.sick = frozenset(self._root_of(name, number) for name, number in sick)

        def verdict(slot: Slot, roots: tuple[str, str], healthy: bool) -> None:
            memory = history.load_history(self.machine)
            told = history.after_verdict(memory, slot=slot.value, roots=roots, healthy=healthy,
                                         reasons=() if healthy else ("hooks: pump is dry",), now="2026-06-01T00:00:00Z")
            if told != memory:
                history.save_history(self.machine, told)

        self.slot, roots = boot_until_healthy(state, verdict)
        self.roots = dict(zip(("base", "kernel"), roots, strict=True))
        self.take(state)
        self._report()
        end_gadget_trial(self.machine, load_report(self.machine.run), self.said.append)
        return self.slot

    revisions: Mapping[tuple[str, int], str] = {}  # verity roots, by package

    def _root_of(self, name: str, number: int) -> str:
        return self.revisions[name, number]

    def _report(self) -> None:
        (self.folder / "run/boot.json").write_text(json.dumps({
            "imagekit": 1, "slot": self.slot.value, "base_root": self.roots["base"],
            "kernel_root": self.roots["kernel"], "state_device": str(self.device("slot-state")), "generation": 1,
            "disk": "/dev/vda", "fallback": False, "degraded": False, "resets": True, "loader": self.loader,
            "boot_device": str(self.device(f"boot-{self.slot.value}")) if self.loader != SYSTEMD_BOOT else "",
            "uptime": {"initrd": 1.0, "verity": 1.0, "switch": 1.0}}))
        shutil.rmtree(self.folder / "package")
        with self.device(f"kernel-{self.slot.value}").open("rb") as stream:
            package = Erofs(stream)
            for entry in package.walk():
                if entry.inode.is_file:
                    target = self.folder / "package" / entry.path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(package.read(entry.path))

    # what a test does

    def refresh(self, *, check: bool = False, again: bool = False, unattended: bool = True) -> Refreshed:
        return refresh(self.machine, Options(check=check, again=again, unattended=unattended), self.said.append,
                       clock=lambda: self.clock)

    def install(self, *paths: Path, check: bool = False, again: bool = False, reboot: bool = True,
                unattended: bool = False) -> Outcome:
        return install(self.machine, paths, Options(check=check, again=again, reboot=reboot, unattended=unattended),
                       self.said.append, clock=lambda: self.clock)

    def pass_days(self, days: int) -> None:
        self.clock = self.clock + timedelta(days=days)

    @property
    def runs(self) -> dict[str, str]:
        """Slot, and the roots of what runs."""
        return {"slot": self.slot.value, **self.roots}

    @property
    def rebooted(self) -> bool:
        return ("systemctl", "--no-block", "reboot") in self.programs.ran


def root_of(maker: Maker, path: Path) -> str:
    """The signed verity root of a package."""
    name, _, revision = path.stem.rpartition("_")
    found = [item for item in maker.workshop.brand.signed if item.type == "snap-revision"
             and item.text("snap-revision") == revision and item.text("verity-root")
             and item.text("snap-id") == snap_id(maker.workshop.brand.name, name)
             and item.text("snap-size") == str(path.stat().st_size)]
    assert found, name
    return found[-1].text("verity-root")


__all__ = ["ARCHITECTURES", "GADGET_LOADERS", "LOADERS", "PI", "SYSTEMD_BOOT", "U_BOOT", "Maker", "Rig", "make",
           "root_of"]
