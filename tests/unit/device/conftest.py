"""A folder that looks like a booted device, with programs that answer what a test says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import Header, encode_stream
from imagekit.boot.autoboot import AUTOBOOT_NAME, Autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, encode_entry, entry_name
from imagekit.boot.pislot import SUMS_NAME, Measure, encode_cmdline, encode_sums
from imagekit.boot.slotstate import FACTORY, Slot, SlotState, begin_boot, encode_partition
from imagekit.boot.uboot import ENV_NAME, SlotEnv, encode_env
from imagekit.device.machine import Machine
from imagekit.device.verity import VerityDevice
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import TargetError
from imagekit.testing.documents import Brand

BASE_ROOT, KERNEL_ROOT = "b" * 64, "c" * 64
ROUTES = ("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
          "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
          "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")


class FakePrograms:
    """Remembers what was run; answers by the first two words, else by the first, an exception is raised."""

    def __init__(self) -> None:
        self.answers: dict[str, str | TargetError] = {"systemctl show": "ActiveState=active\nRequires=sysinit.target\n"}
        self.ran: list[tuple[str, ...]] = []

    def run(self, *command: str) -> str:
        self.ran.append(command)
        answer = self.answers.get(" ".join(command[:2]), self.answers.get(command[0], ""))
        if isinstance(answer, TargetError):
            raise answer
        return answer


@dataclass
class Device:
    """The machine and what a test may change about it."""

    folder: Path
    programs: FakePrograms = field(default_factory=FakePrograms)
    mounted: dict[str, VerityDevice | TargetError] = field(default_factory=dict)
    neighbours: set[bytes] = field(default_factory=set)  # those that answer

    @property
    def state_path(self) -> Path:
        return self.folder / "dev/vda2"

    def verity(self, mount_point: Path) -> VerityDevice:
        found = self.mounted[mount_point.name]
        if isinstance(found, TargetError):
            raise found
        return found

    @property
    def machine(self) -> Machine:
        at = self.folder
        return Machine(
            run=at / "run", esp=at / "efi", sys=at / "sys", dev=at / "dev", proc=at / "proc", var=at / "var",
            base=at / "base", kernel=at / "kernel", package=at / "package", optional_units=at / "optional-units",
            hook_folders=(at / "hooks", at / "absent"), repart=at / "repart.d", programs=self.programs,
            verity=self.verity, answers=lambda interface, gateway: gateway in self.neighbours,
        )

    def report(self, **changes: object) -> None:
        document: Mapping[str, object] = {
            "imagekit": 1, "slot": "a", "base_root": BASE_ROOT, "kernel_root": KERNEL_ROOT, "state_partuuid": "x",
            "state_device": str(self.state_path), "generation": 2, "disk": "/dev/vda", "fallback": False,
            "degraded": False, "resets": True, "uptime": {"initrd": 2.03, "verity": 2.5, "switch": 3.14},
        }
        (self.folder / "run/boot.json").write_text(json.dumps({**document, **changes}))

    def record(self, state: SlotState) -> None:
        self.state_path.write_bytes(encode_partition(state))

    def entry(self, slot: Slot, *, tries: int | None = None) -> Path:
        path = self.folder / "efi/loader/entries" / entry_name(slot, tries=tries)
        path.write_bytes(encode_entry(LoaderEntry(
            slot=slot, version=1, base_root=BASE_ROOT, kernel_root=KERNEL_ROOT, cmdline="quiet",
            state_partuuid="00000000-0000-4000-8000-000000000000",
        )))
        return path

    def for_uboot(self, slot: Slot = Slot.A, **changes: bytes) -> dict[str, bytes]:
        """Make it one that U-Boot booted from `slot`; `changes` are files of its FAT image, `Image` and so on."""
        files = {"Image": b"kernel" * 5000, "initrd": b"initrd" * 3000, "board.dtb": b"tree" * 100}
        env = SlotEnv(slot=slot, base_root=BASE_ROOT, kernel_root=KERNEL_ROOT, cmdline="quiet",
                      state_partuuid="00000000-0000-4000-8000-000000000000", files=SlotEnv.measure(files))
        for path, name in (("Image", "Image"), ("initrd", "initrd"), ("dtbs/vendor/x.dtb", "board.dtb")):
            (self.folder / "package" / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / "package" / path).write_bytes(files[name])
        shutil.rmtree(self.folder / "efi")
        self._slot_volume({**files, ENV_NAME: encode_env(env)}, changes)
        self.seed()
        self.report(slot=slot.value, loader="u-boot", boot_device=str(self.slot_volume), fallback=True)
        return files

    def for_piboot(self, slot: Slot = Slot.A, *, named: Slot = Slot.A, **changes: bytes) -> dict[str, bytes]:
        """Make it one whose `slot` the Pi's firmware booted; autoboot.txt names `named`."""
        files = {"Image": b"kernel" * 5000, "initrd": b"initrd" * 3000, "bcm2711-rpi-4-b.dtb": b"tree" * 100}
        for path in files:
            target = self.folder / "package" / (f"dtbs/broadcom/{path}" if path.endswith(".dtb") else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files[path])
        files |= {"config.txt": b"kernel=Image\n", "start4.elf": b"firmware" * 100, "cmdline.txt": encode_cmdline(
            LoaderEntry(slot=slot, version=0, base_root=BASE_ROOT, kernel_root=KERNEL_ROOT, cmdline="quiet",
                        state_partuuid="00000000-0000-4000-8000-000000000000"))}
        sums = encode_sums(slot, {name: Measure.of(content) for name, content in files.items()})
        self._slot_volume({**files, SUMS_NAME: sums}, changes)
        shutil.rmtree(self.folder / "efi")
        (self.folder / "efi").mkdir()
        self.name(named)
        for number, name in enumerate(("boot", "boot-a", "boot-b", "slot-state"), 1):
            part = self.folder / f"sys/block/mmcblk0/mmcblk0p{number}"
            part.mkdir(parents=True)
            (part / "uevent").write_text(f"DEVNAME=mmcblk0p{number}\nPARTN={number}\nPARTNAME={name}\n")
            (part / "size").write_text("16384\n")
        self.seed(disk="mmcblk0")
        self.report(slot=slot.value, loader="piboot", boot_device=str(self.slot_volume), fallback=True,
                    disk="/dev/mmcblk0")
        return files

    def seed(self, *, disk: str = "vda", **headers: Header) -> None:
        """Give the disk a seed with this model."""
        brand = Brand("acme")
        model = brand.model(**headers)
        self._fat(self.folder / "dev/seed", {"systems/1/model": model.encode(), "systems/1/assertions/roots":
                                             encode_stream(brand.roots)})
        part = self.folder / f"sys/block/{disk}/{disk}9"
        part.mkdir(parents=True, exist_ok=True)
        (part / "uevent").write_text("DEVNAME=seed\nPARTN=9\nPARTNAME=seed\n")
        (part / "size").write_text("16384\n")

    def network(self, *, carrier: str = "1\n", answers: bool = True) -> None:
        """A default route through eth0, by way of 192.0.2.1."""
        for path, text in (("proc/net/route", ROUTES), ("sys/class/net/eth0/carrier", carrier)):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        self.neighbours |= {bytes((192, 0, 2, 1))} if answers else set()

    @property
    def autoboot(self) -> Path:
        return self.folder / "efi" / AUTOBOOT_NAME

    def name(self, slot: Slot) -> bytes:
        """Let autoboot.txt name a slot; its bytes."""
        boot, trial = (2, 3) if slot is Slot.A else (3, 2)
        raw = encode_autoboot(Autoboot(boot=boot, trial=trial))
        self.autoboot.write_bytes(raw)
        return raw

    @property
    def slot_volume(self) -> Path:
        return self.folder / "dev/boot"

    def _slot_volume(self, files: Mapping[str, bytes], changes: Mapping[str, bytes]) -> None:
        changed = {name.replace("_", "."): content for name, content in changes.items()}
        self._fat(self.slot_volume, {**files, **changed})

    @staticmethod
    def _fat(path: Path, files: Mapping[str, bytes]) -> None:
        plan = plan_fat(8 << 20, "IMAGEKIT", 1, [FatFile(path=name, source=content) for name, content in files.items()],
                        time=datetime(2024, 1, 1, tzinfo=UTC))
        with path.open("wb") as out:
            out.truncate(8 << 20)
            for offset, content in plan.extents:
                assert isinstance(content, bytes)
                out.seek(offset)
                out.write(content)

    def hook(self, name: str, script: str, *, mode: int = 0o755) -> None:
        path = self.folder / "hooks" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(mode)

    def on_trial(self) -> None:
        """Slot b runs for the first time, a is the way back."""
        self.seed()
        self.report(slot="b", fallback=True)
        (self.folder / "efi/loader/entries/imagekit-b+2-1.conf").write_bytes(self.entry(Slot.B).read_bytes())
        (self.folder / "efi/loader/entries/imagekit-b.conf").unlink()
        self.record(replace(begin_boot(FACTORY, Slot.B).record))


@pytest.fixture
def device(tmp_path: Path) -> Device:
    """A healthy device in its factory state, after one pass of the initrd."""
    made = Device(tmp_path)
    for name in ("run", "efi/loader/entries", "sys/class/virtio-ports", "dev", "proc/sys/kernel/random",
                 "var/lib/imagekit", "hooks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("b00t\n")
    (tmp_path / "optional-units").write_text("# may fail\nimagekit-grow.service\nnice-*.service\n")
    for name, root, size in (("base", BASE_ROOT, 3 << 20), ("kernel", KERNEL_ROOT, 5000)):
        path = tmp_path / "dev" / f"dm-{name}"
        path.write_bytes(bytes(size))
        made.mounted[name] = VerityDevice(path=path, size=size, root=root, restarts=True)
    for path in ("package/kernel.efi", "efi/EFI/imagekit/a/kernel.efi", "efi/EFI/imagekit/b/kernel.efi"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"MZ" * 700_000)
    made.report()
    made.record(begin_boot(FACTORY, Slot.A).record)
    made.entry(Slot.A)
    return made
