"""An image that U-Boot boots: read back by other people's tools, filled by surgery, and what its kernel must be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.slotstate import FACTORY, Slot, decode_record
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, INITRD, SCRIPT_NAME, decide, encode_env, is_sound, is_whole
from imagekit.boot.uimage import decode_script
from imagekit.disk.probe import probe
from imagekit.errors import ExitCode
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_uboot import install_uboot, set_slot_files, slot_env, slot_files
from tests.tools.conftest import RunTool
from tests.tools.small_boards import UBOOT

pytestmark = pytest.mark.tools

NEEDED = ("Image", INITRD, DEVICE_TREE)
@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uboot")
    done = UBOOT.build(folder)
    assert done.returncode == 0, done.stderr
    return folder / "out/pc.img"


def test_slot_is_a_sound_fat_that_others_read(image: Path, run_tool: RunTool, tmp_path: Path) -> None:
    volume = tmp_path / "boot-a"
    with Disk(image) as disk:
        part = disk.partition("boot-a")
        volume.write_bytes(disk.read("boot-a", 0, part.size))
        files = slot_files(disk, Slot.A)
        script = disk.fat_files("boot")[SCRIPT_NAME]
    run_tool("fsck.fat", "-n", volume)
    for name, wanted in (("Image", UBOOT.kernel["Image"]), ("initrd", UBOOT.kernel["initrd"]),
                         ("board.dtb", UBOOT.kernel["dtbs/vendor/board.dtb"])):
        run_tool("mcopy", "-n", "-i", volume, f"::{name}", tmp_path / name)
        assert (tmp_path / name).read_bytes() == wanted
    assert is_sound(files, Slot.A, NEEDED)
    assert is_whole(files, Slot.A)
    assert "board.dtb" in decode_script(script, name=SCRIPT_NAME).text


def test_fresh_device_boots_slot_a_and_has_no_other(image: Path) -> None:
    with Disk(image) as disk:
        copies = disk.read("slot-state", 0, 512), disk.read("slot-state", 4096, 512)
        assert not any(disk.read("boot-b", 0, 1 << 20))
    assert decode_record(copies[0]) == FACTORY
    assert decide(copies, {Slot.A}).slot is Slot.A


def test_surgery_fills_the_other_slot_for_a_trial(image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.img"
    copy.write_bytes(image.read_bytes())
    packages = image.parent.parent / "packages"
    with Disk(copy) as disk:
        install_uboot(disk, Slot.B, base=packages / "debian-13_1.snap", kernel=packages / "pc-kernel_1.snap")
        one, two = slot_files(disk, Slot.A), slot_files(disk, Slot.B)
        assert slot_env(two, Slot.B) == replace(slot_env(one, Slot.A), slot=Slot.B)
        assert is_whole(two, Slot.B)
        state = disk.state
        assert state is not None
        assert (state.slot, state.tries, state.confirmed, state.other_good) == (Slot.B, 3, False, True)
        set_slot_files(disk, Slot.B, {**two, ENV_NAME: encode_env(slot_env(one, Slot.A))})
        assert not is_whole(slot_files(disk, Slot.B), Slot.B)


ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
HYBRID = UBOOT.gadget.replace(f"type: {ESP}", f'type: "0C,{ESP}"').replace("\nx-imagekit:\n", """
x-imagekit:
  hybrid-mbr: [boot]
  addresses: {kernel: 0x200000}
""")


def test_card_for_a_boot_rom_that_knows_no_gpt_is_found_by_both_tables(run_tool: RunTool, tmp_path: Path) -> None:
    assert UBOOT.build(tmp_path, gadget=HYBRID).returncode == 0
    image = tmp_path / "out/pc.img"
    told = json.loads(run_tool("sfdisk", "--json", image))["partitiontable"]
    old = json.loads(run_tool("sfdisk", "--label-nested", "dos", "--json", image))["partitiontable"]
    assert (told["label"], told["partitions"][0]["name"], len(told["partitions"])) == ("gpt", "boot", 10)
    assert [(item["type"], item["start"]) for item in old["partitions"]] == [
        ("c", told["partitions"][0]["start"]), ("ee", 1)]
    with image.open("rb") as stream:
        found = probe(stream)
    assert (found.problems, [item.type for item in found.table.hybrid]) == ((), [0x0C])
    with Disk(image) as disk:
        script = decode_script(disk.fat_files("boot")[SCRIPT_NAME], name=SCRIPT_NAME).text
    assert "\nsetenv kernel_addr_r 200000\n" in script


@pytest.mark.parametrize(("gone", "hint"), [
    ("Image", "image: apart"), ("initrd", "image: apart"), ("dtbs/vendor/board.dtb", "names the device tree"),
])
def test_kernel_without_what_uboot_takes_is_refused_by_name(tmp_path: Path, gone: str, hint: str) -> None:
    kernel = {"kernel.efi": b"MZ", **{path: raw for path, raw in UBOOT.kernel.items() if path != gone}}
    done = UBOOT.build(tmp_path, kernel=kernel)
    assert done.returncode == ExitCode.PLAN, done.stderr
    assert f"it has no {gone}, which the gadget's loader takes" in done.stderr
    assert hint in done.stderr


def test_kernel_for_uboot_in_a_gadget_of_systemd_boot_is_refused(tmp_path: Path) -> None:
    lines = [line for line in UBOOT.gadget.splitlines(keepends=True)
             if "part: boot" not in line and "device-tree" not in line]
    gadget = "".join(lines).replace("\n  bootloader: u-boot", "\n  bootloader: systemd-boot", 1)
    done = UBOOT.build(tmp_path, gadget=gadget)
    assert done.returncode == ExitCode.PLAN, done.stderr
    assert "it has no kernel.efi" in done.stderr
    assert "image: unified" in done.stderr
