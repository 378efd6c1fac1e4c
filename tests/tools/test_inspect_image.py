"""Every kind of damage that an image can have, looked at: each has its verdict, and the rest is still told."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.assertions import Assertion
from imagekit.boot.entries import LoaderEntry, encode_entry, kernel_path
from imagekit.boot.slotstate import COPY_OFFSETS, FACTORY, Slot, encode_record
from imagekit.build.inspect_image import inspect_image
from imagekit.build.run import Request, build
from imagekit.digests import crc32c
from imagekit.disk.bmap import decode_bmap, encode_bmap
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.plan.inspection import Inspection, Level, Verdict
from imagekit.qemu.surgery import Disk, Spot
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import EFI_ARM64, LOADER_MARK, Silent, Workshop, efi_program, kernel_image, noise
from tests.tools.conftest import Built, RunTool, kernel_set, require

pytestmark = pytest.mark.tools

ENTRY = "loader/entries/imagekit-a.conf"
LOADER = "EFI/BOOT/BOOTX64.EFI"


@pytest.fixture
def image(built: Built, tmp_path: Path) -> Path:
    """A copy of the whole image, to be damaged, with what lies beside it."""
    shutil.copytree(built.folder, tmp_path / "out")
    return tmp_path / "out" / built.image.name


def look(image: Path, *, trusted: Iterable[Assertion] | None = None, quick: bool = False) -> Inspection:
    with image.open("rb") as stream:
        return inspect_image(image, stream, trusted=Brand("acme").roots if trusted is None else trusted, now=NOW,
                             progress=Silent(), quick=quick)


def bad(found: Inspection) -> list[Verdict]:
    """What is wrong, without what block map and manifest say of any change."""
    return [item for item in found.verdicts if item.level in (Level.WRONG, Level.REFUSED) and item.check != "beside"]


def told(found: Inspection) -> list[tuple[str, str, Level]]:
    return [(item.check, item.about, item.level) for item in bad(found)]


def change_files(image: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with Disk(image) as disk:
        files = disk.esp_files()
        change(files)
        disk.set_esp_files(files)


def change_entry(image: Path, **changes: object) -> None:
    with Disk(image) as disk:
        entry: LoaderEntry = disk.entries()[Slot.A][1]
    change_files(image, lambda files: files.update({ENTRY: encode_entry(replace(entry, **changes))}))  # type: ignore[arg-type]


def test_whole_image_has_good_verdicts_only(built: Built) -> None:
    found = look(built.image)
    assert {item.level for item in found.verdicts} == {Level.GOOD}
    assert {item.check for item in found.verdicts} == {
        "table", "size", "model", "signature", "package", "loader", "entry", "record", "verity", "slot", "kernel",
        "next", "data", "beside"}
    base = found.named(found.part(Slot.A, "base"))
    assert base is not None and (base.name, base.revision) == ("debian-13", 1)


@pytest.mark.parametrize(("copy", "at"), [("primary", 512), ("backup", -512)])
def test_one_damaged_table_is_named_and_the_rest_told(image: Path, copy: str, at: int) -> None:
    raw = bytearray(image.read_bytes())
    raw[at + 24] ^= 1
    image.write_bytes(raw)
    found = look(image)
    assert told(found) == [("table", f"{copy} GPT", Level.WRONG)]
    assert found.next_boot.slot is Slot.A


def test_image_longer_than_its_table_is_noted(image: Path) -> None:
    with image.open("ab") as stream:
        stream.truncate(image.stat().st_size + (1 << 20))
    found = look(image, quick=True)
    assert [(item.check, item.level) for item in found.verdicts if item.check == "size"] == [("size", Level.NOTE)]
    assert not bad(found)
    assert "it is for an image of" in next(item for item in found.beside if item.file.endswith(".bmap")).differences[0]


@pytest.mark.parametrize(("partition", "spot", "words"), [
    ("base-a", Spot.USED, "the block at byte"), ("kernel-a", Spot.USED, "the block at byte"),
    ("base-a", Spot.TREE, "does not match its digest"), ("kernel-a", Spot.TOP, "does not match its digest")])
def test_flipped_bit_is_found_by_the_tree(image: Path, partition: str, spot: Spot, words: str) -> None:
    with Disk(image) as disk:
        disk.flip(partition, disk.find_spot(partition, spot))
    found = look(image)
    about = f"{partition} (slot a)"
    (verdict,) = [item for item in bad(found) if item.check == "verity"]
    assert (verdict.about, verdict.level) == (about, Level.REFUSED)
    if spot is Spot.TOP:  # the tree claims another root, which the entry has not
        assert "it would not start" in verdict.text
    else:
        assert words in verdict.text


def test_bad_block_is_told_with_its_file(image: Path) -> None:
    with Disk(image) as disk, image.open("rb") as stream:
        start = disk.partition("base-a").start
        (extent, *_) = Erofs(stream, offset=start).extents("usr/bin/init")
        assert extent.start is not None
        disk.flip("base-a", extent.start - start + 5000)
    assert "it is of usr/bin/init" in bad(look(image))[0].text
    assert not bad(look(image, quick=True))


def test_block_map_and_manifest_see_the_change_too(image: Path) -> None:
    with Disk(image) as disk:
        disk.flip("base-a", disk.find_spot("base-a", Spot.USED))
    beside = {item.file: item.differences for item in look(image).beside}
    assert "are not what it says" in beside["pc.img.bmap"][0] and "image digest: it says" in beside["manifest.json"][0]


@pytest.mark.parametrize("name", ["base-a", "kernel-a", "slot-state", "esp", "seed", "data"])
def test_block_map_that_leaves_out_what_a_device_reads_is_wrong(image: Path, name: str) -> None:
    with Disk(image) as disk:
        place = disk.partition(name)
    path = image.with_name("pc.img.bmap")
    found = decode_bmap(path.read_bytes())
    path.write_bytes(encode_bmap(found.image_size, [
        item for item in found.ranges if not place.start <= item.start < place.start + 8192]))
    (difference,) = next(item for item in look(image, quick=True).beside if item.file == path.name).differences
    assert difference == (f"it leaves out bytes from {place.start} on, of {name}: a medium that was in use would keep"
                          " its own there")


def test_block_map_by_the_holes_of_a_file_is_wrong(image: Path, run_tool: RunTool) -> None:
    run_tool("fallocate", "--dig-holes", image)
    run_tool("bmaptool", "create", "-o", image.with_name("pc.img.bmap"), image)
    assert "it leaves out bytes from" in next(
        item for item in look(image, quick=True).beside if item.file == "pc.img.bmap").differences[0]


def test_file_beside_the_image_that_was_changed_is_told(built: Built, image: Path) -> None:
    changed, gone = (image.with_name(built.manifest.files[key].file) for key in ("sbom", "layout"))
    changed.write_bytes(changed.read_bytes() + b" ")
    gone.unlink()
    (verdict,) = [item for item in look(image, quick=True).verdicts if item.level is Level.WRONG]
    assert verdict.check == "beside"
    assert f"{changed.name}: it says " in verdict.text


def test_manifest_of_another_build_is_told(image: Path) -> None:
    path = image.with_name("manifest.json")
    path.write_text(path.read_text().replace('"revision": 1,\n      "version"', '"revision": 9,\n      "version"', 1))
    (found,) = [item for item in look(image, quick=True).beside if item.file == "manifest.json"]
    assert "revision 9, which the seed has not" in found.differences[0]


@pytest.mark.parametrize("spot", [Spot.SUPERBLOCK, Spot.VERITY])
def test_damaged_superblock_is_wrong(image: Path, spot: Spot) -> None:
    with Disk(image) as disk:
        disk.flip("kernel-a", disk.find_spot("kernel-a", spot))
    assert ("slot", "kernel-a (slot a)", Level.WRONG) in told(look(image))


def test_entry_with_a_wrong_root_is_refused(image: Path) -> None:
    change_entry(image, base_root="ab" * 32)
    assert told(look(image)) == [("verity", "base-a (slot a)", Level.REFUSED),
                                 ("signature", "base-a (slot a)", Level.REFUSED)]
    assert "it would not start" in bad(look(image, quick=True))[0].text


def test_entry_of_another_disk_is_wrong(image: Path) -> None:
    change_entry(image, state_partuuid="3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")
    assert told(look(image, quick=True)) == [("entry", "imagekit-a.conf", Level.WRONG)]


@pytest.mark.parametrize(("path", "content", "about", "words"), [
    ("loader/entries/other.conf", b"title x\nefi /EFI/imagekit/a/kernel.efi\n", "other.conf", "the entry of no slot"),
    ("EFI/Linux/other.efi", b"MZ", "EFI/Linux/other.efi", "offer it beside the slots"),
    ("loader/loader.conf", b"default other*\n", "loader.conf", "before every decision"),
    (LOADER, b"what is this", LOADER, "not a PE image"),
    (LOADER, efi_program({".text": b"x"}, size=4096), LOADER, "no boot loader that is known"),
    (LOADER, efi_program({".sdmagic": LOADER_MARK}, size=4096, machine=EFI_ARM64), LOADER, "it is for arm64"),
    (ENTRY, b"title x\n", "imagekit-a.conf", "imagekit.slot is missing"),
])
def test_boot_files_that_are_not_ours_are_wrong(image: Path, path: str, content: bytes, about: str, words: str) -> None:
    change_files(image, lambda files: files.update({path: content}))
    assert any(item.about == about and words in item.text and item.level is Level.WRONG
               for item in bad(look(image, quick=True)))


def test_command_line_that_nothing_signs_is_shown_and_not_called_imagekits(image: Path) -> None:
    change_entry(image, cmdline="init=/bin/sh")
    (entry,) = [item for item in look(image, quick=True).verdicts if item.check == "entry"]
    assert (entry.level, entry.text) == (
        Level.GOOD, "in imagekit's form, for this disk; Linux starts with init=/bin/sh, which nothing signs")


def test_second_entry_of_a_slot_is_wrong(image: Path) -> None:
    with Disk(image) as disk:
        entry: LoaderEntry = disk.entries()[Slot.A][1]
    other = encode_entry(replace(entry, version=9, base_root="ab" * 32))
    change_files(image, lambda files: files.update({
        "loader/entries/imagekit-a+3.conf": files[ENTRY], ENTRY: other}))
    found = look(image)
    assert found.next_boot.entry == "imagekit-a.conf"  # not the one that base and kernel were held to
    (verdict,) = bad(found)
    assert (verdict.about, verdict.level) == ("imagekit-a.conf", Level.WRONG)
    assert verdict.text == "slot a has another entry, imagekit-a+3.conf, and its packages are held to that one alone"


def test_loader_that_is_missing_is_named_by_where_the_firmware_looks(image: Path) -> None:
    change_files(image, lambda files: files.pop(LOADER) and None)
    assert bad(look(image, quick=True))[0].text == f"the firmware looks for {LOADER}, which is not there"


def test_no_entry_means_that_nothing_boots(image: Path) -> None:
    change_files(image, lambda files: files.pop(ENTRY) and None)
    found = look(image)
    assert told(found) == [("next", "next boot", Level.WRONG)]
    assert found.part(Slot.A, "base").tree.value == "whole"  # held to its own root, which is signed


def test_replaced_kernel_image_is_refused(image: Path) -> None:
    path = kernel_path(Slot.A)
    change_files(image, lambda files: files.update({path: kernel_image(1 << 20, seed="other")}))
    assert told(look(image)) == [("kernel", f"/{path}", Level.REFUSED)]
    change_files(image, lambda files: files.update({path: kernel_image(1 << 20, machine=EFI_ARM64)}))
    assert ("architecture", f"/{path}", Level.WRONG) in told(look(image, quick=True))
    change_files(image, lambda files: files.update({path: noise("x", 5000)}))
    assert ("kernel", f"/{path}", Level.WRONG) in told(look(image, quick=True))


def test_missing_kernel_image_keeps_the_slot_out_of_the_menu(image: Path) -> None:
    change_files(image, lambda files: files.pop(kernel_path(Slot.A)) and None)
    found = look(image, quick=True)
    assert found.next_boot.slot is None and "names no program that is there" in found.next_boot.reasons[0]


def test_torn_copy_of_the_record_is_told_and_the_other_counts(image: Path) -> None:
    with Disk(image) as disk:
        disk.write("slot-state", COPY_OFFSETS[1], encode_record(FACTORY)[:256] + noise("torn", 256))
    found = look(image, quick=True)
    assert told(found) == [("record", "slot-state copy at 4096", Level.WRONG)]
    assert found.record == FACTORY


def test_record_that_was_never_written_is_wrong(image: Path) -> None:
    with Disk(image) as disk:
        disk.write("slot-state", 0, bytes(512))
    (verdict,) = bad(look(image, quick=True))
    assert verdict.text == "both copies are empty: it was never written"


def test_record_that_praises_an_empty_slot_is_wrong(image: Path) -> None:
    with Disk(image) as disk:
        disk.set_state(replace(FACTORY, generation=2, other_good=True))
    (verdict,) = bad(look(image, quick=True))
    assert "it says that slot b has been healthy, but base-b and kernel-b hold no package" in verdict.text


@pytest.mark.parametrize("lost", ["loader/entries/imagekit-b+3.conf", kernel_path(Slot.B)])
def test_record_that_praises_a_slot_the_loader_cannot_start_is_wrong(built: Built, image: Path, lost: str) -> None:
    packages = built.workshop.packages
    with Disk(image) as disk:
        disk.install(Slot.B, base=packages / "debian-13_1.snap", kernel=packages / "pc-kernel_1.snap")
        disk.set_state(replace(FACTORY, generation=9, other_good=True))
    assert not bad(look(image, quick=True))
    change_files(image, lambda files: files.pop(lost) and None)
    assert "it says that slot b has been healthy, but the loader cannot start it" in [
        item.text for item in bad(look(image, quick=True)) if item.check == "record"]


def test_slot_on_trial_boots_next_and_says_why(built: Built, image: Path) -> None:
    packages = built.workshop.packages
    with Disk(image) as disk:
        disk.install(Slot.B, base=packages / "debian-13_1.snap", kernel=packages / "pc-kernel_1.snap")
    found = look(image)
    assert not bad(found)
    assert found.next_boot.slot is Slot.B and "renames it to imagekit-b+2-1.conf" in "; ".join(found.next_boot.reasons)
    assert found.named(found.part(Slot.B, "kernel")) is not None


def test_package_of_an_unknown_revision_is_refused(built: Built, image: Path, tmp_path: Path) -> None:
    other = Workshop(folder=tmp_path / "other")
    other.folder.mkdir()
    stranger = other.package("debian-13", "base", {"usr/bin/init": noise("evil", 100000)})
    with Disk(image) as disk:
        root = disk.put_package("base-a", stranger)
    change_entry(image, base_root=root)
    assert told(look(image)) == [("signature", "base-a (slot a)", Level.REFUSED)]


def test_packages_that_change_places_are_refused(built: Built, image: Path) -> None:
    with Disk(image) as disk:
        root = disk.put_package("base-a", built.workshop.packages / "pc-kernel_1.snap")
    change_entry(image, base_root=root)
    (verdict,) = bad(look(image))
    assert verdict.text == "pc-kernel is not the base of the model, which is debian-13"


def test_foreign_signature_is_refused(built: Built) -> None:
    found = look(built.image, trusted=Brand("stranger").roots)
    assert found.worst is Level.REFUSED and found.seed.model_state == "authority unproven"
    assert {item.level for item in found.verdicts if item.check == "model"} == {Level.REFUSED}


def test_changed_package_of_the_seed_is_refused(built: Built, image: Path) -> None:
    place = next(write for write in built.plan.writes
                 if getattr(getattr(write, "source", None), "package", "") == "debian-13_1.snap")
    raw = bytearray(image.read_bytes())
    raw[place.offset + 20000] ^= 1
    image.write_bytes(raw)
    (verdict,) = [item for item in bad(look(image)) if item.check == "package"]
    assert verdict.about == "seed: debian-13 revision 1"
    assert not [item for item in bad(look(image, quick=True)) if item.check == "package"]


def test_changed_model_of_the_seed_is_refused(built: Built, image: Path) -> None:
    raw = image.read_bytes()
    image.write_bytes(raw.replace(b"grade: signed", b"grade: danger", 1))
    assert look(image, quick=True).worst is not Level.GOOD


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose model names a validation set that pins revision 1 of its kernel."""
    require("mkfs.erofs", "mke2fs")
    shop = Workshop(folder=tmp_path_factory.mktemp("pinned"))
    shop.usual()
    (shop.packages / "tested.validation-set").write_bytes(kernel_set(shop.brand, revision="1").encode())
    model = shop.model(validation_sets=({"name": "tested", "mode": "enforce", "sequence": "1"},))
    request = Request(model=model, packages=(shop.packages,), trust=(shop.trust,), epoch=None, now=NOW)
    manifest = build(request, shop.folder / "out", tools=LocalTools, cache=Cache(shop.folder / "cache"),
                     progress=Silent())
    return shop.folder / "out" / manifest.image.file


