"""Record every write of a device in QEMU: an update from a stick, a first boot, a factory reset, any boot.

An update's recording goes from the first power-on over the update and the new slot's trial to its healthy verdict, so
that the first boot's own writes are in it. What cuts in it would leave behind is `imagekit.powercut`'s.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imagekit.assertions import decode_stream, parse_model, parse_snap_revision
from imagekit.boot.numbers import RESET
from imagekit.disk.fat_read import read_fat
from imagekit.disk.probe import probe
from imagekit.errors import DocumentError, HostError, TargetError
from imagekit.gadget import GADGET_MOST, Role
from imagekit.host.ports import Tools
from imagekit.packages.erofs import Erofs
from imagekit.packages.forward import rewound, unpacked
from imagekit.plan.seed_read import read_seed
from imagekit.plan.update_gadget import boot_assets, gadget_inside
from imagekit.qemu.device import Device
from imagekit.qemu.judge import Package
from imagekit.qemu.surgery import Disk

ASSERTIONS, PACKAGES = ".assert", (".snap", ".snap.zst")
TAIL_S = 20.0  # what a device still writes once it is healthy
GROWN = r"imagekit: the data partition reaches to the end of the disk"
RESET_BEGINS = r"imagekit: factory reset: the data partition is emptied"
SECRET = "secret"  # a file on the data partition that a reset has to take away
_TOLD = r"imagekit: update: (rebooting|cannot .*)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a recorded device did: the slots that were healthy, in their order; how many boots, and its seconds."""

    slots: tuple[str, ...]
    boots: int
    seconds: float


def packages_on(stick: Path) -> tuple[Package, ...]:
    """The packages of a stick with the roots that its assertions give, whoever signed those.

    Raises:
        DocumentError: no FAT, or no package with a snap-revision lies on it.
    """
    with stick.open("rb") as stream:
        volume = read_fat(stream, name=str(stick))
        names = volume.listdir()
        roots = {}
        for name in names:
            if name.endswith(ASSERTIONS):
                for item in decode_stream(volume.read(name), name=name):
                    if item.type == "snap-revision" and (revision := parse_snap_revision(item)).verity_root:
                        roots[name.removesuffix(ASSERTIONS)] = (revision.snap_revision, revision.verity_root)
    found = []
    for name in names:
        stem = next((name.removesuffix(end) for end in PACKAGES if name.endswith(end)), None)
        if stem in roots:
            number, root = roots[stem]
            found.append(Package(name=stem.rpartition("_")[0], revision=number, root=root))
    if not found:
        raise DocumentError(f"cannot use {stick}: no package with its assertions lies on it",
                            hint="NAME_REVISION.snap and NAME_REVISION.assert, as `imagekit sign` writes them")
    return tuple(found)


def boot_files_on(stick: Path, image: Path) -> dict[str, str]:
    """The SHA-256 of each file that gadgets on a stick would bring to the boot partition of this image, by path.

    Raises:
        DocumentError: no such image, or a gadget that cannot be read.
    """
    with image.open("rb") as stream:
        model = parse_model(read_seed(stream, probe(stream, name=str(image)), name=str(image)).model)
    found: dict[str, str] = {}
    with stick.open("rb") as stream:
        volume = read_fat(stream, name=str(stick))
        for name in volume.listdir():
            if name.rpartition("_")[0] != model.gadget.name or not name.endswith(PACKAGES):
                continue
            raw = volume.read(name, limit=GADGET_MOST)
            if name.endswith(PACKAGES[1]):
                raw = rewound(partial(unpacked, io.BytesIO(raw)), most=GADGET_MOST).read()
            gadget, files = gadget_inside(Erofs(io.BytesIO(raw), name=name), name=name)
            found |= {asset.path: hashlib.sha256(asset.content).hexdigest()
                      for structure in gadget.boot_volume.structures if structure.role is Role.BOOT
                      for asset in boot_assets(structure, gadget, files, model)}
    return found


def record_update(device: Device, stick: Path, log: Path) -> Recorded:
    """Let a device that is off take the update of a stick, and log every write to its disk. It is off again afterwards.

    Raises:
        TargetError: it does not take the update, or does not get healthy with it.
        DocumentError: as `packages_on`.
    """
    expected = device.expectation
    offered = {item.name: item for item in packages_on(stick)}
    device.plug(stick)
    device.log_writes(log)
    try:
        first = device.boot(slot=None)
        device.expect_packages(base=offered.get(expected.base.name), kernel=offered.get(expected.kernel.name))
        said = device.expect(_TOLD, timeout_s=device.deadline_s)[1]
        if said != "rebooting":
            raise TargetError(f"cannot record the update: the device says: {said}",
                              hint="an image built from the same model, and packages that are newer than its own")
        last = device.wait_healthy(slot=None, since=len(device.boots))
        device.idle(TAIL_S)
        assert first.verdict is not None
        assert last.verdict is not None
        return Recorded(slots=(first.verdict.slot, last.verdict.slot), boots=len(device.boots),
                        seconds=round(device.seconds, 1))
    finally:
        device.power_cut()
        device.log_writes(None)
        device.plug(None)


def record_boot(device: Device, log: Path, *, expect: str = "") -> Recorded:
    """Let a device that is off get healthy and say a line, and log every write to its disk. It is off again afterwards.

    Raises:
        TargetError: it does not get healthy, or the line does not come.
    """
    device.log_writes(log)
    try:
        boot = device.boot(slot=None)
        if expect:
            device.expect(expect, timeout_s=device.deadline_s)
        device.idle(TAIL_S)
        assert boot.verdict is not None
        return Recorded(slots=(boot.verdict.slot,), boots=len(device.boots), seconds=round(device.seconds, 1))
    finally:
        device.power_cut()
        device.log_writes(None)


def plant_secret(tools: Tools, image: Path, scratch: Path) -> None:
    """Put a file onto the data partition of an image that never ran. Raises: HostError: debugfs is missing or fails."""
    with Disk(image) as disk:
        there = f"{image.resolve()}?offset={disk.partition('data').start}"
    (scratch / SECRET).write_bytes(b"secret\n")
    tools.run("debugfs", "-w", "-R", f"write {SECRET} {SECRET}", there, cwd=scratch)
    (scratch / SECRET).unlink()
    if b"Type: regular" not in tools.run("debugfs", "-R", f"stat /{SECRET}", there).stdout:  # it never fails by itself
        raise HostError(f"cannot write to the data partition of {image}: debugfs left nothing there")


def prepare_reset(device: Device) -> None:
    """Let a device that is off live for a boot and lose its power; the next one resets it. Raises: TargetError."""
    device.boot(slot=None)
    device.idle(TAIL_S)
    device.power_cut()
    with device.disk() as disk:
        disk.write("slot-state", RESET.offset, RESET.encode(1))
