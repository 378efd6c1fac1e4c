"""Our FAT volumes as dosfstools and mtools see them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_write import FatFile, FatPlan, plan_fat
from imagekit.units import MIB

pytestmark = pytest.mark.tools

TIME = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOISE = random.Random(3)
FILES = {
    "EFI/BOOT/BOOTX64.EFI": NOISE.randbytes(120_001),
    "loader/loader.conf": b"timeout 0\n",
    "loader/entries/imagekit-a.conf": b"title a\n".ljust(1024, b"#"),
    "loader/entries/imagekit-b+3.conf": b"title b\n".ljust(1024, b"#"),
    "startup.nsh": b"reset\r\n",
    "empty": b"",
    "ünïcøde and spaces.txt": b"?",
    "systems/20260304/assertions/model-etc": NOISE.randbytes(4096),
    **{f"many/a rather long name number {index}.data": b"%d" % index for index in range(300)},
    "many/" + "n" * 255: b"long",
}


def written(path: Path, plan: FatPlan, *, offset: int = 0) -> Path:
    with path.open("wb") as stream:
        stream.truncate(offset + plan.geometry.size)
        for start, content in plan.extents:
            assert isinstance(content, bytes)
            stream.seek(offset + start)
            stream.write(content)
    return path


def planned(size: int, bits: int | None = None, files: dict[str, bytes] = FILES) -> FatPlan:
    return plan_fat(size, "ubuntu-boot", 0xC0FFEE01, [FatFile(path=path, source=content) for path, content in
                                                      files.items()], time=TIME, bits=bits)


VOLUMES = [(3 * MIB, None), (64 * MIB, None), (64 * MIB, 32), (256 * MIB, 32), (500 * MIB, None), (1200 * MIB, None),
           (2000 * MIB, 16), (9000 * MIB, 32), (33 * MIB + 512 * 1024, 32)]


@pytest.mark.parametrize(("size", "bits"), VOLUMES)
def test_fsck_finds_nothing_wrong(run_tool: Callable[..., str], tmp_path: Path, size: int, bits: int | None) -> None:
    plan = planned(size, bits)
    path = written(tmp_path / "volume", plan)
    said = run_tool("fsck.vfat", "-n", "-v", path).replace(str(path), "")
    assert f"2 FATs, {plan.geometry.bits} bit entries" in said
    assert f"{plan.geometry.cluster} bytes per cluster" in said
    assert not re.search("warning|differ|wrong|invalid|bad|dirty|label", said, re.IGNORECASE), said
    used, clusters = re.findall(r", (\d+)/(\d+) clusters", said)[0]
    assert int(clusters) == plan.geometry.clusters
    assert (int(clusters) - int(used)) * plan.geometry.cluster == plan.free


@pytest.mark.parametrize(("size", "bits"), [(64 * MIB, None), (256 * MIB, 32)])
def test_mtools_reads_the_same_bytes_behind_an_offset(run_tool: Callable[..., str], tmp_path: Path, size: int,
                                                      bits: int | None) -> None:
    image = f"{written(tmp_path / 'disk', planned(size, bits), offset=MIB)}@@1M"
    out = tmp_path / "out"
    out.mkdir()
    run_tool("mcopy", "-s", "-Q", "-i", image, "::/", out)
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert found == FILES
    said = run_tool("mdir", "-i", image, "::/EFI/BOOT")
    assert re.search(r"BOOTX64 +EFI +120001 2026-03-04 +5:06 *\n", said), said
    said = run_tool("mdir", "-i", image, "::/")
    assert re.search(r"STARTUP +NSH +7 2026-03-04 +5:06 +startup.nsh", said, re.IGNORECASE), said
    assert "Volume in drive : is ubuntu-boot" in said
    assert "Volume Serial Number is C0FF-EE01" in said


def test_volume_can_be_filled_to_the_last_cluster(run_tool: Callable[..., str], tmp_path: Path) -> None:
    room = planned(8 * MIB, files={}).free
    plan = planned(8 * MIB, files={"all.bin": NOISE.randbytes(room)})
    assert plan.free == 0
    run_tool("fsck.vfat", "-n", written(tmp_path / "volume", plan))


def test_empty_volume_is_sound(run_tool: Callable[..., str], tmp_path: Path) -> None:
    for bits in (16, 32):
        run_tool("fsck.vfat", "-n", written(tmp_path / "volume", planned(40 * MIB, bits, {})))


def test_mtools_can_write_on(run_tool: Callable[..., str], tmp_path: Path) -> None:
    path = written(tmp_path / "volume", planned(64 * MIB, 32))
    (tmp_path / "more").write_bytes(NOISE.randbytes(300_000))
    run_tool("mcopy", "-i", path, tmp_path / "more", "::/EFI/more")
    run_tool("mdel", "-i", path, "::/EFI/BOOT/BOOTX64.EFI")
    run_tool("fsck.vfat", "-n", path)


@pytest.mark.parametrize(("size", "bits"), [(2 * MIB, 12), (64 * MIB, 16), (64 * MIB, 32)])
def test_volume_of_mkfs_and_mcopy_is_read(run_tool: Callable[..., str], tmp_path: Path, size: int, bits: int) -> None:
    path = tmp_path / "volume"
    with path.open("wb") as stream:
        stream.truncate(size)
    run_tool("mkfs.vfat", "-F", str(bits), "-n", "THEIRS", path)
    expected = {name: content for name, content in FILES.items() if name.isascii()}
    source = tmp_path / "source"
    for name, content in expected.items():
        source.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
        source.joinpath(name).write_bytes(content)
    run_tool("mcopy", "-s", "-Q", "-i", path, *sorted(source.iterdir()), "::/")
    with path.open("rb") as stream:
        volume = read_fat(stream)
        assert volume.geometry.bits == bits
        assert volume.label == "THEIRS"
        assert {entry.path: volume.read(entry.path) for entry in volume.walk() if not entry.is_dir} == expected