def of_sets(image: Path) -> list[tuple[str, Level, str]]:
    return [(item.about, item.level, item.text) for item in look(image, quick=True).verdicts if item.check == "set"]


def test_packages_are_held_to_the_validation_sets_of_the_model(pinned: Path, tmp_path: Path) -> None:
    assert of_sets(pinned) == [
        ("validation sets", Level.GOOD, "the packages are as acme/tested=1 demands")]
    raw, other = pinned.read_bytes(), tmp_path / "other.img"
    brand = Brand("acme")
    one, two = (kernel_set(brand, revision=number).encode() for number in ("1", "2"))
    assert len(one) == len(two)
    assert raw.count(one) == 1
    other.write_bytes(raw.replace(one, two))
    assert of_sets(other) == [
        ("seed: pc-kernel revision 1", Level.REFUSED, "validation set acme/tested=1 pins revision 2")]
    other.write_bytes(raw.replace(one, one.replace(b" revision: 1", b" revision: 2")))
    ((about, level, text),) = of_sets(other)
    assert (about, level) == ("validation sets", Level.REFUSED)
    assert "the content was changed after it was signed" in text


@pytest.mark.parametrize(("field", "value", "level"), [
    (58, 2, Level.WRONG), (96, 4, Level.NOTE), (120, 0xFFFF, Level.WRONG)])
