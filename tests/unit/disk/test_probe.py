from __future__ import annotations

import io
import struct
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.disk import gpt, verity
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.probe import Content, DiskImage, probe
from imagekit.errors import DocumentError
from imagekit.units import MIB

PACKAGE = (Path(__file__).parent.parent / "packages/erofs/flat.erofs").read_bytes()
DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")
NAMES = ("esp", "slot-state", "base-a", "base-b", "data", "odd")
PLACES = {"esp": (1, 5), "slot-state": (5, 6), "base-a": (6, 7), "base-b": (7, 8), "data": (8, 9), "odd": (9, 10)}


def ext4() -> bytes:
    raw = bytearray(2048)
    struct.pack_into("<H", raw, 1024 + 56, 0xEF53)
    raw[1024 + 120:1024 + 131] = b"ubuntu-data"
    return bytes(raw)


def disk(names: tuple[str, ...] = NAMES) -> bytearray:
    raw = bytearray(11 * MIB)
    table = gpt.Table(disk_guid=DISK, disk_size=len(raw), partitions=tuple(
        gpt.Partition(index=index, name=name, type_guid=gpt.LINUX_DATA, unique_guid=uuid.uuid5(DISK, name),
                      start=PLACES[name][0] * MIB, end=PLACES[name][1] * MIB) for index, name in enumerate(names, 1)))
    tree = verity.build_tree(io.BytesIO(PACKAGE), len(PACKAGE), salt=b"salt", uuid=DISK).tree
    fat = plan_fat(4 * MIB, "ubuntu-boot", 1, [FatFile(path="a", source=b"1")], time=datetime(2026, 1, 1, tzinfo=UTC))
    pieces = [*gpt.encode(table), *((MIB + at, content) for at, content in fat.extents if isinstance(content, bytes)),
              (5 * MIB + 4096, b"IKS1"), (6 * MIB, PACKAGE + tree), (8 * MIB, ext4()), (9 * MIB, b"what is this")]
    for offset, content in pieces:
        raw[offset:offset + len(content)] = content
    return raw


OURS = disk()


def probed(raw: bytes | bytearray) -> DiskImage:
    return probe(io.BytesIO(raw), name="x.img")


def test_every_partition_is_recognised() -> None:
    image = probed(OURS)
    assert image.problems == ()
    assert [(item.name, item.content, item.label, item.problem) for item in image.partitions] == [
        ("esp", Content.FAT, "ubuntu-boot", ""), ("slot-state", Content.SLOT_STATE, "", ""),
        ("base-a", Content.EROFS, "", ""), ("base-b", Content.EMPTY, "", ""),
        ("data", Content.EXT4, "ubuntu-data", ""), ("odd", Content.UNKNOWN, "", "")]
    base = image.find("base-a")
    assert base
    assert base.package_size == len(PACKAGE)
    assert base.verity
    assert base.verity.data_blocks == len(PACKAGE) // 4096
    assert image.find("nothing") is None


def test_slot_state_whose_records_are_lost_is_still_known_by_its_name() -> None:
    raw = bytearray(OURS)
    raw[5 * MIB:6 * MIB] = bytes(MIB)
    image = probed(raw)
    assert image.partitions[1].content is Content.EMPTY


@pytest.mark.parametrize(("offset", "value", "name", "problem"), [
    (6 * MIB + 1024 + 16, b"\xff", "base-a", "checksum"),
    (6 * MIB + len(PACKAGE), b"V", "base-a", "verity superblock"),
    (MIB + 13, b"\3", "esp", "make no volume"),
])
def test_damaged_content_is_reported_and_not_refused(offset: int, value: bytes, name: str, problem: str) -> None:
    raw = bytearray(OURS)
    raw[offset:offset + len(value)] = value
    found = probed(raw).find(name)
    assert found
    assert problem in found.problem


def test_package_that_fills_its_partition_leaves_no_place_for_verity() -> None:
    raw = bytearray(OURS)
    package = bytearray(PACKAGE)
    struct.pack_into("<I", package, 1024 + 8, 0)
    struct.pack_into("<I", package, 1024 + 36, MIB // 4096)
    raw[6 * MIB:6 * MIB + len(package)] = package
    found = probed(raw).find("base-a")
    assert found
    assert found.problem == f"its package takes {MIB + 512} bytes, the partition has {MIB}"
    assert found.verity is None


def test_grown_disk_is_reported() -> None:
    assert "this one has" in probed(OURS + bytes(MIB)).problems[-1]


def mbr_only() -> bytes:
    raw = bytearray(MIB)
    raw[450] = 0x83
    raw[510:512] = b"\x55\xaa"
    return bytes(raw)


@pytest.mark.parametrize(("raw", "why"), [
    (b"", "it is empty"),
    (b"\x7fELF" * 3000, "it is no disk image: it has no partition table"),
    (bytes(MIB), "it is no disk image"),
    (bytes(OURS[:10 * MIB - 512]), "partitions reach up to byte"),
    (bytes(OURS[:10 * MIB]), "it was cut short"),
    (bytes(OURS[:-1]), "it was cut short"),
    (bytes(OURS[:1000]), "it is no disk image"),
    (mbr_only(), "an MBR partition table only"),
    (bytes(disk(("esp", "base-a"))), "no image of imagekit: it has no slot-state partition, .* are 'esp', 'base-a'"),
    (bytes(disk(())), "partitions are none"),
    (PACKAGE, "a single erofs file system"),
    (bytes(OURS[MIB:5 * MIB]), "a single fat file system"),
    (b"\x28\xb5\x2f\xfd" + bytes(9000), "compressed with zstd"),
    (b"\x1f\x8b" + bytes(9000), "compressed with gzip"),
    (b"QFI\xfb" + bytes(9000), "qcow2"),
], ids=["empty", "noise", "zeros", "cut in a partition", "cut at the tail", "a byte short", "head only", "mbr",
        "other gpt", "no partitions", "package", "fat", "zstd", "gzip", "qcow2"])
def test_what_is_no_image_of_ours_is_named(raw: bytes, why: str) -> None:
    with pytest.raises(DocumentError, match=f"cannot use x.img: .*{why}|cannot use x.img: {why}"):
        probed(raw)


@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=8))
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_give_an_answer_or_a_document_error(flips: list[tuple[float, bytes]]) -> None:
    raw = bytearray(OURS)
    heads = [start * MIB + at for start in (0, *(place[0] for place in PLACES.values())) for at in range(3000)]
    for where, value in flips:
        offset = heads[int(where * (len(heads) - 1))]
        raw[offset:offset + len(value)] = value
    try:
        image = probed(raw)
    except DocumentError:
        return
    assert len(image.partitions) <= len(NAMES)
