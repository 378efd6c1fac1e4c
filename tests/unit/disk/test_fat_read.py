from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from imagekit.disk.fat_read import FatVolume, read_fat
from imagekit.disk.fat_write import FatFile, FatPlan, plan_fat
from imagekit.errors import DocumentError, PlanError
from imagekit.units import MIB

TIME = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOISE = random.Random(5)
FILES = {
    "EFI/BOOT/BOOTX64.EFI": NOISE.randbytes(20_001),
    "loader/loader.conf": b"timeout 0\n",
    "loader/entries/imagekit-a.conf": b"title a\n".ljust(1024, b"#"),
    "startup.nsh": b"reset\r\n",
    "empty": b"",
    "ünïcøde 🙂.txt": b"?",
    **{f"many/a rather long name number {index}.data": b"%d" % index for index in range(20)},
    "many/" + "n" * 255: b"long",
    "last.bin": NOISE.randbytes(9000),
}
DIRECTORIES = {"EFI", "EFI/BOOT", "loader", "loader/entries", "many"}


def made(bits: int) -> tuple[FatPlan, bytearray]:
    size = 3 * MIB if bits == 16 else 33 * MIB + 512 * 1024
    plan = plan_fat(size, "ubuntu-seed", 7, [FatFile(path=path, source=content) for path, content in FILES.items()],
                    time=TIME, bits=bits)
    raw = bytearray(size)
    for offset, content in plan.extents:
        assert isinstance(content, bytes)
        raw[offset:offset + len(content)] = content
    return plan, raw


VOLUMES = {bits: made(bits) for bits in (16, 32)}


@contextmanager
def changed(bits: int, *changes: tuple[int, bytes]) -> Iterator[FatVolume]:
    """The volume with some bytes replaced, for a while."""
    raw = VOLUMES[bits][1]
    before = [(offset, bytes(raw[offset:offset + len(value)])) for offset, value in changes]
    for offset, value in changes:
        raw[offset:offset + len(value)] = value
    try:
        yield read_fat(io.BytesIO(raw))
    finally:
        for offset, value in reversed(before):
            raw[offset:offset + len(value)] = value


def exhaust(volume: FatVolume) -> None:
    """Everything a caller can do with a volume."""
    assert len(volume.label) <= 11
    for entry in volume.walk():
        if not entry.is_dir:
            volume.locate(entry.path)
            volume.read(entry.path)


@pytest.mark.parametrize("bits", [16, 32])
def test_every_file_reads_as_it_was_planned(bits: int) -> None:
    plan, raw = VOLUMES[bits]
    volume = read_fat(io.BytesIO(b"x" * 512 + raw), 512)
    assert volume.geometry == plan.geometry
    assert volume.label == "ubuntu-seed"
    entries = list(volume.walk())
    assert {entry.path for entry in entries if entry.is_dir} == DIRECTORIES
    assert {entry.path: volume.read(entry.path) for entry in entries if not entry.is_dir} == FILES


@pytest.mark.parametrize("bits", [16, 32])
def test_locate_points_at_the_bytes_of_the_file(bits: int) -> None:
    plan, raw = VOLUMES[bits]
    volume = read_fat(io.BytesIO(b"x" * 512 + raw), 512)
    for path, content in FILES.items():
        extents = volume.locate(path)
        assert len(extents) == (1 if content else 0)
        for extent in extents:
            assert extent.start is not None
            assert (b"x" * 512 + raw)[extent.start:extent.end] == content
            assert (path, extent.start - 512) in plan.files


def test_names_are_found_without_regard_to_case_and_by_alias() -> None:
    with changed(16) as volume:
        assert volume.stat("efi/boot/bootx64.efi").path == "EFI/BOOT/BOOTX64.EFI"
        assert volume.stat("LOADER/ENTRIES/IMAGEK~1.CON").name == "imagekit-a.conf"
        assert volume.find("EFI/BOOT/nothing") is None
        assert volume.find("startup.nsh/below") is None
        with pytest.raises(DocumentError, match="there is no such file"):
            volume.read("nothing")


def test_listdir_keeps_the_order_and_refuses_files() -> None:
    with changed(32) as volume:
        assert volume.listdir("EFI/BOOT") == ("BOOTX64.EFI",)
        assert volume.listdir()[0] == "EFI"
        with pytest.raises(DocumentError, match="no directory"):
            volume.listdir("startup.nsh")
        with pytest.raises(DocumentError, match="is a directory"):
            volume.locate("EFI")
        with pytest.raises(DocumentError, match=r"'\.\.'"):
            volume.find("EFI/../EFI")


