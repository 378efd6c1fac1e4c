"""What of a new gadget reaches a running device, and what is refused with its reason."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagekit.assertions import parse_model
from imagekit.boot.uimage import decode_script
from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import PlanError
from imagekit.gadget import GADGET_YAML, Era, Gadget, parse_gadget
from imagekit.plan.resolve import Resolution, resolve
from imagekit.plan.update_gadget import GadgetPlan, NewGadget, plan_gadget, plan_slot_gadget
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import GADGET
from imagekit.testing.plans import SIZES, available, digest
from imagekit.units import MIB
from tests.tools.small_boards import PARTS, PIBOOT, SLOTS, UBOOT_SLOTS

ONE = GADGET.replace("\n        content:", "\n        update: {edition: 1}\n        content:")
TWO = ONE.replace("edition: 1", "edition: 2")
FILES = {"systemd-bootx64.efi": b"new loader", "loader.conf": b"timeout 0\n", "startup.nsh": b"reset -s\r\n"}
THERE = {"EFI/BOOT/BOOTX64.EFI": b"old loader", "loader/loader.conf": b"timeout 0\n", "startup.nsh": b"reset\r\n"}
UBOOT = """\
volumes:
  board:
    bootloader: u-boot
    structure:
      - {name: u-boot, type: bare, offset: 8192, size: 1040384, update: {edition: 1}, content: [{image: u-boot.bin}]}
      - {name: boot, role: system-boot, type: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, filesystem: vfat, offset: 1M,
         size: 8M, update: {edition: 1}}
""" + UBOOT_SLOTS + SLOTS + """\
x-imagekit:
  bootloader: u-boot
  gpt-entries: 56
  cmdline: panic=10
