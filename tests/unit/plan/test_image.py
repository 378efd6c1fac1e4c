"""A whole image, planned without a single file: reviewed as text in `tests/golden/image-pc.txt`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import Database, Header, Model, parse_model
from imagekit.boot.entries import parse_entry
from imagekit.disk.fat_boot import decode_boot_sector
from imagekit.disk.gpt import encode
from imagekit.errors import PlanError, TrustError
from imagekit.packages.kernelyaml import NOTHING_OFFERED, KernelAsset, KernelContents, KernelInfo
from imagekit.plan.image import ImagePlan, as_json, plan_image
from imagekit.plan.resolve import Resolution, resolve
from imagekit.plan.writes import Copy, Literal, MakeExt4, PackageMember, PackageWrite, Zeros
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import BOOT_ASSETS, GADGET
from imagekit.testing.plans import ROOTS, SIZES, available, brand_with, digest, insides
from imagekit.units import MIB, iec

TESTS = Path(__file__).parent.parent.parent
def parsed(brand: Brand) -> tuple[Model, Database]:
    model = parse_model(brand.model())
    return model, brand.database()


def resolved() -> Resolution:
    model, database = parsed(brand_with())
    return resolve(model, database, available(), now=NOW)


def planned(gadget: str = GADGET, *, kernel: int = MIB) -> ImagePlan:
    resolution = resolved()
    return plan_image(resolution, insides(gadget, kernel=kernel), timestamp=resolution.model.timestamp)


def as_text(plan: ImagePlan) -> str:
    """The plan for a reviewer: structures, then writes."""
    model = plan.model
    lines = [f"image of {model.brand_id}/{model.model}, {iec(plan.disk_size)}, disk {plan.table.disk_guid}", ""]
    for item in plan.structures:
        assert item.entry
        lines.append(f"{item.entry.index} {item.placement.structure.name:<11} {iec(item.placement.size):>7}"
                     f"  {item.entry.id}  {item.content}")
    lines.append("")
    for write in plan.writes:
        lines.append(f"{write.offset:>10} {write.length:>8}  {type(write).__name__:<12} {write.what}")
    return "\n".join(lines) + "\n"


def test_image_of_the_pc_model_is_planned_as_reviewed() -> None:
    assert as_text(planned()) == (TESTS / "golden" / "image-pc.txt").read_text()


def test_equal_input_gives_an_equal_plan() -> None:
    assert planned() == planned()
    assert json.dumps(as_json(planned())) == json.dumps(as_json(planned()))


def test_writes_ascend_and_never_overlap() -> None:
    plan = planned()
    for one, two in zip(plan.writes, plan.writes[1:], strict=False):
        assert one.offset + one.length <= two.offset
    assert plan.writes[-1].offset + plan.writes[-1].length == plan.disk_size


def test_every_kind_of_write_stays_in_its_structure() -> None:
    for item in planned().structures:
        for write in item.writes:
            assert item.placement.start <= write.offset
            assert write.offset + write.length <= item.placement.end


def test_second_slot_gets_nothing() -> None:
    empty = [item.placement.structure.name for item in planned().structures if not item.writes]
    assert empty == ["base-b", "kernel-b"]


def test_loader_entry_has_the_signed_roots_and_the_partition_of_the_state() -> None:
    plan = planned()
    state = plan.table.find("slot-state")
    assert state
    literals = [write.content for write in plan.writes if isinstance(write, Literal)]
    raw = next(content for content in literals if content.startswith(b"title imagekit"))
    entry = parse_entry(raw[:1024], name="imagekit-a.conf")
    assert (entry.base_root, entry.kernel_root) == (ROOTS["debian-13"], ROOTS["pc-kernel"])
    assert entry.state_partuuid == str(state.unique_guid)
    assert entry.cmdline == "console=ttyS0,115200 panic=10"


def test_identifiers_follow_the_model_and_nothing_else() -> None:
    brand = brand_with()
    model = parse_model(brand.model(model="other"))
    other = plan_image(resolve(model, brand.database(), available(), now=NOW), insides(), timestamp=model.timestamp)
    plan = planned()
    assert plan.table.disk_guid != other.table.disk_guid
    ours = {partition.unique_guid for partition in plan.table.partitions}
    assert not ours & {partition.unique_guid for partition in other.table.partitions}


def test_timestamp_changes_times_but_no_identifier() -> None:
    later = plan_image(resolved(), insides(), timestamp=datetime(2030, 1, 1, tzinfo=UTC))
    assert later.table == planned().table
    assert later.writes != planned().writes


def test_free_entries_of_a_fat_are_mapped_though_they_are_zeros() -> None:
    esp = planned().structures[0]
    mapped = sum(write.length for write in esp.writes if isinstance(write, Zeros))
    assert mapped > 10_000


def test_partition_tables_are_among_the_writes() -> None:
    plan = planned()
    literals = {write.offset: write.content for write in plan.writes if isinstance(write, Literal)}
    for offset, content in encode(plan.table):
        assert literals[offset] == content


BASE_SLOT = "type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size:"
REFUSED = [
    (f"{BASE_SLOT} 8M", f"{BASE_SLOT} 4M",
     "cannot fill structure 'base-a': debian-13_1.snap (4 MiB and a hash tree of 40 KiB) needs 4235264 bytes (4 MiB),"
     " it has 4194304 (4 MiB)"),
    ("38266357DEAF, size: 1M", "38266357DEAF, size: 61440",
     "cannot fill structure 'slot-state': the slot-state record with what lies behind it needs 65536 bytes (64 KiB),"
     " it has 61440 (60 KiB)"),
    ("source: loader.conf", "source: missing.conf", "cannot fill structure 'esp': the gadget has no file missing.conf"),
    ("startup.nsh, target: /", "startup.nsh, target: efi/IMAGEKIT/a/kernel.efi",
     "cannot fill structure 'esp': the gadget's 'efi/IMAGEKIT/a/kernel.efi' lies where imagekit writes"
     " 'EFI/imagekit/a/kernel.efi'"),
    ("startup.nsh, target: /", "startup.nsh, target: Loader/Entries/zz.conf",
     "cannot fill structure 'esp': the gadget's 'Loader/Entries/zz.conf' would be offered by the loader beside the"
     " slots"),
    ("startup.nsh, target: /", "startup.nsh, target: EFI/Linux/other.efi",
     "cannot fill structure 'esp': the gadget's 'EFI/Linux/other.efi' would be offered by the loader beside the slots"),
    ("size: 32M", "size: 2000000000G",
     "cannot lay out volume 'pc': it needs a disk of 2000000000.1 GiB, at most 1073741824 GiB are possible"),
    ("source: startup.nsh", "source: $kernel:dtbs/x.dtb",
     "cannot fill structure 'esp': the kernel has no asset 'dtbs': its kernel.yaml has none"),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_cannot_be_built_is_refused(old: str, new: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(GADGET.replace(old, new))
    assert caught.value.message == message


def test_loader_conf_that_chooses_an_entry_itself_is_refused() -> None:
    resolution = resolved()
    chosen = replace(insides(), files={**BOOT_ASSETS, "loader.conf": b"timeout 0\ndefault imagekit-a.conf\n"})
    with pytest.raises(PlanError, match=r"'loader/loader\.conf' has a default, which comes before every decision"):
        plan_image(resolution, chosen, timestamp=resolution.model.timestamp)


BASE_A = "      - {name: base-a, type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M}\n"


@pytest.mark.parametrize(("gadget", "why"), [
    (GADGET.replace("name: base-a", "name: rootfs").replace("    base-a: {", "    rootfs: {"),
     "'rootfs' is base of slot a, and a device finds that by the name base-a"),
    (GADGET.replace("name: slot-state", "name: state").replace("    slot-state: {", "    state: {"),
     "'state' is the slot-state record, and a device finds that by the name slot-state"),
    (GADGET.replace(BASE_A, BASE_A.replace("86B3FADB-AE30-590F-BC3C-D69AB6A623A1", "bare")),
     "'base-a' is outside the partition table, where no device finds it"),
    (GADGET.replace(BASE_A, "").replace("x-imagekit:", f"  second:\n    structure:\n{BASE_A}x-imagekit:"),
     "'base-a' is on another volume than the bootloader"),
    (GADGET.replace("name: esp", "name: e"), "'e' has the role system-boot, and a device finds that by the name esp"),
    (GADGET.replace("name: seed", "name: s"), "'s' has the role system-seed, and a device finds that by the name seed"),
    (GADGET.replace("name: data", "name: d"), "'d' has the role system-data, and a device finds that by the name data"),
])
def test_gadget_whose_partitions_no_device_would_find_is_refused(gadget: str, why: str) -> None:
    with pytest.raises(PlanError) as caught:
        planned(gadget)
    assert caught.value.message == f"cannot plan an image of gadget 'pc': structure {why}"


@pytest.mark.parametrize(("role", "old", "new", "found", "wanted"), [
    ("esp", "vfat", "none", "none", "vfat"), ("seed", "vfat", "ext4", "ext4", "vfat"),
    ("seed", "filesystem: vfat", "update: {edition: 0}", "none", "vfat"), ("data", "ext4", "vfat", "vfat-32", "ext4")])
def test_role_without_the_file_system_that_a_device_mounts_is_refused(role: str, old: str, new: str, found: str,
                                                                      wanted: str) -> None:
    before, name, rest = GADGET.partition(f"name: {role}\n")
    gadget = before + name + rest.replace(old, new, 1)
    if role == "esp":
        gadget = re.sub(r"        content:\n( +- .*\n)+?(?=      - \{name: slot)", "", gadget)
    with pytest.raises(PlanError, match=f"structure '{role}' has the filesystem {found}, and a device mounts {wanted}"):
        planned(gadget)


def test_all_partitions_that_no_device_would_find_are_told_at_once() -> None:
    with pytest.raises(PlanError, match="2 things of its structures that no device would find") as caught:
        planned(GADGET.replace("name: data", "name: d").replace("name: seed", "name: s"))
    assert len(caught.value.details) == 2


def test_kernel_larger_than_the_esp_is_refused() -> None:
    with pytest.raises(PlanError, match=r"cannot place 'EFI/imagekit/a/kernel.efi' on FAT: it has 50 MiB"):
        planned(kernel=50 * MIB)


def test_gadget_without_our_key_is_refused() -> None:
    with pytest.raises(PlanError, match="it has no x-imagekit"):
        planned(GADGET.partition("x-imagekit")[0])


def test_package_that_was_not_compressed_is_refused() -> None:
    model, database = parsed(brand_with())
    files = available()
    files["pc", 1] = replace(files["pc", 1], seed_size=None)
    with pytest.raises(PlanError, match=r"packages/pc_1.snap.zst is missing"):
        plan_image(resolve(model, database, files, now=NOW), insides(), timestamp=model.timestamp)


def test_base_signed_without_a_root_hash_is_refused() -> None:
    brand = Brand("acme")
    for name in SIZES:
        brand.revision(name, 1, sha3=digest(name, 1), size=SIZES[name])
    model, database = parsed(brand)
    with pytest.raises(PlanError, match="its signed revision has no verity-root"):
        plan_image(resolve(model, database, available(), now=NOW), insides(), timestamp=model.timestamp)


def test_highest_revision_that_is_signed_and_at_hand_wins() -> None:
    model, database = parsed(brand_with(("pc", 1), ("pc", 3), ("pc", 12), ("pc-kernel", 1), ("debian-13", 1)))
    files = available(("pc", 1), ("pc", 2), ("pc", 3), ("pc-kernel", 1), ("debian-13", 1))
    assert resolve(model, database, files, now=NOW).of(model.gadget).number == 3


def test_newer_file_that_nobody_signed_is_not_passed_over_in_silence() -> None:
    model, database = parsed(brand_with(("pc", 1), ("pc", 3), ("pc-kernel", 1), ("debian-13", 1)))
    files = available(("pc", 1), ("pc", 3), ("pc", 20), ("pc-kernel", 1), ("debian-13", 1))
    with pytest.raises(TrustError, match=r"packages/pc_20\.snap is newer than revision 3, the newest that is signed"):
        resolve(model, database, files, now=NOW)


def test_two_packages_signed_as_one_revision_are_refused() -> None:
    brand = brand_with()
    brand.revision("pc", 1, sha3="d" * 64, size=SIZES["pc"])
    model, database = parsed(brand)
    with pytest.raises(TrustError, match="2 packages are signed as its revision 1, and they differ"):
        resolve(model, database, available(), now=NOW)


@pytest.mark.parametrize(("headers", "demand"), [
    ({"grade": "secured"}, "grade: 'secured' demands that every package is signed"),
    ({"storage_safety": "encrypted"}, "storage-safety: 'encrypted' demands encrypted storage"),
    ({"class": "x"}, "class: a reserved header"),
    ({"classic": "true", "distribution": "debian"}, "classic: a hybrid system"),
])
def test_model_that_demands_what_images_do_not_have_is_refused(headers: dict[str, Header], demand: str) -> None:
    brand = brand_with()
    model = parse_model(brand.model(**headers))
    with pytest.raises(PlanError, match=demand):
        resolve(model, brand.database(), available(), now=NOW)


def test_package_of_which_components_are_asked_is_refused() -> None:
    brand = brand_with()
    kinds = {"pc": "gadget", "pc-kernel": "kernel", "debian-13": "base"}
    snaps = [brand.snap(name, kind) for name, kind in kinds.items()]
    snaps[1]["components"] = {"wifi": "required"}
    model = parse_model(brand.model(snaps=tuple(snaps)))
    with pytest.raises(PlanError, match=r"snaps\[1\].components"):
        resolve(model, brand.database(), available(), now=NOW)


def test_file_that_nobody_signed_is_refused_with_the_command_that_signs_it() -> None:
    model, database = parsed(brand_with(("pc", 1), ("pc-kernel", 1)))
    with pytest.raises(TrustError) as caught:
        resolve(model, database, available(), now=NOW)
    assert str(caught.value) == ("cannot resolve model 'pc': debian-13: files of revision 1, none of them signed")
    assert caught.value.hint == "sign it: imagekit sign packages/debian-13_1.snap -k KEY"


def test_missing_packages_are_all_told() -> None:
    model, database = parsed(brand_with(("pc", 1), ("pc-kernel", 1)))
    with pytest.raises(PlanError) as caught:
        resolve(model, database, available(("pc", 1)), now=NOW)
    assert caught.value.details == (
        "pc-kernel: signed is revision 1, no file of it",
        "debian-13: neither a file debian-13_REVISION.snap nor a signed revision")


def test_package_cut_short_is_refused_with_both_sizes() -> None:
    model, database = parsed(brand_with())
    files = available()
    files["pc-kernel", 1] = replace(files["pc-kernel", 1], size=2 * MIB - 1)
    with pytest.raises(TrustError, match="it has 2097151 bytes, the signed revision 1 has 2097152"):
        resolve(model, database, files, now=NOW)


def test_revision_signed_by_a_stranger_is_refused() -> None:
    brand, stranger = brand_with(("pc", 1), ("pc-kernel", 1)), Brand("stranger")
    stranger.revision("debian-13", 1, sha3="d" * 64, size=SIZES["debian-13"], verity_root=ROOTS["debian-13"])
    model = parse_model(brand.model())
    database = brand.database(*stranger.signed, *stranger.roots)
    with pytest.raises(TrustError):
        resolve(model, database, available(), now=NOW)


def test_kinds_of_writes_are_all_there() -> None:
    kinds = {type(write) for write in planned().writes}
    assert kinds == {Literal, PackageWrite, Copy, MakeExt4, Zeros}


DTBS = KernelContents(
    info=KernelInfo(assets={"dtbs": KernelAsset(name="dtbs", update=True, content=("dtbs/",))}),
    files={"dtbs/a.dtb": 700, "dtbs/deep/b.dtb": 900, "kernel.efi": MIB})


def changed(gadget: str, *, kernel: KernelContents = NOTHING_OFFERED, **files: bytes) -> ImagePlan:
    """The plan of another gadget, with more files in it, for a kernel with assets."""
    resolution = resolved()
    inside = replace(insides(gadget), files={**BOOT_ASSETS, **{f"{name}.img": raw for name, raw in files.items()}},
                     kernel=kernel)
    return plan_image(resolution, inside, timestamp=resolution.model.timestamp)


def test_files_of_the_kernel_are_copied_out_of_it_to_where_the_gadget_says() -> None:
    plan = changed(GADGET.replace("source: startup.nsh, target: /", "source: $kernel:dtbs/dtbs/, target: /dtb"),
                   kernel=DTBS)
    sources = [write.source for write in plan.structures[0].writes if isinstance(write, Copy)]
    assert [(item.package, item.path, item.size) for item in sources if isinstance(item, PackageMember)][1:] == [
        ("pc-kernel_1.snap", "dtbs/a.dtb", 700), ("pc-kernel_1.snap", "dtbs/deep/b.dtb", 900)]


def test_all_references_without_an_answer_are_told_at_once() -> None:
    gadget = GADGET.replace("source: startup.nsh", "source: $kernel:dtbs/qcom/").replace(
        "source: loader.conf", "source: $kernel:firmware/x")
    with pytest.raises(PlanError) as caught:
        changed(gadget, kernel=DTBS)
    assert caught.value.message == "cannot use pc-kernel_1.snap: 2 references of the gadget have no answer"
    assert caught.value.details == (
        "structure 'esp': the kernel has no asset 'firmware': its kernel.yaml has dtbs",
        "structure 'esp': the kernel's asset 'dtbs' does not list 'qcom/': it has dtbs/")


def test_later_of_two_contents_with_one_target_counts() -> None:
    plan = planned(GADGET.replace("startup.nsh, target: /", "startup.nsh, target: loader/loader.conf"))
    literals = [write.content for write in plan.structures[0].writes if isinstance(write, Literal)]
    assert any(content.startswith(b"reset") for content in literals)
    assert not any(content.startswith(b"timeout") for content in literals)


SPL = """    structure:
      - name: spl
        type: bare
        offset: 8192
        size: 65536
        content: [{image: late.img, offset: 4096}, {image: spl.img, offset: 0}]