def test_data_partition_is_told_as_it_was_left(built: Built, image: Path, field: int, value: int, level: Level) -> None:
    with Disk(image) as disk:
        raw = bytearray(disk.read("data", 1024, 1024))
        old, = struct.unpack_from("<H", raw, field)
        struct.pack_into("<H", raw, field, old | value)
        if field != 120:  # a label that is not sealed shows damage
            struct.pack_into("<I", raw, 1020, crc32c(raw[:1020]))
        disk.write("data", 1024, bytes(raw))
    assert [item.level for item in look(image, quick=True).verdicts if item.check == "data"] == [level]


def test_empty_data_partition_is_wrong(image: Path) -> None:
    with Disk(image) as disk:
        disk.write("data", 0, bytes(8192))
    assert "it is empty" in bad(look(image, quick=True))[0].text


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image whose base holds programs of another architecture only."""
    require("mkfs.erofs", "mke2fs")
    shop = Workshop(folder=tmp_path_factory.mktemp("mixed"))
    shop.usual()
    elf = b"\x7fELF\x02\x01" + bytes(12) + (183).to_bytes(2, "little") + bytes(100)
    shop.package("debian-13", "base", {"usr/lib/os-release": b"ID=debian\n", "usr/bin/init": elf})
    request = Request(model=shop.model(), packages=(shop.packages,), trust=(shop.trust,), epoch=None, now=NOW)
    manifest = build(request, shop.folder / "out", tools=LocalTools, cache=Cache(shop.folder / "cache"),
                     progress=Silent())
    return shop.folder / "out" / manifest.image.file


def test_base_of_another_architecture_is_found(mixed: Path) -> None:
    (verdict,) = bad(look(mixed))
    assert (verdict.check, verdict.level) == ("architecture", Level.WRONG)
    assert verdict.text == "no program in it is for amd64: usr/bin/init is for arm64"
