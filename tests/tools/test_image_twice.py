"""Building twice: equal bytes whatever surrounds the build, and each planted difference found and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagekit.build.run import Request, build, up_to_date
from imagekit.build.twice import compare, compare_images, prove
from imagekit.disk.fat_read import read_fat
from imagekit.disk.verity import tree_size
from imagekit.errors import TargetError
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.plan.manifest import MANIFEST, encode_manifest, parse_manifest, with_boot
from imagekit.testing.documents import NOW
from imagekit.testing.images import Silent, Workshop, noise

pytestmark = pytest.mark.tools

ELSEWHERE = textwrap.dedent("""
    import pathlib, sys
    from imagekit.build.run import Request, build
    from imagekit.host.cache import Cache
    from imagekit.host.tools import LocalTools
    from imagekit.testing.documents import NOW
    from imagekit.testing.images import Silent

    folder, out = map(pathlib.Path, sys.argv[1:])
    request = Request(model=folder / "pc.model", packages=(folder / "packages",), trust=(folder / "trust",), epoch=None,
                      now=NOW)
    build(request, out, tools=LocalTools, cache=Cache(out.parent / "cache"), progress=Silent())
""")


def start(built: Any, structure: str) -> int:
    return int(built.plan.layout.named(structure).start)


def planted(built: Any, folder: Path, offset: int) -> str:
    """Change one byte in a copy of the image; what the comparison says."""
    copy = folder / "copy.img"
    subprocess.run(["cp", "--sparse=always", str(built.image), str(copy)], check=True)
    with copy.open("r+b") as stream:
        stream.seek(offset)
        value = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([value ^ 0x40]))
    said = compare_images(built.image, copy)
    assert said is not None
    assert said.startswith(f"byte {offset} is {value:#04x} and {value ^ 0x40:#04x}: ")
    return said.partition(": ")[2]


def test_other_user_umask_zone_language_and_folder_give_the_same_bytes(built: Any, tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(ELSEWHERE)
    copy = tmp_path / "elsewhere"
    shutil.copytree(built.workshop.folder, copy, ignore=shutil.ignore_patterns("out", "tree-*", "cache"))
    out = tmp_path / "second" / "out"
    # In a user namespace of its own without a mapping, the builder is user 65534 and so is the owner of every file.
    subprocess.run(["unshare", "--user", sys.executable, str(script), str(copy), str(out)], check=True, umask=0o077,
                   env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), "TZ": "Asia/Kathmandu",
                        "LC_ALL": "C", "PYTHONHASHSEED": "99", "HOME": str(tmp_path)})
    compare(built.folder, out, built.manifest)
    for path in built.folder.iterdir():
        if not path.name.startswith("."):
            assert (out / path.name).read_bytes() == path.read_bytes()
            assert (out / path.name).stat().st_mode & 0o777 == 0o644


def test_difference_in_the_checksum_of_the_partition_table_is_named(built: Any, tmp_path: Path) -> None:
    assert planted(built, tmp_path, 512 + 17) == "primary GPT header, field header CRC"


def test_difference_in_the_backup_table_is_named(built: Any, tmp_path: Path) -> None:
    backup = built.manifest.image.size - 33 * 512
    assert planted(built, tmp_path, backup + 2 * 128 + 20) == "backup GPT entry 3 ('base-a'), field unique GUID"


def test_difference_in_the_date_of_a_file_is_named(built: Any, tmp_path: Path) -> None:
    with built.image.open("rb") as stream:
        volume = read_fat(stream, start(built, "esp"))
        directory = volume.directory_extents("EFI/imagekit/a")[0].start
        content = volume.directory_bytes("EFI/imagekit/a")
    assert directory is not None
    position = directory + content.index(b"KERNEL  EFI") + 24
    assert planted(built, tmp_path, position) == ("partition 1 'esp', directory /EFI/imagekit/a, entry of 'kernel.efi',"
                                                  " field write date")


def test_difference_in_the_identity_of_the_data_file_system_is_named(built: Any, tmp_path: Path) -> None:
    said = planted(built, tmp_path, start(built, "data") + 1024 + 110)
    assert said == "partition 8 'data', ext4 superblock, field uuid"


def test_difference_in_a_file_of_the_seed_is_named(built: Any, tmp_path: Path) -> None:
    with built.image.open("rb") as stream:
        found = read_fat(stream, start(built, "seed")).locate("snaps/debian-13_1.snap.zst")[0].start
    assert found is not None
    said = planted(built, tmp_path, found + 1000)
    assert said == "partition 7 'seed', file snaps/debian-13_1.snap.zst, byte 1000 of it"


def test_difference_in_a_file_of_the_base_is_named(built: Any, tmp_path: Path) -> None:
    with built.image.open("rb") as stream:
        found = Erofs(stream, offset=start(built, "base-a")).extents("usr/bin/init")[0].start
    assert found is not None
    assert planted(built, tmp_path, found + 7) == "partition 3 'base-a', file /usr/bin/init, byte 7 of it"


def test_differences_in_superblocks_fats_and_hash_trees_are_named(built: Any, tmp_path: Path) -> None:
    base, esp = start(built, "base-a"), start(built, "esp")
    size = built.manifest.packages[2].size
    with built.image.open("rb") as stream:
        stream.seek(esp + 14)
        tables = esp + int.from_bytes(stream.read(2), "little") * 512
    for offset, said in (
        (base + 1024 + 50, "partition 3 'base-a', EROFS superblock, field uuid"),
        (base + size + 100, "partition 3 'base-a', verity superblock, field salt"),
        (base + size + tree_size(size) - 4096, "partition 3 'base-a', hash tree, level 0, block 6, digest 0"),
        (esp + 71, "partition 1 'esp', boot sector, field label"),
        (tables + 4 * 5, "partition 1 'esp', FAT 1, entry of cluster 5"),
        (start(built, "slot-state") + 5, "partition 2 'slot-state', copy 1 of the slot-state record, field generation"),
        (441, "protective MBR, field disk signature"),
    ):
        assert planted(built, tmp_path, offset) == said


def test_build_that_comes_out_otherwise_is_refused_with_the_difference(built: Any, tmp_path: Path) -> None:
    def otherwise(_: Request, folder: Path, __: Path) -> None:
        shutil.copytree(built.folder, folder)
        with (folder / "pc.img").open("r+b") as stream:
            stream.seek(start(built, "data") + 1024 + 104)
            stream.write(b"other")

    with pytest.raises(TargetError, match="partition 8 'data', ext4 superblock, field uuid"):
        prove(built.request, built.folder, built.manifest, cache=Cache(tmp_path / "cache"), progress=Silent(),
              again=otherwise)
    assert not list(built.folder.parent.glob("work-*"))


def test_build_that_comes_out_equal_is_proved(built: Any, tmp_path: Path) -> None:
    def equal(request: Request, folder: Path, cache: Path) -> None:
        build(request, folder, tools=LocalTools, cache=Cache(cache), progress=Silent())

    prove(built.request, built.folder, built.manifest, cache=Cache(tmp_path / "cache"), progress=Silent(), again=equal)


def test_facts_of_an_earlier_build_change_no_byte(built: Any, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for name in ("without", "with"):
        build(built.request, tmp_path / name, tools=LocalTools, cache=cache, progress=Silent())
        compare(built.folder, tmp_path / name, built.manifest)


@pytest.fixture
def fresh(workshop: Workshop, tmp_path: Path) -> tuple[Request, Path]:
    """A workshop with its image built, ready to be built again."""
    for path in workshop.folder.rglob("*"):
        assert path.exists()  # files rest a moment before they count as settled
    request = Request(model=workshop.folder / "pc.model", packages=(workshop.packages,), trust=(workshop.trust,),
                      epoch=None, now=NOW)
    make(request, tmp_path)
    return request, tmp_path / "out"


def make(request: Request, folder: Path) -> None:
    import time

    time.sleep(0.1)  # inputs must have rested, or the note is not kept
    build(request, folder / "out", tools=LocalTools, cache=Cache(folder / "cache"), progress=Silent())


def test_image_with_nothing_changed_is_up_to_date(fresh: tuple[Request, Path]) -> None:
    request, out = fresh
    found = up_to_date(request, out)
    assert found is not None
    assert encode_manifest(found) == (out / MANIFEST).read_bytes()


def test_recorded_boot_leaves_the_image_up_to_date_and_survives_an_equal_rebuild(fresh: tuple[Request, Path],
                                                                               tmp_path: Path) -> None:
    request, out = fresh
    manifest = parse_manifest((out / MANIFEST).read_bytes(), name=MANIFEST)
    booted = with_boot(manifest, machine="pc", digest=manifest.image.digest, time=datetime(2026, 2, 3, tzinfo=UTC))
    (out / MANIFEST).write_bytes(encode_manifest(booted))
    assert up_to_date(request, out) == booted
    make(request, tmp_path)
    assert parse_manifest((out / MANIFEST).read_bytes(), name=MANIFEST).booted == booted.booted


@pytest.mark.parametrize("change", ["package", "assertion", "model", "trust", "image", "bmap", "manifest", "new file",
                                    "epoch", "compressed"])
def test_image_with_something_changed_is_not_up_to_date(fresh: tuple[Request, Path], change: str) -> None:
    request, out = fresh
    packages = request.packages[0]
    touched = {"package": packages / "pc-kernel_1.snap", "assertion": packages / "pc_1.assert", "model": request.model,
               "trust": request.trust[0] / "roots.assert", "image": out / "pc.img", "bmap": out / "pc.img.bmap",
               "compressed": packages / "pc_1.snap.zst"}
    if change in touched:
        path = touched[change]
        times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
        with path.open("r+b") as stream:
            stream.write(stream.read(1))
        os.utime(path, ns=times)  # who puts the old time back is not believed
    elif change == "manifest":
        path = out / MANIFEST
        path.write_text(path.read_text().replace('"debian-13"', '"debian-12"'))
    elif change == "new file":
        (packages / "pc_2.snap").write_bytes(b"new")
    else:
        request = replace(request, epoch=1)
    assert up_to_date(request, out) is None


def test_image_is_not_up_to_date_once_a_key_has_expired(workshop: Workshop, tmp_path: Path) -> None:
    from imagekit.testing.documents import Brand

    workshop.brand = Brand("acme", until=datetime(2027, 1, 1, tzinfo=UTC))
    workshop.usual()
    request = Request(model=workshop.folder / "pc.model", packages=(workshop.packages,), trust=(workshop.trust,),
                      epoch=None, now=NOW)
    make(request, tmp_path)
    assert up_to_date(request, tmp_path / "out") is not None
    assert up_to_date(replace(request, now=datetime(2027, 1, 2, tzinfo=UTC)), tmp_path / "out") is None


def test_newer_package_gives_another_image(fresh: tuple[Request, Path], workshop: Workshop, tmp_path: Path) -> None:
    request, out = fresh
    before = parse_manifest((out / MANIFEST).read_bytes(), name=MANIFEST)
    workshop.package("pc-kernel", "kernel", {"kernel.efi": noise("newer", 1 << 20)}, revision=2)
    assert up_to_date(request, out) is None
    make(request, tmp_path)
    after = parse_manifest((out / MANIFEST).read_bytes(), name=MANIFEST)
    assert [item.revision for item in after.packages] == [1, 2, 1]
    assert after.image.digest != before.image.digest
    unchanged = [item.name for item, old in zip(after.structures, before.structures, strict=True)
                 if item.digest == old.digest]
    assert unchanged == ["slot-state", "base-a", "base-b", "kernel-b", "data"]