"""


def test_boot_code_at_8_kib_is_written_behind_a_small_table() -> None:
    gadget = GADGET.replace("    structure:\n", SPL).replace("x-imagekit:\n", "x-imagekit:\n  gpt-entries: 56\n")
    plan = changed(gadget, spl=b"SPL" * 100, late=b"LATE")
    literals = {write.offset: write for write in plan.writes if isinstance(write, Literal)}
    assert literals[8192].content == b"SPL" * 100
    assert literals[8192 + 4096].content == b"LATE"
    assert literals[512].length == 8192 - 512
    assert as_json(plan)["structures"][0]["content"] == "raw"
    with pytest.raises(PlanError, match="the partition table needs bytes 512 to 17408"):
        changed(GADGET.replace("    structure:\n", SPL), spl=b"SPL", late=b"")


def test_mbr_disk_is_refused_as_slots_have_no_names_there() -> None:
    gadget = re.sub(r"type: ([0-9A-F]{8}-)", r"type: 83,\1", GADGET)
    with pytest.raises(PlanError) as caught:
        changed(gadget.replace("bootloader: grub", "bootloader: grub\n    schema: mbr"))
    assert caught.value.message == ("cannot plan volume 'pc': its schema is mbr, and slots are found by the names that"
                                    " only a GPT has")


def test_files_for_a_filesystem_that_the_device_chooses_are_refused() -> None:
    gadget = GADGET.replace("    bootloader: grub\n", "    bootloader: grub\n    partial: [filesystem]\n").replace(
        "size: 6M}", "size: 6M}\n      - {name: more, type: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, size: 6M,"
        " content: [{source: loader.conf, target: /}]}", 1)
    with pytest.raises(PlanError, match="cannot fill structure 'more': its filesystem is partial"):
        planned(gadget)


@pytest.mark.parametrize(("word", "bits"), [("vfat", 32), ("vfat-32", 32), ("vfat-16", 16)])
def test_fat_is_of_the_type_that_the_gadget_names(word: str, bits: int) -> None:
    plan = planned(GADGET.replace("filesystem: vfat", f"filesystem: {word}"))
    esp = next(item for item in plan.structures if item.placement.structure.name == "esp")
    head = next(write for write in esp.writes if isinstance(write, Literal) and write.offset == esp.placement.start)
    assert decode_boot_sector(head.content[:512]).bits == bits
