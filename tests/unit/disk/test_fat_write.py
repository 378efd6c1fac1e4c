from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest

from imagekit.disk.fat_boot import decode_boot_sector, fat_type, plan_geometry
from imagekit.disk.fat_write import FatFile, FatPlan, plan_fat
from imagekit.errors import DocumentError, PlanError
from imagekit.units import GIB, KIB, MIB

TIME = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass(frozen=True)
class Big:
    size: int


def plan(*files: tuple[str, bytes | Big | None], size: int = 64 * MIB, label: str = "TEST", time: datetime = TIME,
         bits: int | None = None) -> FatPlan:
    return plan_fat(size, label, 0x1234ABCD, [FatFile(path=path, source=source) for path, source in files], time=time,
                    bits=bits)


@pytest.mark.parametrize(("size", "bits", "kind", "cluster"), [
    (256 * MIB, None, 16, 4 * KIB), (256 * MIB, 32, 32, 2 * KIB), (1200 * MIB, None, 32, 4 * KIB),
    (511 * MIB, None, 16, 8 * KIB), (512 * MIB, None, 32, 4 * KIB), (64 * MIB, 32, 32, 512), (3 * MIB, None, 16, 512),
    (8 * MIB, None, 16, KIB), (16 * GIB, None, 32, 8 * KIB), (64 * GIB, None, 32, 16 * KIB),
    (2 * GIB - MIB, 16, 16, 32 * KIB),
])
def test_type_and_cluster_follow_from_the_size(size: int, bits: int | None, kind: int, cluster: int) -> None:
    geometry = plan_geometry(size, bits=bits)
    assert (geometry.bits, geometry.cluster) == (kind, cluster)
    assert (geometry.clusters >= 65525) == (kind == 32)
    assert geometry.data_start % 4096 == 0
    assert geometry.position(geometry.clusters + 2) <= size
    assert geometry.fat_size * 8 >= (geometry.clusters + 2) * kind


@pytest.mark.parametrize(("size", "bits"), [(0, None), (MIB, None), (32 * MIB, 32), (4 * GIB, 16),
                                            (3 * MIB + 512, None), (64 * MIB, 12), (3000 * GIB, None)])
def test_size_that_makes_no_volume_is_refused(size: int, bits: int | None) -> None:
    with pytest.raises(PlanError, match="cannot lay out a FAT"):
        plan_geometry(size, bits=bits)


@pytest.mark.parametrize(("size", "bits"), [(64 * MIB, 16), (64 * MIB, 32), (9 * GIB, 32), (20 * MIB, 16)])
def test_boot_sector_gives_the_geometry_back(size: int, bits: int) -> None:
    made = plan(size=size, bits=bits)
    raw = made.extents[0][1]
    assert isinstance(raw, bytes)
    assert decode_boot_sector(raw[:512]) == made.geometry


def test_boot_sector_cut_short_is_refused() -> None:
    with pytest.raises(DocumentError, match="no boot sector"):
        decode_boot_sector(b"\xeb\x58\x90")


def test_large_file_is_one_extent_of_its_own_source() -> None:
    big = Big(250_000_001)
    made = plan(("snaps/base_1.snap.zst", big), ("model", b"m"), size=1200 * MIB)
    where = dict(made.files)["snaps/base_1.snap.zst"]
    assert (where, big) in made.extents
    assert where % 4096 == 0


def test_extents_ascend_and_do_not_overlap() -> None:
    made = plan(("a/b/c", b"1" * 5000), ("a/d", Big(70_000)), ("EMPTY", b""), ("z", b"2"), ("hollow/below", None))
    end = 0
    for offset, content in made.extents:
        assert offset >= end
        end = offset + (len(content) if isinstance(content, bytes) else content.size)
    assert end <= made.geometry.size


def test_plan_does_not_depend_on_the_order_of_files() -> None:
    files = [(f"dir{index % 3}/some long name {index}", b"%d" % index) for index in range(50)]
    assert plan(*files) == plan(*reversed(files))


def test_only_metadata_and_files_are_written() -> None:
    made = plan(("snap", Big(MIB)), size=1200 * MIB)
    assert sum(len(content) for _, content in made.extents if isinstance(content, bytes)) < 16 * KIB


def test_file_too_large_for_the_volume_names_both_sizes() -> None:
    with pytest.raises(PlanError, match=r"'big' on FAT: it has 100 MiB, 63\.9 MiB of the volume's 64 MiB are free"):
        plan(("big", Big(100 * MIB)))


def test_file_of_four_gigabytes_is_refused() -> None:
    with pytest.raises(PlanError, match="less than 4 GiB"):
        plan(("big", Big(4 * GIB)), size=9 * GIB)


@pytest.mark.parametrize("files", [
    (("a", b""), ("a", b"")), (("a", b""), ("a/b", b"")), (("a/b", b""), ("a", b"")), (("a/b", b""), ("A/c", b"")),
    (("", b""),), (("a//b", b""),), (("../a", b""),), (("a:b", b""),),
])
def test_paths_that_contradict_each_other_are_refused(files: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(PlanError, match="on FAT"):
        plan(*files)


@pytest.mark.parametrize("path", ["caf\udce9", "caf\udce9/file", "folder/caf\udce9"])
def test_name_of_bytes_that_are_no_text_is_refused(path: str) -> None:
    with pytest.raises(PlanError, match=r"on FAT: '\\udce9' is not allowed"):
        plan((path, b"x"))


def test_directory_may_be_named_besides_its_files() -> None:
    assert plan(("a", None), ("a/b", b"1")) == plan(("a/b", b"1"))


def test_fixed_root_directory_that_overflows_is_refused() -> None:
    with pytest.raises(PlanError, match="'the root' on FAT: its names take 601 entries, at most 512"):
        plan(*((f"long-name-{index:03}.x", b"") for index in range(200)), bits=16)


@pytest.mark.parametrize("label", ["twelve chars", "a/b", "dot.", "ü", "tab\t"])
def test_label_that_fat_cannot_have_is_refused(label: str) -> None:
    with pytest.raises(PlanError, match="cannot label"):
        plan(label=label)


def test_times_are_taken_in_utc() -> None:
    elsewhere = TIME.astimezone(timezone(timedelta(hours=-9)))
    assert plan(("a", b"1"), time=elsewhere) == plan(("a", b"1"))


def test_time_before_1980_becomes_1980_and_after_2107_is_refused() -> None:
    early = datetime(1970, 1, 1, tzinfo=UTC)
    assert plan(("a", b""), time=early) == plan(("a", b""), time=datetime(1980, 1, 1, tzinfo=UTC))
    with pytest.raises(PlanError, match="2107"):
        plan(time=datetime(2108, 1, 1, tzinfo=UTC))


def test_time_without_a_zone_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="time zone"):
        plan(time=datetime(2026, 1, 1))


@pytest.mark.parametrize(("size", "wide", "kind"), [
    (32 * MIB, True, 16), (33 * MIB, True, 32), (40 * MIB, True, 32), (1200 * MIB, True, 32), (40 * MIB, False, 16),
    (1200 * MIB, False, 16)])
def test_volume_becomes_what_its_name_says_where_there_are_clusters_enough(size: int, wide: bool, kind: int) -> None:
    assert fat_type(size, wide=wide) == plan_geometry(size, bits=fat_type(size, wide=wide)).bits == kind
