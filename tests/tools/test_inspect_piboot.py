"""A card that the Pi's firmware boots, inspected: whole, and with each kind of damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.piboot import CMDLINE_NAME
from imagekit.boot.pislot import SUMS_NAME
from imagekit.boot.slotstate import Slot
from imagekit.build.inspect_image import inspect_image
from imagekit.plan.inspection import Inspection, Level
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_piboot import (
    BOOT,
    install_piboot,
    name_slot,
    set_slot_files,
    set_slot_roots,
    slot_files,
)
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import Silent
from tests.tools.small_boards import PIBOOT

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("piboot")
    arm64 = PIBOOT.kernel["Image"][:56] + b"ARM\x64" + b"\0Linux version 6.12.1-test (a)" + PIBOOT.kernel["Image"][89:]
    done = PIBOOT.build(folder, kernel={**PIBOOT.kernel, "Image": arm64})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def image(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder / "out", tmp_path / "out")
    return tmp_path / "out/pc.img"


@pytest.fixture
def both(image: Path, folder: Path) -> Path:
    with Disk(image) as disk:
        install_piboot(disk, Slot.B, base=folder / "packages/debian-13_1.snap",
                       kernel=folder / "packages/pc-kernel_1.snap")
    return image


def look(image: Path) -> Inspection:
    with image.open("rb") as stream:
        return inspect_image(image, stream, trusted=Brand("acme").roots, now=NOW, progress=Silent())


def told(found: Inspection) -> list[tuple[str, str, Level]]:
    """What is wrong, without what block map and manifest say of any change."""
    return [(item.check, item.about, item.level) for item in found.verdicts
            if item.level in (Level.WRONG, Level.REFUSED) and item.check != "beside"]


def test_fresh_card_is_whole_and_boots_slot_a_on_every_board_but_one_without_a_device_tree(image: Path) -> None:
    found = look(image)
    assert told(found) == []
    assert found.next_boot.slot is Slot.A
    assert "autoboot.txt names partition 2" in found.next_boot.reasons
    assert any(reason.startswith("raspi5b starts nothing") for reason in found.next_boot.reasons)
    kernel = next(item for item in found.kernels if item.slot is Slot.A)
    assert (kernel.architecture, kernel.version, kernel.equal) == ("arm64", "6.12.1-test", True)
    loader = found.esp.loaders[0].loader
    assert loader is not None
    assert (loader.name, loader.version) == ("autoboot.txt", "for boot-a")


def test_slot_on_trial_is_the_next_to_boot(both: Path) -> None:
    found = look(both)
    assert told(found) == []
    assert (found.next_boot.slot, found.next_boot.hand_over) == (Slot.B, False)


def test_slot_that_had_its_chances_is_handed_over_by_its_initrd(both: Path) -> None:
    with Disk(both) as disk:
        name_slot(disk, Slot.A)
        state = disk.state
        assert state is not None
        disk.set_state(replace(state, generation=state.generation + 1, slot=Slot.A, confirmed=True, other_good=True,
                               unhealthy=3))
    found = look(both)
    assert (found.next_boot.slot, found.next_boot.hand_over) == (Slot.B, True)


Wound = Callable[[Disk], None]


def change(name: str, content: bytes | None, *, measure: bool = False) -> Wound:
    def wound(disk: Disk) -> None:
        files = slot_files(disk, Slot.A)
        files.pop(name)
        set_slot_files(disk, Slot.A, files if content is None else {**files, name: content}, measure=measure)
    return wound


def boot_file(content: bytes | None) -> Wound:
    return lambda disk: disk.set_fat_files(BOOT, {} if content is None else {"autoboot.txt": content}, label=BOOT)


KERNEL_A, ENTRY_A = "/boot-a/Image", f"boot-a/{CMDLINE_NAME}"
DAMAGE: dict[str, tuple[Wound, list[tuple[str, str, Level]], Slot | None]] = {
    "changed config": (change("config.txt", b"kernel=Image\n"), [("kernel", KERNEL_A, Level.WRONG)], Slot.A),
    "changed firmware": (change("start4.elf", b"x"), [("kernel", KERNEL_A, Level.WRONG)], Slot.A),
    "lost sums": (change(SUMS_NAME, None), [("kernel", KERNEL_A, Level.WRONG)], Slot.A),
    "missing kernel": (change("Image", None), [("kernel", KERNEL_A, Level.WRONG), ("next", "next boot", Level.WRONG)],
                       None),
    "other device tree": (change("bcm2711-rpi-4-b.dtb", b"tree", measure=True),
                          [("kernel", KERNEL_A, Level.REFUSED)], Slot.A),
    "other initrd": (change("initrd", b"initrd", measure=True), [("kernel", KERNEL_A, Level.REFUSED)], Slot.A),
    "other command line": (change(CMDLINE_NAME, b"init=/bin/sh\n", measure=True),
                           [("entry", ENTRY_A, Level.WRONG), ("next", "next boot", Level.WRONG)], None),
    "root that is none": (lambda disk: set_slot_roots(disk, Slot.A, base_root="zz"),
                          [("verity", "base-a (slot a)", Level.REFUSED),
                           ("signature", "base-a (slot a)", Level.REFUSED)], Slot.A),
    "lost slot": (lambda disk: disk.write("boot-a", 0, bytes(1 << 20)), [("next", "next boot", Level.WRONG)], None),
    "lost autoboot": (boot_file(None), [("loader", "autoboot.txt", Level.WRONG)], Slot.A),
    "foreign autoboot": (boot_file(b"boot_partition=2\n"), [("loader", "autoboot.txt", Level.WRONG)], Slot.A),
    "lost boot partition": (lambda disk: disk.write("boot", 0, bytes(1 << 20)),
                            [("loader", "boot partition", Level.WRONG)], Slot.A),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_and_the_rest_as_well(image: Path, name: str) -> None:
    wound, wanted, slot = DAMAGE[name]
    with Disk(image) as disk:
        wound(disk)
    found = look(image)
    assert [item for item in told(found) if item[0] != "content"] == wanted
    assert found.next_boot.slot is slot
