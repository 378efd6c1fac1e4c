"""The smallest device that U-Boot's choice can be watched on: a disk with boot script, record and two slots of a few
bytes, started in QEMU by the locked U-Boot. The script is the real one but for its last word: instead of `booti` it
says which slot it would boot. A reset ends QEMU. On three machines: the Pi's `crc32` stores its bytes in the other
order than the two others'.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, Slot
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, INITRD, SCRIPT_NAME, SlotEnv, encode_env
from imagekit.boot.uboot_script import ScriptValues, render_script
from imagekit.boot.uimage import BootScript, encode_script
from imagekit.build.parts import Parts, Policy, unpack
from imagekit.build.project import load_lock
from imagekit.build.recipes import load_recipe
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.gpt import ENTRIES, LINUX_DATA, Partition, Table, encode
from imagekit.errors import HostError
from imagekit.gadget import Gadget, parse_gadget
from imagekit.host.cache import Cache, default_cache_folder
from imagekit.schema import load_yaml
from imagekit.units import MIB
from tests.boot.boards import BY_NAME
from tests.boot.stock import ROOT, Silence, missing_tool, tools_of

VALUES = ScriptValues(state=2, boot_a=3, boot_b=10, kernel="Image", boot="echo imagekit-test takes ${ik_slot},",
                      device_tree=True)
SIZE = 32 * MIB  # QEMU's card slots take powers of two only
STARTS = {"boot": (1, 1, 9), "slot-state": (2, 9, 10), "boot-a": (3, 10, 18), "boot-b": (10, 18, 26)}  # number, MiB
ACCEL = "tcg,thread=single"  # U-Boot runs on one processor, and a Raspberry Pi's others spin meanwhile
DEADLINE_S = 120
EMULATOR = "qemu-system-aarch64"
SPL_AT = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A machine and what it starts with. `values` are those of the script."""

    name: str
    options: tuple[str, ...]  # the disk is added to the last one
    values: ScriptValues
    boot_type: uuid.UUID  # of the partition with the script
    emulator: tuple[str, ...] = (EMULATOR,)
    architecture: str = "arm64"
    entries: int = ENTRIES  # of the partition table
    spl: Path | None = None  # what the board's boot ROM reads at SPL_AT of the disk

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What U-Boot did. `slot` None: it took neither. `rest`: the disk's digest, the record left out."""

    slot: Slot | None
    copies: tuple[bytes, bytes]
    rest: str
    console: str


def make_rig(name: str, folder: Path) -> Rig:
    """The rig of a board: U-Boot out of the parts of its gadget, and what else its machine needs."""
    return {"arm64-uboot": _virt, "pi": _pi, "cubieboard": _cubieboard}[name](folder)


def _gadget(name: str) -> Gadget:
    path = ROOT / f"gadgets/{name}/gadget.yaml"
    return parse_gadget(load_yaml(path.read_bytes(), name=str(path)))


def _boot_type(gadget: Gadget) -> uuid.UUID:
    (found,) = [item.type.guid for item in gadget.boot_volume.structures if item.name == "boot"]
    assert found is not None
    return found


def _virt(folder: Path) -> Rig:
    uboot = _part("gadgets/arm64-uboot", "u-boot-qemu", "usr/lib/u-boot/qemu_arm64/u-boot.bin", folder)
    options = ("-machine", "virt", "-cpu", "cortex-a57", "-m", "512M", "-serial", "stdio", "-bios", str(uboot),
               "-device", "virtio-blk-pci,drive=disk", "-drive", "if=none,id=disk,")
    return Rig(name="arm64-uboot", options=options, values=VALUES, boot_type=_boot_type(_gadget("arm64-uboot")))


def _pi(folder: Path) -> Rig:
    """The Pi 3: its U-Boot takes the tree that QEMU hands it, and has its console on the second line."""
    uboot = _part("gadgets/pi", "u-boot-rpi", "usr/lib/u-boot/rpi_arm64/u-boot.bin", folder)
    tree = _part("pi-kernel", "linux-image-6", "bcm2837-rpi-3-b.dtb", folder)
    gadget = _gadget("pi")
    assert gadget.extension is not None
    options = ("-machine", "raspi3b", "-serial", "null", "-serial", "stdio", "-kernel", str(uboot), "-dtb", str(tree),
               "-drive", "if=sd,")
    return Rig(name="pi", options=options, values=replace(VALUES, addresses=gadget.extension.addresses),
               boot_type=_boot_type(gadget))


def _cubieboard(folder: Path) -> Rig:
    """The Cubieboard: its boot ROM reads SPL off the card, in front of which a small table ends."""
    uboot = _part("gadgets/cubieboard", "u-boot-sunxi", "Cubieboard/u-boot-sunxi-with-spl.bin", folder)
    gadget = _gadget("cubieboard")
    assert gadget.extension is not None
    assert gadget.extension.gpt_entries is not None
    try:
        emulator = tuple(tools_of(BY_NAME["cubieboard"]).find("qemu-system-arm"))
    except HostError as error:
        missing_tool(error.message)
    return Rig(name="cubieboard", options=("-machine", "cubieboard", "-serial", "stdio", "-drive", "if=sd,"),
               values=VALUES, boot_type=_boot_type(gadget), emulator=emulator, architecture="armhf",
               entries=gadget.extension.gpt_entries, spl=uboot)


