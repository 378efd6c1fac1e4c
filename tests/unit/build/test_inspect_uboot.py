"""An image that U-Boot boots, made in memory: script, slots and the next boot are told."""

from __future__ import annotations

import gzip
import io
import uuid
import zlib
from pathlib import Path

from imagekit.boot.slotstate import FACTORY, Slot, encode_partition
from imagekit.boot.uboot import COMPRESSED, ENV_NAME, SlotEnv, encode_env
from imagekit.boot.uimage import BootScript, encode_script
from imagekit.build.inspect_image import inspect_image
from imagekit.disk import gpt
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.plan.inspection import Inspection, Level
from imagekit.testing.documents import NOW, SIGNED
from imagekit.testing.images import Silent
from imagekit.units import MIB

DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")
STATE = uuid.uuid5(DISK, "slot-state")
PLACES = {"boot": (1, 5), "slot-state": (5, 6), "boot-a": (6, 10), "boot-b": (10, 14), "base-a": (14, 15),
          "base-b": (15, 16), "kernel-a": (16, 17), "kernel-b": (17, 18), "data": (18, 19)}
KERNEL = bytes(56) + b"ARM\x64" + b"Linux version 6.12.9-test (gcc)" + bytes(4096)
SCRIPT = encode_script(BootScript(text="reset\n", name="imagekit", architecture="arm64", time=1))
UBOOT = b"\0" * 100 + b"U-Boot 2025.01+dfsg-1 (Jan 2025)" + bytes(100)


def slot_files(slot: str = "a") -> dict[str, bytes]:
    files = {"Image": KERNEL, "initrd": b"initrd" * 100}
    env = SlotEnv(slot=Slot(slot), base_root="a" * 64, kernel_root="b" * 64, state_partuuid=str(STATE),
                  cmdline="quiet", files=SlotEnv.measure(files))
    return {**files, ENV_NAME: encode_env(env)}


def look(*, boot: dict[str, bytes] | None = None, a: dict[str, bytes] | None = None,
         b: dict[str, bytes] | None = None) -> Inspection:
    stream = io.BytesIO(bytes(20 * MIB))
    table = gpt.Table(disk_guid=DISK, disk_size=20 * MIB, partitions=tuple(
        gpt.Partition(index=index, name=name, unique_guid=uuid.uuid5(DISK, name), start=start * MIB, end=end * MIB,
                      type_guid=gpt.ESP if name == "boot" else gpt.LINUX_DATA)
        for index, (name, (start, end)) in enumerate(PLACES.items(), 1)))
    pieces = [*gpt.encode(table), (5 * MIB, encode_partition(FACTORY))]
    contents = {"boot": {"boot.scr": SCRIPT, "u-boot.bin": UBOOT} if boot is None else boot,
                "boot-a": slot_files() if a is None else a, "boot-b": b or {}}
    for name, files in contents.items():
        plan = plan_fat(4 * MIB, name[:11], 1, [FatFile(path=path, source=raw) for path, raw in files.items()],
                        time=SIGNED)
        if files:
            pieces += [(PLACES[name][0] * MIB + at, raw) for at, raw in plan.extents if isinstance(raw, bytes)]
    for offset, raw in pieces:
        stream.seek(offset)
        stream.write(raw)
    return inspect_image(Path("/nowhere/x.img"), stream, trusted=(), now=NOW, progress=Silent())


def test_script_loader_slot_and_next_boot_are_told() -> None:
    found = look()
    assert [(item.path, item.loader and item.loader.version) for item in found.esp.loaders] == [
        ("boot.scr", "imagekit"), ("u-boot.bin", "2025.01+dfsg-1")]
    assert found.next_boot.slot is Slot.A and "boot files of slot b are missing" in found.next_boot.reasons[0]
    (kernel,) = found.kernels
    assert (kernel.architecture, kernel.version, kernel.problem) == ("arm64", "6.12.9-test", "")
    (entry,) = found.esp.entries
    assert entry.entry is not None and (entry.entry.base_root, entry.entry.cmdline) == (
        "a" * 64, "imagekit.loader=u-boot quiet")
    assert {item.level for item in found.verdicts if item.check in ("loader", "entry", "record")} == {Level.GOOD}


def test_compressed_kernel_is_looked_into_and_a_damaged_one_told() -> None:
    def held(raw: bytes) -> dict[str, bytes]:
        files = {COMPRESSED: raw, "initrd": b"initrd"}
        env = SlotEnv(slot=Slot.A, base_root="a" * 64, kernel_root="b" * 64, state_partuuid=str(STATE), cmdline="quiet",
                      files=SlotEnv.measure(files))
        return {**files, ENV_NAME: encode_env(env)}

    packed = gzip.compress(KERNEL)
    found = look(a=held(packed))
    (kernel,) = found.kernels
    assert (kernel.path, kernel.architecture, kernel.version) == ("boot-a/Image.gz", "arm64", "6.12.9-test")
    assert found.next_boot.slot is Slot.A
    for raw in (packed[:-9], b"noise", b""):
        (kernel,) = look(a=held(raw)).kernels
        assert (kernel.architecture, kernel.version) == (None, None)


def test_slot_whose_kernel_was_changed_is_not_sound_and_the_other_boots() -> None:
    broken = {**slot_files(), "Image": KERNEL[:-1] + b"x"}
    assert zlib.crc32(broken["Image"]) != zlib.crc32(KERNEL)
    found = look(a=broken, b=slot_files("b"))
    assert found.next_boot.slot is Slot.B and "slot a of the record gives way" in found.next_boot.reasons[-1]
    assert any(item.check == "kernel" and "not as slot.env measures it" in item.text for item in found.verdicts)
    nothing = look(a=broken)
    assert nothing.next_boot.slot is None and nothing.next_boot.reasons[-1] == "the script starts the machine over"


def test_damaged_or_missing_script_and_description_are_wrong() -> None:
    for boot in ({"u-boot.bin": UBOOT}, {"boot.scr": SCRIPT[:-1], "u-boot.bin": UBOOT}):
        assert any(item.about == "boot.scr" and item.level is Level.WRONG for item in look(boot=boot).verdicts)
    env = slot_files()[ENV_NAME]
    found = look(a={**slot_files(), ENV_NAME: env[:10] + b"x" + env[11:]})
    assert any(item.about == "boot-a/slot.env" and "checksum" in item.text for item in found.verdicts)
    swapped = look(a=slot_files("b"))
    assert any("it says that it boots slot b" in item.text for item in swapped.verdicts)


def test_loader_that_is_not_on_the_image_is_noted() -> None:
    assert any(item.about == "U-Boot" and item.level is Level.NOTE for item in look(boot={"boot.scr": SCRIPT}).verdicts)