def test_open_file_can_be_read_from_anywhere() -> None:
    with changed(16) as volume, volume.open("last.bin") as stream:
        stream.seek(5000)
        assert stream.read(100) == FILES["last.bin"][5000:5100]
        stream.seek(-10, io.SEEK_END)
        assert stream.read() == FILES["last.bin"][-10:]


def test_file_above_the_limit_is_refused() -> None:
    with changed(16) as volume, pytest.raises(DocumentError, match="at most"):
        volume.read("last.bin", limit=8999)


def entry_of(bits: int, alias: bytes) -> int:
    found = VOLUMES[bits][1].find(alias + b"\x20")
    assert found > 0
    return found


def fat_entry(bits: int, cluster: int, value: int) -> tuple[int, bytes]:
    width = bits // 8
    return VOLUMES[bits][0].geometry.reserved + cluster * width, value.to_bytes(width, "little")


def cluster_of(bits: int, path: str) -> int:
    with changed(bits) as volume:
        return volume.stat(path).cluster


@pytest.mark.parametrize("bits", [16, 32])
def test_fragmented_file_is_read_in_the_order_of_its_chain(bits: int) -> None:
    geometry = VOLUMES[bits][0].geometry
    first = cluster_of(bits, "last.bin")
    count = -(-9000 // geometry.cluster)
    spare = first + count + 10
    moved = bytes(VOLUMES[bits][1][geometry.position(first + 1):geometry.position(first + 2)])
    with changed(bits, fat_entry(bits, first, spare), fat_entry(bits, spare, first + 2),
                 (geometry.position(spare), moved), (geometry.position(first + 1), bytes(geometry.cluster))) as volume:
        assert volume.read("last.bin") == FILES["last.bin"]
        assert len(volume.locate("last.bin")) == 3


@pytest.mark.parametrize("bits", [16, 32])
def test_chain_shorter_than_its_file_is_refused(bits: int) -> None:
    end = 0xFFFF if bits == 16 else 0x0FFFFFFF
    with changed(bits, fat_entry(bits, cluster_of(bits, "last.bin"), end)) as volume, \
            pytest.raises(DocumentError, match="has 9000 bytes and 1 clusters"):
        volume.read("last.bin")


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("target", [0, 1, 0xFFF0])
def test_chain_that_leaves_the_volume_is_refused(bits: int, target: int) -> None:
    target = target if bits == 16 or target < 2 else 0x0FFFFFF0
    with changed(bits, fat_entry(bits, cluster_of(bits, "last.bin"), target)) as volume, \
            pytest.raises(DocumentError, match=f"leads to cluster {target}"):
        volume.read("last.bin")


@pytest.mark.parametrize("bits", [16, 32])
def test_chain_to_the_first_cluster_that_is_none_is_refused(bits: int) -> None:
    target = VOLUMES[bits][0].geometry.clusters + 2
    with changed(bits, fat_entry(bits, cluster_of(bits, "last.bin"), target)) as volume, \
            pytest.raises(DocumentError, match=f"leads to cluster {target}"):
        volume.read("last.bin")


@pytest.mark.parametrize("bits", [16, 32])
def test_directory_whose_chain_is_a_loop_is_refused(bits: int) -> None:
    cluster = cluster_of(bits, "many")
    with changed(bits, fat_entry(bits, cluster, cluster)) as volume, \
            pytest.raises(DocumentError, match="directory 'many' has no end"):
        list(volume.walk())


@pytest.mark.parametrize("bits", [16, 32])
def test_directory_whose_chain_was_never_written_is_refused_or_passed_over(bits: int) -> None:
    with changed(bits, fat_entry(bits, cluster_of(bits, "many"), 0)) as volume:
        with pytest.raises(DocumentError, match="directory 'many' leads to cluster 0"):
            list(volume.walk())
        found = {item.path for item in volume.walk(readable=True)}
    assert found == {path for path in {*FILES, *DIRECTORIES} if not path.startswith("many/")}


@pytest.mark.parametrize("bits", [16, 32])
def test_directory_that_holds_its_parent_is_refused(bits: int) -> None:
    at = entry_of(bits, b"BOOTX64 EFI")
    with changed(bits, (at + 11, b"\x10"), (at + 26, struct.pack("<H", cluster_of(bits, "EFI")))) as volume, \
            pytest.raises(DocumentError, match="in circles"):
        list(volume.walk())


def test_long_name_of_another_entry_gives_way_to_the_alias() -> None:
    at = entry_of(16, b"STARTUP NSH")
    with changed(16, (at - 32 + 13, b"\xee")) as volume:
        assert "STARTUP.NSH" in volume.listdir()
    with changed(16, (at - 32 + 1, "/".encode("utf-16-le"))) as volume:
        assert "STARTUP.NSH" in volume.listdir()


def test_lower_case_flags_of_an_alias_are_kept() -> None:
    at = entry_of(16, b"BOOTX64 EFI")
    with changed(16, (at + 12, b"\x18")) as volume:
        assert volume.listdir("EFI/BOOT") == ("bootx64.efi",)


def test_name_with_a_slash_is_refused() -> None:
    at = entry_of(16, b"BOOTX64 EFI")
    with changed(16, (at + 2, b"/")) as volume, pytest.raises(DocumentError, match="a name that is none"):
        volume.listdir("EFI/BOOT")


def test_deleted_entries_are_left_out() -> None:
    at = entry_of(16, b"BOOTX64 EFI")
    with changed(16, (at, b"\xe5")) as volume:
        assert volume.listdir("EFI/BOOT") == ()


def test_file_larger_than_the_volume_is_refused() -> None:
    at = entry_of(16, b"BOOTX64 EFI")
    with changed(16, (at + 28, b"\xff\xff\xff\xff")) as volume, pytest.raises(DocumentError, match="more than"):
        volume.locate("EFI/BOOT/BOOTX64.EFI")


@pytest.mark.parametrize("raw", [b"", b"\xeb", bytes(512), bytes(510) + b"\x55\xaa", b"\xeb" * 510 + b"\x55\xaa"],
                         ids=["empty", "byte", "zeros", "signature", "noise"])
def test_what_is_no_volume_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="cannot read FAT volume"):
        read_fat(io.BytesIO(raw))


