"""An image that the Pi's firmware boots, planned without a single file: reviewed as `tests/golden/image-piboot.txt`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.assertions import parse_model
from imagekit.boot.autoboot import Autoboot, decode_autoboot
from imagekit.boot.entries import LoaderEntry
from imagekit.boot.pislot import SUMS_NAME, Measure, decode_sums, parse_cmdline
from imagekit.boot.slotstate import Slot
from imagekit.disk.gpt import Table
from imagekit.errors import PlanError
from imagekit.gadget import Era, parse_gadget
from imagekit.plan.contents import Insides
from imagekit.plan.image import ImagePlan, as_json, plan_image
from imagekit.plan.piboot import slot_files, wanted_files
from imagekit.plan.resolve import resolve
from imagekit.plan.uboot import SlotFile
from imagekit.plan.writes import Copy, Literal
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW
from imagekit.testing.plans import ROOTS, available, brand_with
from imagekit.units import MIB
from tests.unit.plan.test_image import as_text

TESTS = Path(__file__).parent.parent.parent
GADGET = (TESTS.parent / "gadgets/pi-tryboot/gadget.yaml").read_text()
TREE = "bcm2711-rpi-4-b.dtb"
KERNEL = {"Image": SlotFile(path="Image", size=3 * MIB, crc32=0x89ABCDEF),
          "initrd": SlotFile(path="initrd", size=MIB + 1, crc32=0x1234),
          TREE: SlotFile(path=f"dtbs/broadcom/{TREE}", size=4001, crc32=0x5678)}
OWN = {name: f"{name} ".encode() * 500 for name in (
    "bootcode.bin", "config.txt", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "LICENCE.broadcom")}
ENTRY = LoaderEntry(slot=Slot.B, version=0, base_root="ab" * 32, kernel_root="cd" * 32, cmdline="quiet",
                    state_partuuid="00000000-0000-0000-0000-000000000001")


def planned(gadget: str = GADGET, *, kernel: Mapping[str, SlotFile] = KERNEL,
            own: Mapping[str, bytes] = OWN) -> ImagePlan:
    brand = brand_with()
    model = parse_model(brand.model(architecture="arm64"))
    resolution = resolve(model, brand.database(), available(), now=NOW)
    insides = Insides(gadget=parse_gadget(load_yaml(gadget, name="gadget.yaml"), era=Era.UC20), files=own,
                      kernel_image_size=0, slot_files=kernel)
    return plan_image(resolution, insides, timestamp=model.timestamp)


def literal(plan: ImagePlan, start: bytes) -> bytes:
    literals = [write.content for write in plan.writes if isinstance(write, Literal)]
    return next(content for content in literals if content.startswith(start))


def test_image_for_the_pis_firmware_is_planned_as_reviewed() -> None:
    assert as_text(planned()) == (TESTS / "golden" / "image-piboot.txt").read_text()


def test_equal_input_gives_an_equal_plan() -> None:
    assert json.dumps(as_json(planned())) == json.dumps(as_json(planned()))


def test_autoboot_names_the_partitions_that_both_tables_number_alike() -> None:
    plan = planned()
    assert decode_autoboot(literal(plan, b"[all]\n")) == Autoboot(boot=2, trial=3)
    assert isinstance(plan.table, Table)
    gpt = {item.start: item.index for item in plan.table.partitions}
    assert [(item.index, gpt[item.start]) for item in plan.table.hybrid] == [(1, 1), (2, 2), (3, 3)]


def test_slot_has_firmware_kernel_command_line_and_a_measure_of_every_file() -> None:
    plan = planned()
    state = plan.table.find("slot-state") if isinstance(plan.table, Table) else None
    assert state
    entry = parse_cmdline(literal(plan, b"imagekit.slot=a "), name="cmdline.txt")
    assert (entry.slot, entry.base_root, entry.kernel_root) == (Slot.A, ROOTS["debian-13"], ROOTS["pc-kernel"])
    assert entry.state_partuuid == str(state.unique_guid)
    slot, sums = decode_sums(literal(plan, b"imagekit slot a\n"))
    assert slot is Slot.A
    assert set(sums) == {*KERNEL, *OWN, "cmdline.txt"} - {"bootcode.bin"}
    assert sums["Image"] == Measure(size=3 * MIB, crc32=0x89ABCDEF)
    assert sums["start4.elf"] == Measure.of(OWN["start4.elf"])


def test_kernel_is_copied_out_of_its_package_and_slot_b_is_left_empty() -> None:
    held = {item.placement.structure.name: item for item in planned().structures}
    assert {write.what for write in held["boot-a"].writes if isinstance(write, Copy)} == {
        "Image of pc-kernel_1.snap", "initrd of pc-kernel_1.snap", f"dtbs/broadcom/{TREE} of pc-kernel_1.snap"}
    assert held["boot-b"].writes == ()
    assert held["boot"].content == "autoboot.txt"


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("slot-files: [config.txt, ", "slot-files: [", "slot-files of the gadget lack config.txt"),
    ("[boot, boot-a, boot-b]", "[boot, boot-b, boot-a]", "numbers mean other partitions"),
    ("[boot, boot-a, boot-b]", "[boot]", "numbers mean other partitions"),
    ("start4.elf,", "absent.elf,", "the gadget has no file absent.elf"),
])
def test_gadget_that_would_not_boot_is_refused(old: str, new: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        planned(GADGET.replace(old, new))


def test_boot_partition_that_is_not_the_first_is_refused() -> None:
    before = "      - {name: before, type: 33DEB6F2-752F-574C-BB05-38266357DEAF, size: 1M, offset: 1M}\n"
    moved = GADGET.replace("    structure:\n", f"    structure:\n{before}", 1).replace("        offset: 1M\n", "", 1)
    with pytest.raises(PlanError, match="'boot' is not the first partition"):
        planned(moved.replace("  hybrid-mbr: [boot, boot-a, boot-b]\n", ""))


def test_all_device_trees_of_the_kernel_lie_in_the_slot_by_their_names() -> None:
    paths = ["Image", "initrd", "modules/a.dtb", f"dtbs/broadcom/{TREE}", "dtbs/broadcom/bcm2712-rpi-5-b.dtb",
             "dtbs/broadcom/README"]
    assert wanted_files(paths, "arm64") == {
        "Image": "Image", "initrd": "initrd", TREE: f"dtbs/broadcom/{TREE}",
        "bcm2712-rpi-5-b.dtb": "dtbs/broadcom/bcm2712-rpi-5-b.dtb"}
    with pytest.raises(PlanError, match=r"looks for a\.dtb in one place"):
        wanted_files(["dtbs/x/a.dtb", "dtbs/y/a.dtb"], "arm64")
    with pytest.raises(PlanError, match="cannot boot armhf by piboot"):
        wanted_files(paths, "armhf")


def test_kernel_without_device_trees_is_refused() -> None:
    with pytest.raises(PlanError, match="no device tree below dtbs/"):
        wanted_files(["Image", "initrd", "modules/a.dtb"], "arm64")


@pytest.mark.parametrize("name", ["image", "initrd", "CMDLINE.TXT", "slot.sum", "gadget.yaml", "sub/gadget.assert",
                                  "bcm2710-rpi-3-b.DTB"])
def test_file_of_the_gadget_in_the_place_of_ours_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="lies where imagekit writes"):
        planned(GADGET.replace("slot-files: [", f"slot-files: [{name}, "))


def test_slot_too_small_for_its_kernel_is_refused() -> None:
    with pytest.raises(PlanError, match=r"cannot place '[^']+' on FAT"):
        planned(GADGET.replace("size: 96M", "size: 4M"))


def test_two_slots_differ_in_nothing_but_what_names_them() -> None:
    one, two = (slot_files(replace(ENTRY, slot=slot), KERNEL, {"config.txt": b"x"}, package="k_1.snap")
                for slot in Slot)
    different = {name for name in one if one[name] != two[name]}
    assert different == {"cmdline.txt", SUMS_NAME}