""" + PARTS


def gadget(text: str) -> Gadget:
    return parse_gadget(load_yaml(text, name="gadget.yaml"), era=Era.UC20)


def resolved(architecture: str = "amd64") -> Resolution:
    brand = Brand("acme")
    wanted = {"pc": 2, "debian-13": 1, "pc-kernel": 1}
    for name, number in wanted.items():
        brand.revision(name, number, sha3=digest(name, number), size=SIZES[name], verity_root=None)
    model = parse_model(brand.model(architecture=architecture))
    return resolve(model, brand.database(), available(*wanted.items()), now=NOW)


def volume(files: Mapping[str, bytes]) -> FatVolume:
    plan = plan_fat(4 * MIB, "boot", 1, [FatFile(path=path, source=raw) for path, raw in files.items()],
                    time=datetime(2026, 1, 1, tzinfo=UTC))
    raw = bytearray(4 * MIB)
    for offset, content in plan.extents:
        assert isinstance(content, bytes)
        raw[offset:offset + len(content)] = content
    return read_fat(io.BytesIO(raw))


def planned(new: str = TWO, *, old: str = ONE, files: Mapping[str, bytes] = FILES,
            there: Mapping[str, bytes] = THERE, architecture: str = "amd64") -> GadgetPlan:
    resolution = resolved(architecture)
    offered = NewGadget(package=resolution.of(resolution.model.gadget), gadget=gadget(new),
                        files={**files, GADGET_YAML: new.encode()})
    return plan_gadget(gadget(old), offered, resolution, volume(there))


def refused(new: str, **options: object) -> list[str]:
    with pytest.raises(PlanError, match="cannot update the gadget to pc 2") as refusal:
        planned(new, **options)  # type: ignore[arg-type]
    return [refusal.value.message, *refusal.value.details]


def test_files_that_differ_are_written_in_the_order_of_the_gadget() -> None:
    plan = planned()
    assert [(item.path, item.source, item.content) for item in plan.assets] == [
        ("EFI/BOOT/BOOTX64.EFI", "systemd-bootx64.efi", b"new loader"),
        ("startup.nsh", "startup.nsh", b"reset -s\r\n")]
    assert (plan.name, plan.revision, plan.partition) == ("pc", 2, "esp")
    assert plan.known.document == TWO.encode()
    assert b"type: snap-revision" in plan.known.proof


def test_edition_that_does_not_rise_writes_nothing_and_says_so() -> None:
    plan = planned(ONE.replace("panic=10", "panic=30"))
    assert plan.assets == ()
    assert plan.cmdline.endswith("panic=30")


def test_edition_that_falls_writes_nothing_and_says_so() -> None:
    plan = planned(ONE, old=TWO)
    assert plan.assets == ()
    assert plan.notes == ("esp: its edition fell from 2 to 1: the old content stays",)


def test_preserved_file_stays() -> None:
    plan = planned(TWO.replace("edition: 2", "edition: 2, preserve: [startup.nsh]"))
    assert [item.path for item in plan.assets] == ["EFI/BOOT/BOOTX64.EFI"]


def test_later_of_two_contents_for_one_path_counts() -> None:
    more = TWO.replace("          - {source: startup.nsh", "          - {source: loader.conf, target: startup.nsh}\n"
                       "          - {source: startup.nsh")
    assert planned(more).assets[-1].content == FILES["startup.nsh"]


REFUSED: dict[str, tuple[Callable[[str], str], str]] = {
    "another layout": (lambda text: text.replace("size: 40M", "size: 41M"), "it shall have"),
    "a new file": (lambda text: text.replace("target: EFI/BOOT/BOOTX64.EFI", "target: EFI/BOOT/BOOTIA32.EFI"),
                   "EFI/BOOT/BOOTIA32.EFI is new: a device gets no files that it did not have"),
    "content of the kernel": (lambda text: text.replace("source: startup.nsh", "source: $kernel:dtbs/"),
                              "$kernel:dtbs/ comes from the kernel"),
    "a file that is missing": (lambda text: text.replace("source: startup.nsh", "source: absent.nsh"),
                               "the new gadget has no file 'absent.nsh'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_device_cannot_take_is_refused(what: str) -> None:
    change, reason = REFUSED[what]
    assert any(reason in line for line in refused(change(TWO)))


@pytest.mark.parametrize(("path", "reason"), [
    ("loader/entries/imagekit-a.conf", "would be offered by the loader beside the slots"),
    ("Loader/Entries/imagekit-a.conf", "would be offered by the loader beside the slots"),
    ("EFI/imagekit/a/kernel.efi", "lies where imagekit writes"), ("efi/imagekit/A/KERNEL.EFI", "lies where imagekit")])
def test_file_of_a_slot_is_not_a_gadgets_to_change(path: str, reason: str) -> None:
    there = {**THERE, "loader/entries/imagekit-a.conf": b"entry", "EFI/imagekit/a/kernel.efi": b"kernel"}
    (message,) = refused(TWO.replace("startup.nsh, target: /", f"startup.nsh, target: {path}"), there=there)
    assert f"the gadget's {path!r} {reason}" in message


def test_loader_conf_that_chooses_an_entry_itself_is_refused() -> None:
    chosen = {**FILES, "loader.conf": b"timeout 0\ndefault imagekit-a.conf\n"}
    (message,) = refused(TWO, files=chosen)
    assert "the gadget's 'loader/loader.conf' has a default, which comes before every decision about slots" in message
    planned(files=chosen, there={**THERE, "loader/loader.conf": chosen["loader.conf"]})  # it is there already


def test_script_of_uboot_is_not_a_gadgets_to_change() -> None:
    new = UBOOT.replace("size: 8M, update: {edition: 1}}",
                        "size: 8M, update: {edition: 2}, content: [{source: a, target: Boot.scr}]}")
    (message,) = refused(new, old=UBOOT, files={"u-boot.bin": b"u", "a": b"a"}, there={"boot.scr": b"b"},
                         architecture="arm64")
    assert "the gadget's 'Boot.scr' lies where imagekit writes" in message


def test_gadget_for_other_slots_is_refused() -> None:
    swapped = TWO.replace("base-a: {slot: a", "base-a: {slot: x").replace(
        "base-b: {slot: b", "base-b: {slot: a").replace("{slot: x", "{slot: b")
    assert any("its x-imagekit changes in more than cmdline, addresses and slot-files" in line
               for line in refused(swapped))


def test_firmware_whose_files_only_work_together_is_refused() -> None:
    one = ONE.replace("loader/loader.conf", "start4.elf").replace("target: /", "target: fixup4.dat")
    there = {"EFI/BOOT/BOOTX64.EFI": b"", "start4.elf": b"1", "fixup4.dat": b"1"}
    two = one.replace("edition: 1", "edition: 2")
    assert any("start4.elf, fixup4.dat only work together" in line for line in refused(two, old=one, there=there))
    alone = {**there, "fixup4.dat": FILES["startup.nsh"]}
    assert len(planned(two, old=one, there=alone).assets) == 2


def test_slots_with_files_of_the_gadget_get_those_of_the_new_one_and_what_says_whose_they_are() -> None:
    resolution = resolved("arm64")
    offered = NewGadget(package=resolution.of(resolution.model.gadget), gadget=gadget(PIBOOT.gadget),
                        files={**PIBOOT.own, GADGET_YAML: PIBOOT.gadget.encode()})
    plan = plan_slot_gadget(gadget(PIBOOT.gadget), offered, resolution, "boot-b")
    assert [(item.path, item.source) for item in plan.assets] == [
        ("config.txt", "config.txt"), ("start.elf", "start.elf"), ("start4.elf", "start4.elf"), ("gadget.yaml", ""),
        ("gadget.assert", "")]
    assert (plan.in_slot, plan.partition, plan.revision) == (True, "boot-b", 2)
    assert plan.assets[-1].content == plan.known.proof


def test_uboot_gets_its_script_anew_also_where_the_gadget_has_no_other_files() -> None:
    addresses = "  addresses: {kernel: 0x200000, initrd: 0x6000000, scratch: 0x9000000}\n"
    two = UBOOT.replace("size: 8M, update: {edition: 1}}", "size: 8M, update: {edition: 2}}").replace(
        "  cmdline:", f"{addresses}  cmdline:")
    plan = planned(two, old=UBOOT, there={"boot.scr": b"old"}, architecture="arm64", files={"u-boot.bin": b"x"})
    (script,) = plan.assets
    assert (script.path, script.source, plan.partition) == ("boot.scr", "", "boot")
    assert "200000" in decode_script(script.content, name="boot.scr").text
    assert planned(UBOOT.replace("panic=10", "panic=20"), old=UBOOT, there={"boot.scr": b"old"}, architecture="arm64",
                   files={}).assets == ()


def test_raw_boot_code_is_refused_since_there_is_one_of_it() -> None:
    two = UBOOT.replace("size: 1040384, update: {edition: 1}", "size: 1040384, update: {edition: 2}")
    assert any("it would be written over the only copy" in line for line in refused(
        two, old=UBOOT, there={"boot.scr": b"old"}, architecture="arm64", files={"u-boot.bin": b"x"}))


def test_boot_partition_without_room_for_both_is_refused_before_anything_is_begun() -> None:
    with pytest.raises(PlanError, match=r"cannot replace EFI/BOOT/BOOTX64\.EFI: it needs"):
        planned(files={**FILES, "systemd-bootx64.efi": bytes(3 * MIB)}, there={**THERE, "big": bytes(2 * MIB)})


def test_gadget_that_nobody_signed_is_refused() -> None:
    resolution = resolved()
    package = replace(resolution.of(resolution.model.gadget), revision=None)
    with pytest.raises(PlanError, match="nobody signed it"):
        plan_gadget(gadget(ONE), NewGadget(package=package, gadget=gadget(TWO), files=FILES), resolution, volume(THERE))