def test_volume_cut_short_is_refused() -> None:
    with pytest.raises(DocumentError, match=f"says {3 * MIB} bytes, there are {3 * MIB - 1}"):
        read_fat(io.BytesIO(VOLUMES[16][1][:-1]))


@pytest.mark.parametrize(("offset", "value"), [
    (11, b"\0\0"), (13, b"\0"), (13, b"\3"), (14, b"\0\0"), (16, b"\0"), (16, b"\3"), (17, b"\0\0"), (22, b"\1\0"),
    (14, b"\xff\xff"), (19, b"\1\0"),
])
def test_boot_sector_that_makes_no_sense_is_refused(offset: int, value: bytes) -> None:
    with pytest.raises(DocumentError, match="cannot read FAT volume"), changed(16, (offset, value)):
        pass


def used(bits: int) -> int:
    plan = VOLUMES[bits][0]
    return max(offset for offset, _ in plan.extents)


@pytest.mark.parametrize("bits", [16, 32])
@given(flips=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_give_an_answer_or_a_document_error(bits: int, flips: list[tuple[float, bytes]]) -> None:
    geometry = VOLUMES[bits][0].geometry
    places = [*range(90), *range(geometry.reserved, geometry.reserved + 400),
              *range(geometry.root_start, geometry.root_start + 24 * 1024)]
    changes = [(places[int(where * (len(places) - 1))], value) for where, value in flips]
    try:
        with changed(bits, *changes) as volume:
            exhaust(volume)
    except DocumentError:
        pass


names = st.text(st.characters(codec="utf-8", exclude_characters='"*/:<>?\\|\x7f', exclude_categories=("Cc", "Cs")),
                min_size=1, max_size=40).filter(lambda name: name[-1] not in ". " and name[0] != " ")


@given(st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=3000), max_size=12))
@settings(max_examples=80, deadline=None)
def test_whatever_can_be_planned_reads_back(files: dict[str, bytes]) -> None:
    try:
        plan = plan_fat(3 * MIB, "", 1, [FatFile(path=path, source=content) for path, content in files.items()],
                        time=TIME)
    except PlanError:  # names that differ in case only, or a file where a directory has to be
        assume(False)
    raw = bytearray(3 * MIB)
    for offset, content in plan.extents:
        assert isinstance(content, bytes)
        raw[offset:offset + len(content)] = content
    volume = read_fat(io.BytesIO(raw))
    assert volume.label == ""
    assert {entry.path: volume.read(entry.path) for entry in volume.walk() if not entry.is_dir} == files