def _part(recipe: str, package: str, path: str, folder: Path) -> Path:
    """A file out of a locked Debian package; `package` and `path` are how its name begins and ends."""
    root = folder / package
    open_part(recipe, package, root, only=lambda name: name.endswith(path))
    return next(found for found in root.rglob(Path(path).name))


def open_part(recipe: str, package: str, root: Path, *, only: Callable[[str], bool]) -> None:
    """Put files of a locked Debian package under `root`; `package` is how its name begins."""
    parts = Parts(Cache(default_cache_folder(os.environ)), load_lock(), policy=Policy(), environment=os.environ,
                  progress=Silence())
    part = next(part for part in parts.section(load_recipe(recipe).recipe).parts if part.name.startswith(package))
    unpack(parts.path(part), root, name=part.name, only=only)


def slot_files(slot: Slot) -> dict[str, bytes]:
    """A sound slot, its contents unlike the other's."""
    files = {name: f"{name} of slot {slot.value}".encode() * 40 for name in (VALUES.kernel, INITRD, DEVICE_TREE)}
    return {**files, ENV_NAME: encode_env(env_of(slot, files))}


def env_of(slot: Slot, files: Mapping[str, bytes]) -> SlotEnv:
    return SlotEnv(slot=slot, base_root="ab" * 32, kernel_root="cd" * 32, state_partuuid=str(uuid.UUID(int=1)),
                   cmdline="console=ttyAMA0 quiet", files=SlotEnv.measure(files))


def make_disk(path: Path, *, copies: tuple[bytes, bytes], slots: Mapping[Slot, Mapping[str, bytes]],
              rig: Rig, before_names: str = "") -> None:
    """Write the whole disk; with something `before_names` of its partitions, one that is not imagekit's to judge."""
    script = BootScript(text=render_script(rig.values), name="imagekit", architecture=rig.architecture, time=0)
    volumes: dict[str, Mapping[str, bytes]] = {"boot": {SCRIPT_NAME: encode_script(script)}}
    volumes |= {f"boot-{slot.value}": files for slot, files in slots.items()}
    table = Table(disk_guid=uuid.UUID(int=2), disk_size=SIZE, entries=rig.entries, partitions=tuple(
        Partition(index=index, name=before_names + name, type_guid=rig.boot_type if name == "boot" else LINUX_DATA,
                  unique_guid=uuid.UUID(int=16 + index), start=start * MIB, end=end * MIB)
        for name, (index, start, end) in STARTS.items()))
    with path.open("wb") as out:
        out.truncate(table.disk_size)
        for offset, raw in encode(table):
            out.seek(offset)
            out.write(raw)
        if rig.spl is not None:
            out.seek(SPL_AT)
            out.write(rig.spl.read_bytes())
        for copy, offset in zip(copies, COPY_OFFSETS, strict=True):
            out.seek(STARTS["slot-state"][1] * MIB + offset)
            out.write(copy)
        for name, files in volumes.items():
            start, end = STARTS[name][1] * MIB, STARTS[name][2] * MIB
            plan = plan_fat(end - start, name.upper(), 1, [FatFile(path=key, source=raw) for key, raw in files.items()],
                            time=datetime(2024, 1, 1, tzinfo=UTC))
            for offset, source in plan.extents:
                assert isinstance(source, bytes)
                out.seek(start + offset)
                out.write(source)


def run_uboot(disk: Path, *, rig: Rig) -> Outcome:
    """Switch on and wait for the reset that the script ends with."""
    if shutil.which(rig.emulator[0]) is None:
        missing_tool(f"{rig.emulator[0]} is not installed")
    done = subprocess.run(
        [*rig.emulator, "-nodefaults", "-accel", ACCEL, "-display", "none", "-nic", "none", "-no-reboot",
         *rig.options[:-1], f"{rig.options[-1]}format=raw,file={disk}"],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=DEADLINE_S)
    console = done.stdout.decode("utf-8", "replace")
    taken = [line for line in console.splitlines() if line.startswith("imagekit-test takes ")]
    copies, rest = look_at(disk)
    return Outcome(slot=Slot(taken[0].split()[2].rstrip(",")) if taken else None, copies=copies, rest=rest,
                   console=console)


def look_at(disk: Path) -> tuple[tuple[bytes, bytes], str]:
    """Both copies of the record, and the digest of everything else."""
    raw = bytearray(disk.read_bytes())
    places = [STARTS["slot-state"][1] * MIB + offset for offset in COPY_OFFSETS]
    first, second = (bytes(raw[place:place + RECORD_SIZE]) for place in places)
    for place in places:
        raw[place:place + RECORD_SIZE] = bytes(RECORD_SIZE)
    return (first, second), sha256(raw).hexdigest()
