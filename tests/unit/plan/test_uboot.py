"""An image that U-Boot boots, planned without a single file: reviewed as text in `tests/golden/image-uboot.txt`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagekit.assertions import parse_model
from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import COMPRESSED, DEVICE_TREE, ENV_NAME, INITRD, decode_env
from imagekit.boot.uimage import decode_script
from imagekit.errors import PlanError
from imagekit.gadget import Era, parse_gadget
from imagekit.plan.contents import Insides
from imagekit.plan.image import ImagePlan, as_json, plan_image
from imagekit.plan.resolve import resolve
from imagekit.plan.uboot import SlotFile, slot_files, wanted_files
from imagekit.plan.writes import Copy, Literal
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW
from imagekit.testing.plans import ROOTS, available, brand_with
from imagekit.units import MIB
from tests.unit.plan.test_image import as_text

TESTS = Path(__file__).parent.parent.parent
GADGET = (TESTS.parent / "gadgets/arm64-uboot/gadget.yaml").read_text()
FILES = {"Image": SlotFile(path="Image", size=3 * MIB, crc32=0x89ABCDEF),
         INITRD: SlotFile(path="initrd", size=MIB + 1, crc32=0x1234)}


def planned(gadget: str = GADGET, *, architecture: str = "arm64") -> ImagePlan:
    brand = brand_with()
    model = parse_model(brand.model(architecture=architecture))
    resolution = resolve(model, brand.database(), available(), now=NOW)
    insides = Insides(gadget=parse_gadget(load_yaml(gadget, name="gadget.yaml"), era=Era.UC20),
                      files={"u-boot.bin": b"u-boot" * 1000}, kernel_image_size=0, slot_files=FILES)
    return plan_image(resolution, insides, timestamp=model.timestamp)


def literal(plan: ImagePlan, start: bytes) -> bytes:
    literals = [write.content for write in plan.writes if isinstance(write, Literal)]
    return next(content for content in literals if content.startswith(start))


def test_image_for_uboot_is_planned_as_reviewed() -> None:
    assert as_text(planned()) == (TESTS / "golden" / "image-uboot.txt").read_text()


def test_equal_input_gives_an_equal_plan() -> None:
    assert json.dumps(as_json(planned())) == json.dumps(as_json(planned()))


def test_script_loads_where_the_gadget_says_and_else_where_uboot_does() -> None:
    gadget = GADGET.replace("x-imagekit:\n", "x-imagekit:\n  addresses: {kernel: 0x200000, scratch: 0x9000000}\n")
    text = decode_script(literal(planned(gadget), b"\x27\x05\x19\x56"), name="boot.scr").text
    assert "\nsetenv kernel_addr_r 200000\nsetenv pxefile_addr_r 9000000\nsetexpr ik_r0 ${pxefile_addr_r} + 0\n" in text
    assert "setenv ramdisk_addr_r" not in text
    assert "_addr_r 200000" not in decode_script(literal(planned(), b"\x27\x05\x19\x56"), name="boot.scr").text


def test_kernel_is_compressed_where_the_gadget_says_where_to_unpack_it() -> None:
    gadget = parse_gadget(load_yaml(GADGET.replace(
        "x-imagekit:\n", "x-imagekit:\n  addresses: {unpack: 0xa000000}\n"), name="g"), era=Era.UC20)
    assert gadget.extension is not None
    assert wanted_files(gadget.extension, "arm64") == {COMPRESSED: COMPRESSED, INITRD: INITRD}
    plain = parse_gadget(load_yaml(GADGET, name="g"), era=Era.UC20).extension
    assert plain is not None
    assert wanted_files(plain, "arm64") == {"Image": "Image", INITRD: INITRD}


def test_script_knows_the_numbers_of_the_partitions() -> None:
    script = decode_script(literal(planned(), b"\x27\x05\x19\x56"), name="boot.scr")
    assert script.architecture == "arm64"
    assert "part start ${devtype} ${devnum} 2 ik_s0" in script.text
    assert "setenv ik_part 3; else setenv ik_part 4; fi" in script.text
    assert "booti ${kernel_addr_r} ${ramdisk_addr_r}" in script.text


def test_slot_env_has_the_signed_roots_and_measures_every_file() -> None:
    plan = planned()
    found = decode_env(literal(plan, b"bootargs="), name=ENV_NAME)
    state = plan.table.find("slot-state")
    assert state
    assert found["bootargs"].split()[:5] == [
        "imagekit.slot=a", f"imagekit.base={ROOTS['debian-13']}", f"imagekit.kernel={ROOTS['pc-kernel']}",
        f"imagekit.state={state.unique_guid}", "imagekit.loader=u-boot"]
    assert (found["ik_kernel_size"], found["ik_kernel_crc"]) == (f"{3 * MIB:x}", "89abcdef")
    assert (found["ik_initrd_size"], found["ik_initrd_crc"]) == (f"{MIB + 1:x}", "1234")


def test_kernel_is_copied_out_of_its_package_into_the_slot_and_slot_b_is_left_empty() -> None:
    held = {item.placement.structure.name: item for item in planned().structures}
    assert [write.what for write in held["boot-a"].writes if isinstance(write, Copy)] == [
        "Image of pc-kernel_1.snap", "initrd of pc-kernel_1.snap"]
    assert held["boot-b"].writes == ()


def test_device_tree_of_the_gadget_comes_from_the_kernel_package() -> None:
    gadget = parse_gadget(load_yaml(GADGET + "  device-tree: vendor/board.dtb\n", name="gadget.yaml"), era=Era.UC20)
    assert gadget.extension
    assert wanted_files(gadget.extension, "armhf") == {
        "zImage": "zImage", INITRD: "initrd", DEVICE_TREE: "dtbs/vendor/board.dtb"}
    with pytest.raises(PlanError, match="cannot boot amd64 by u-boot"):
        wanted_files(gadget.extension, "amd64")


def test_slot_too_small_for_its_kernel_is_refused() -> None:
    with pytest.raises(PlanError, match="cannot place 'initrd' on FAT: it has 1 MiB"):
        planned(GADGET.replace("size: 96M", "size: 4M"))


def test_two_slots_differ_in_nothing_but_their_name() -> None:
    one, two = (slot_files(FILES, slot=slot, package="k_1.snap", base_root="ab" * 32, kernel_root="cd" * 32,
                           state_partuuid="00000000-0000-0000-0000-000000000001", cmdline="") for slot in Slot)
    assert {name: raw for name, raw in one.items() if name != ENV_NAME} == {
        name: raw for name, raw in two.items() if name != ENV_NAME}
    first, second = one[ENV_NAME], two[ENV_NAME]
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    assert replace_slot(decode_env(first, name="a")) == decode_env(second, name="b")


def replace_slot(found: dict[str, str]) -> dict[str, str]:
    return found | {"bootargs": found["bootargs"].replace("imagekit.slot=a", "imagekit.slot=b"), "ik_slot": "b"}
