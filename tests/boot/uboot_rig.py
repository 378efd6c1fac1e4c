"""The smallest device that U-Boot's choice can be watched on: a disk with boot script, record and two slots of a few
bytes, started in QEMU by the locked U-Boot. The script is the real one but for its last word: instead of `booti` it
says which slot it would boot. A reset ends QEMU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, Slot
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, INITRD, SCRIPT_NAME, SlotEnv, encode_env
from imagekit.boot.uboot_script import ScriptValues, render_script
from imagekit.boot.uimage import BootScript, encode_script
from imagekit.build.parts import Parts, Policy
from imagekit.build.recipes import load_lock, load_recipe
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.gpt import ESP, LINUX_DATA, Partition, Table, encode
from imagekit.host.cache import Cache, default_cache_folder
from imagekit.units import MIB
from tests.boot.stock import Silence, missing_tool

VALUES = ScriptValues(state=2, boot_a=3, boot_b=10, kernel="Image", boot="echo imagekit-test takes ${ik_slot},",
                      device_tree=True)
STARTS = {"boot": (1, 1, 9), "slot-state": (2, 9, 10), "boot-a": (3, 10, 18), "boot-b": (10, 18, 26)}  # number, MiB
DEADLINE_S = 120
EMULATOR = "qemu-system-aarch64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What U-Boot did. `slot` None: it took neither."""

    slot: Slot | None
    copies: tuple[bytes, bytes]
    console: str


def firmware() -> Path:
    """U-Boot as the gadget of arm64-uboot brings it."""
    parts = Parts(Cache(default_cache_folder(os.environ)), load_lock(), policy=Policy(), environment=os.environ,
                  progress=Silence())
    return parts.unpacked(load_recipe("gadgets/arm64-uboot").recipe) / "usr/lib/u-boot/qemu_arm64/u-boot.bin"


def slot_files(slot: Slot) -> dict[str, bytes]:
    """A sound slot, its contents unlike the other's."""
    files = {name: f"{name} of slot {slot.value}".encode() * 40 for name in (VALUES.kernel, INITRD, DEVICE_TREE)}
    return {**files, ENV_NAME: encode_env(env_of(slot, files))}


def env_of(slot: Slot, files: Mapping[str, bytes]) -> SlotEnv:
    return SlotEnv(slot=slot, base_root="ab" * 32, kernel_root="cd" * 32, state_partuuid=str(uuid.UUID(int=1)),
                   cmdline="console=ttyAMA0 quiet", files=SlotEnv.measure(files))


def make_disk(path: Path, *, copies: tuple[bytes, bytes], slots: Mapping[Slot, Mapping[str, bytes]],
              values: ScriptValues = VALUES) -> None:
    """Write the whole disk."""
    script = BootScript(text=render_script(values), name="imagekit", architecture="arm64", time=0)
    volumes: dict[str, Mapping[str, bytes]] = {"boot": {SCRIPT_NAME: encode_script(script)}}
    volumes |= {f"boot-{slot.value}": files for slot, files in slots.items()}
    table = Table(disk_guid=uuid.UUID(int=2), disk_size=27 * MIB, partitions=tuple(
        Partition(index=index, name=name, type_guid=ESP if name == "boot" else LINUX_DATA,
                  unique_guid=uuid.UUID(int=16 + index), start=start * MIB, end=end * MIB)
        for name, (index, start, end) in STARTS.items()))
    with path.open("wb") as out:
        out.truncate(table.disk_size)
        for offset, raw in encode(table):
            out.seek(offset)
            out.write(raw)
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


def run_uboot(disk: Path, *, firmware: Path) -> Outcome:
    """Switch on and wait for the reset that the script ends with."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        missing_tool(f"{EMULATOR} is not installed")
    done = subprocess.run(
        [emulator, "-nodefaults", "-machine", "virt", "-accel", "tcg", "-cpu", "cortex-a57", "-m", "512M", "-display",
         "none", "-nic", "none", "-no-reboot", "-serial", "stdio", "-bios", str(firmware),
         "-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=disk"],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=DEADLINE_S)
    console = done.stdout.decode("utf-8", "replace")
    taken = [line for line in console.splitlines() if line.startswith("imagekit-test takes ")]
    with disk.open("rb") as stream:
        raw = []
        for offset in COPY_OFFSETS:
            stream.seek(STARTS["slot-state"][1] * MIB + offset)
            raw.append(stream.read(RECORD_SIZE))
    return Outcome(slot=Slot(taken[0].split()[2].rstrip(",")) if taken else None, copies=(raw[0], raw[1]),
                   console=console)
