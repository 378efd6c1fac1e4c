"""A finished image, as other people's programs see it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from imagekit.assertions import Database, decode_one, decode_stream
from imagekit.boot.slotstate import FACTORY, decode_record
from imagekit.device.refresh import room_in
from imagekit.disk.probe import Content, probe
from imagekit.plan.writes import PackageWrite
from imagekit.testing.documents import NOW
from imagekit.testing.images import BOOT_ASSETS, kernel_image
from imagekit.units import MIB
from tests.loops import looped, need_loops

pytestmark = pytest.mark.tools

RunTool = Callable[..., str]
SLOTS = {"base-a": "debian-13_1.snap", "kernel-a": "pc-kernel_1.snap"}


def test_partition_table_is_in_order(run_tool: RunTool, built: Any) -> None:
    assert "No errors detected" in run_tool("sfdisk", "--verify", built.image)
    assert "No problems found" in run_tool("sgdisk", "-v", built.image)


def test_names_types_and_places_are_those_of_the_plan(run_tool: RunTool, built: Any) -> None:
    for partition in built.plan.table.partitions:
        said = run_tool("sgdisk", "-i", str(partition.index), built.image)
        assert f"Partition name: '{partition.name}'" in said
        assert f"Partition GUID code: {str(partition.type_guid).upper()}" in said
        assert f"Partition unique GUID: {str(partition.unique_guid).upper()}" in said
        assert f"First sector: {partition.start // 512} " in said
        assert f"Last sector: {partition.end // 512 - 1} " in said


def test_gdisk_lists_the_names_of_the_plan(run_tool: RunTool, built: Any) -> None:
    said = run_tool("gdisk", "-l", built.image)
    rows = re.findall(r"^ +(\d+) +(\d+) +(\d+) .*  (\S+)$", said, re.MULTILINE)
    assert [(int(number), int(start) * 512, (int(end) + 1) * 512, name) for number, start, end, name in rows] == [
        (item.index, item.start, item.end, item.name) for item in built.plan.table.partitions]


@pytest.mark.parametrize("structure", ["esp", "seed"])
def test_fat_volumes_are_clean(run_tool: RunTool, built: Any, tmp_path: Path, structure: str) -> None:
    run_tool("fsck.vfat", "-n", built.extract(structure, tmp_path / structure))


def test_esp_holds_the_boot_files(run_tool: RunTool, built: Any, tmp_path: Path) -> None:
    drive = f"{built.image}@@{built.plan.layout.named('esp').start}"
    for path, content in (("EFI/BOOT/BOOTX64.EFI", BOOT_ASSETS["systemd-bootx64.efi"]),
                          ("loader/loader.conf", BOOT_ASSETS["loader.conf"]),
                          ("startup.nsh", BOOT_ASSETS["startup.nsh"]),
                          ("EFI/imagekit/a/kernel.efi", kernel_image(1 << 20))):
        run_tool("mcopy", "-n", "-i", drive, f"::/{path}", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == content
        (tmp_path / "file").unlink()
    entry = run_tool("mtype", "-i", drive, "::/loader/entries/imagekit-a.conf")
    assert f"imagekit.base={built.manifest.packages[2].verity_root}" in entry


def test_seed_holds_model_assertions_and_packages(run_tool: RunTool, built: Any, tmp_path: Path) -> None:
    drive = f"{built.image}@@{built.plan.layout.named('seed').start}"
    run_tool("mcopy", "-s", "-n", "-i", drive, "::/systems", "::/snaps", tmp_path)
    system = tmp_path / "systems" / "20260101"
    database = Database(built.workshop.brand.roots)
    for name in ("model-etc", "snaps"):
        for assertion in decode_stream((system / "assertions" / name).read_bytes(), name=name):
            database.add(assertion)
    database.verify(decode_one((system / "model").read_bytes(), name="model"), now=NOW)
    assert len(database.all("snap-revision")) == 3
    for revision in (*database.all("snap-revision"), *database.all("snap-declaration")):
        database.verify(revision, now=NOW)
    for package in built.plan.resolution.packages:
        name = f"{package.file_name}.zst"
        assert (tmp_path / "snaps" / name).read_bytes() == (built.workshop.packages / name).read_bytes()
        run_tool("zstd", "-q", "-d", tmp_path / "snaps" / name)
        assert (tmp_path / "snaps" / package.file_name).read_bytes() == Path(package.file.path).read_bytes()


@pytest.mark.parametrize("structure", list(SLOTS))
def test_slot_holds_the_package_and_a_hash_tree_that_veritysetup_believes(run_tool: RunTool, built: Any, tmp_path: Path,
                                                                          structure: str) -> None:
    raw = built.extract(structure, tmp_path / structure)
    package = (built.workshop.packages / SLOTS[structure]).read_bytes()
    assert raw.read_bytes()[:len(package)] == package
    write = next(item for item in built.plan.writes if isinstance(item, PackageWrite)
                 and item.package == SLOTS[structure])
    run_tool("veritysetup", "verify", raw, raw, write.root_hash, f"--hash-offset={len(package)}")
    (tmp_path / "package").write_bytes(raw.read_bytes()[:len(package)])
    run_tool("fsck.erofs", tmp_path / "package")


def test_second_slot_is_empty(built: Any, tmp_path: Path) -> None:
    for structure in ("base-b", "kernel-b"):
        assert not any(built.extract(structure, tmp_path / structure).read_bytes())


def test_data_file_system_is_clean_and_has_the_planned_identity(run_tool: RunTool, built: Any, tmp_path: Path) -> None:
    raw = built.extract("data", tmp_path / "data")
    run_tool("e2fsck", "-fn", raw)
    said = run_tool("dumpe2fs", "-h", raw)
    assert re.search(r"Filesystem volume name: +ubuntu-data", said)
    assert re.search(r"Filesystem created: +Thu Jan  1 00:00:00 2026", said)


def test_program_that_fills_the_data_partition_leaves_room_for_updates(run_tool: RunTool, built: Any, tmp_path: Path
                                                                       ) -> None:
    """As a device has it, which grows the partition to the end of its disk. The program is not root's."""
    need_loops()
    raw, var, size = built.extract("data", tmp_path / "data"), tmp_path / "var", 256 * MIB
    os.truncate(raw, size)
    run_tool("e2fsck", "-fp", raw)
    run_tool("resize2fs", raw)
    var.mkdir()
    with looped(raw) as loop:
        run_tool("mount", "-t", "ext4", loop.path, var)
        try:
            with (var / "theirs").open("wb") as out:
                filled = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "head", "-c",
                                         str(size), "/dev/zero"], stdout=out, stderr=subprocess.PIPE, check=False)
            assert b"No space left" in filled.stderr
            assert room_in(var) > size // 25
            (var / "ours").write_bytes(bytes(size // 25))
        finally:
            run_tool("umount", var)


def test_block_map_is_believed_by_bmaptool_and_copies_the_image(run_tool: RunTool, built: Any, tmp_path: Path) -> None:
    run_tool("bmaptool", "copy", "--bmap", f"{built.image}.bmap", built.image, tmp_path / "card")
    run_tool("cmp", built.image, tmp_path / "card")


def test_card_full_of_old_data_is_clean_after_the_mapped_blocks_are_written(run_tool: RunTool, built: Any,
                                                                           tmp_path: Path) -> None:
    card = tmp_path / "card"
    card.write_bytes(b"\xa5" * built.manifest.image.size)
    ranges = re.findall(r"> (\d+)(?:-(\d+))? </Range>", (built.folder / "pc.img.bmap").read_text())
    with built.image.open("rb") as source, card.open("r+b") as target:
        for first, last in ranges:
            start, end = int(first) * 4096, (int(last or first) + 1) * 4096
            source.seek(start)
            target.seek(start)
            target.write(source.read(end - start))
    run_tool("sgdisk", "-v", card)
    for structure in ("esp", "seed"):
        run_tool("fsck.vfat", "-n", built.extract(structure, tmp_path / structure, card))
    run_tool("e2fsck", "-fn", built.extract("data", tmp_path / "data", card))
    drive = f"{card}@@{built.plan.layout.named('seed').start}"
    assert "pc_1.snap.zst" in run_tool("mdir", "-b", "-/", "-i", drive, "::")


def test_our_own_probe_knows_every_partition(built: Any) -> None:
    with built.image.open("rb") as stream:
        image = probe(stream)
        stream.seek(built.plan.layout.named("slot-state").start)
        assert decode_record(stream.read(512)) == FACTORY
    assert not image.problems
    assert [(item.name, item.content) for item in image.partitions] == [
        ("esp", Content.FAT), ("slot-state", Content.SLOT_STATE), ("base-a", Content.EROFS), ("base-b", Content.EMPTY),
        ("kernel-a", Content.EROFS), ("kernel-b", Content.EMPTY), ("seed", Content.FAT), ("data", Content.EXT4)]
    assert not any(item.problem for item in image.partitions)


def test_bill_of_materials_is_valid_and_names_every_debian_package(built: Any) -> None:
    text = (built.folder / "pc.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    names = {item["name"] for item in json.loads(text)["components"]}
    assert names == {"pc", "pc-kernel", "debian-13", "libpc", "libpc-kernel", "libdebian-13", "libc6"}
    purls = [item.get("purl", "") for item in json.loads(text)["components"]]
    assert all("distro=debian-13" in purl for purl in purls if purl)


def test_shares_of_the_manifest_add_up(built: Any) -> None:
    manifest = built.manifest
    inside = sum(item.mapped for item in manifest.structures)
    assert 0 < manifest.image.mapped - inside < 50_000  # the rest are the partition tables
    assert manifest.image.mapped < sum(item.mapped for item in manifest.packages) + 8_000_000
