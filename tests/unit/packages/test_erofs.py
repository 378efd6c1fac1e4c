from __future__ import annotations

import importlib.util
import io
import stat
import struct
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.digests import crc32c
from imagekit.errors import DocumentError
from imagekit.packages.erofs import Erofs

IMAGES = Path(__file__).parent / "erofs"


def _load_maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("erofs_make", IMAGES / "make.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = _load_maker()
FLAT = (IMAGES / "flat.erofs").read_bytes()
CHUNKED = (IMAGES / "chunked.erofs").read_bytes()
COMPRESSED = (IMAGES / "compressed.erofs").read_bytes()


def opened(raw: bytes | bytearray, offset: int = 0) -> Erofs:
    return Erofs(io.BytesIO(raw), offset=offset)


def sealed(raw: bytes | bytearray) -> bytes:
    """`raw` with the superblock's checksum made right again, so that a fault behind it is reached."""
    block = bytearray(raw)
    block[1028:1032] = bytes(4)
    block[1028:1032] = struct.pack("<I", crc32c(block[1024:4096]))
    return bytes(block)


@pytest.mark.parametrize("raw", [FLAT, CHUNKED], ids=["flat", "chunked"])
def test_every_file_reads_as_it_was_packed(raw: bytes) -> None:
    image = opened(raw)
    assert image.size == len(raw)
    for path, content in MAKER.CONTENT.items():
        assert image.read(path) == content
        assert image.read("/" + path) == content


@pytest.mark.parametrize("raw", [FLAT, CHUNKED, COMPRESSED], ids=["flat", "chunked", "compressed"])
def test_walk_shows_every_path_once(raw: bytes) -> None:
    paths = [entry.path for entry in opened(raw).walk()]
    assert sorted(paths) == sorted([*MAKER.CONTENT, *MAKER.MANY, "meta", "files", "many", "files/link", "files/null"])


def test_size_is_of_the_package_not_of_the_partition_around_it() -> None:
    image = opened(b"x" * 512 + FLAT + b"y" * 4096, offset=512)
    assert image.size == len(FLAT)
    assert image.read("meta/snap.yaml") == MAKER.CONTENT["meta/snap.yaml"]


@pytest.mark.parametrize("raw", [FLAT, CHUNKED], ids=["flat", "chunked"])
def test_extents_point_at_the_bytes_of_the_file(raw: bytes) -> None:
    image = opened(b"x" * 512 + raw, offset=512)
    for path, content in MAKER.CONTENT.items():
        runs = image.extents(path)
        found = b"".join((b"x" * 512 + raw)[run.start:run.start + run.length] for run in runs if run.start is not None)
        assert found == content
    assert len(image.extents("files/whole")) == 1


def test_open_file_reads_as_the_whole() -> None:
    for raw in (FLAT, CHUNKED):
        with opened(raw).open("files/tail") as stream:
            assert stream.read() == MAKER.CONTENT["files/tail"]


def test_stat_tells_owner_mode_and_time() -> None:
    inode = opened(FLAT).stat("files/tail")
    assert (inode.uid, inode.gid, inode.mode, inode.size) == (70_000, 70_000, stat.S_IFREG | 0o640, 4196)
    assert inode.mtime == 1_000_000_000
    assert stat.S_ISCHR(opened(FLAT).stat("files/null").mode)


def test_links_are_shown_and_not_followed() -> None:
    image = opened(FLAT)
    assert image.readlink("files/link") == "../meta/snap.yaml"
    with pytest.raises(DocumentError, match="no regular file"):
        image.read("files/link")
    with pytest.raises(DocumentError, match="leads through a symbolic link"):
        image.read("files/link/x")


def test_paths_that_climb_are_refused() -> None:
    with pytest.raises(DocumentError, match=r"'\.\.'"):
        opened(FLAT).read("meta/../meta/snap.yaml")


def test_missing_path_is_none_to_find_and_an_error_to_stat() -> None:
    image = opened(FLAT)
    assert image.find("meta/nothing") is None
    assert image.find("meta/snap.yaml/below") is None
    with pytest.raises(DocumentError, match="cannot read meta/nothing in package: there is no such file"):
        image.stat("meta/nothing")


def test_listdir_of_a_directory_of_two_blocks() -> None:
    assert [f"many/{name}" for name in opened(FLAT).listdir("many")] == list(MAKER.MANY)
    with pytest.raises(DocumentError, match="no directory"):
        opened(FLAT).listdir("files/whole")


def test_file_above_the_limit_is_refused() -> None:
    with pytest.raises(DocumentError, match="at most 4 KiB"):
        opened(FLAT).read("files/tail", limit=4096)


def test_compressed_file_is_refused_and_its_neighbours_are_read() -> None:
    image = opened(COMPRESSED)
    assert image.read("meta/snap.yaml") == MAKER.CONTENT["meta/snap.yaml"]
    with pytest.raises(DocumentError, match="is compressed") as caught:
        image.read("files/even")
    assert caught.value.hint


@pytest.mark.parametrize("raw", [b"", b"x", bytes(1151), bytes(4096), bytes(range(256)) * 64],
                         ids=["empty", "byte", "short", "zeros", "noise"])
def test_what_is_no_erofs_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="no EROFS superblock"):
        opened(raw)


@pytest.mark.parametrize("length", [1152, 4095, 4096, len(FLAT) - 1])
def test_image_cut_short_is_refused(length: int) -> None:
    with pytest.raises(DocumentError, match=f"says {len(FLAT)} bytes, there are {length}"):
        opened(FLAT[:length])


@pytest.mark.parametrize("offset", [1024 + 16, 1024 + 48, 2000])
def test_flipped_superblock_fails_its_checksum(offset: int) -> None:
    raw = bytearray(FLAT)
    raw[offset] ^= 1
    with pytest.raises(DocumentError, match="checksum"):
        opened(raw)


@pytest.mark.parametrize(("offset", "value", "why"), [
    (1036, b"\x20", "blocks of"), (1036, b"\0", "blocks of"), (1024 + 90, b"\1", "blocks of"),
    (1024 + 80, b"\x08", "features"), (1024 + 80, b"\x80", "features"), (1024 + 86, b"\1", "extra devices"),
    (1024 + 36, b"\0\0\0\0", "says 0 bytes"), (1024 + 39, b"\x7f", "there are"),
])
def test_superblock_that_makes_no_sense_is_refused(offset: int, value: bytes, why: str) -> None:
    raw = bytearray(FLAT)
    raw[offset:offset + len(value)] = value
    with pytest.raises(DocumentError, match=why):
        opened(sealed(raw))


def test_checksum_is_castagnoli() -> None:
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283


def directory_block(*entries: tuple[bytes, int]) -> bytes:
    position = 12 * len(entries)
    heads, names = b"", b""
    for name, nid in entries:
        heads += struct.pack("<QHBB", nid, position + len(names), 2, 0)
        names += name
    return (heads + names).ljust(4096, b"\0")


def crafted(*inodes: bytes, blocks: tuple[bytes, ...]) -> Erofs:
    """An image of hand-made inodes (nid 36 onwards, block 0) and blocks (from block 1)."""
    raw = bytearray(4096)
    struct.pack_into("<IIIBBH", raw, 1024, 0xE0F5E1E2, 0, 0, 12, 0, 36)
    struct.pack_into("<I", raw, 1024 + 36, 1 + len(blocks))
    for index, inode in enumerate(inodes):
        raw[36 * 32 + index * 32:36 * 32 + index * 32 + 32] = inode
    return opened(raw + b"".join(blocks))


def inode(*, mode: int = stat.S_IFDIR, size: int = 4096, union: int = 1, kind: int = 0) -> bytes:
    return struct.pack("<HHHHIIIIHHI", kind, 0, mode, 1, size, 0, union, 0, 0, 0, 0)


def test_directory_that_holds_itself_is_found_out() -> None:
    image = crafted(inode(), blocks=(directory_block((b"again", 36)),))
    with pytest.raises(DocumentError, match="in circles"):
        list(image.walk())


def test_directories_that_share_their_bytes_are_found_out() -> None:
    """A fan of directory inodes over one block would multiply the walk without end."""
    names = directory_block(*((b"%02d" % index, 36 + index) for index in range(1, 40)))
    image = crafted(*[inode()] * 40, blocks=(names,))
    with pytest.raises(DocumentError, match="in circles"):
        list(image.walk())


def test_directory_names_are_judged() -> None:
    for name in (b"a/b", b"a\0b", b"n" * 256):
        with pytest.raises(DocumentError, match="a name that is none"):
            crafted(inode(), blocks=(directory_block((name, 37), (b"z", 37)),)).listdir()


@pytest.mark.parametrize("start", [b"\0\0", b"\x0d\0", b"\xff\xff"])
def test_directory_whose_names_begin_nowhere_is_refused(start: bytes) -> None:
    block = bytearray(directory_block((b"a", 36)))
    block[8:10] = start
    with pytest.raises(DocumentError, match="names begin at"):
        crafted(inode(), blocks=(bytes(block),)).listdir()


@pytest.mark.parametrize("made", [
    inode(mode=stat.S_IFREG, size=4097), inode(mode=stat.S_IFREG, union=0xFFFFFFFE),
    inode(mode=stat.S_IFREG, size=4096 * 3), inode(mode=stat.S_IFREG, size=4000, kind=2 << 1),
    inode(mode=stat.S_IFREG, size=10, union=0x40, kind=4 << 1), inode(mode=stat.S_IFREG, kind=7 << 1),
    inode(mode=stat.S_IFREG, size=0xFFFFFFFF, union=0, kind=4 << 1),
], ids=["past the end", "far away", "too long", "tail crosses", "chunk format", "layout", "chunk map"])
def test_file_that_points_outside_is_refused(made: bytes) -> None:
    image = crafted(inode(), made, blocks=(directory_block((b"file", 37)),))
    with pytest.raises(DocumentError):
        image.extents("file")


def test_hole_of_terabytes_costs_nothing() -> None:
    huge = struct.pack("<HHHHQIIIIQII16x", 1 | 4 << 1, 0, stat.S_IFREG, 0, 1 << 42, 31, 0, 0, 0, 0, 0, 1)
    holes = directory_block((b"file", 37))
    image = crafted(inode(), huge[:32], huge[32:], b"\xff" * 32, blocks=(holes,))
    assert [run.start for run in image.extents("file")] == [None]
    with pytest.raises(DocumentError, match="at most 64 MiB"):
        image.read("file")


def exhaust(raw: bytes) -> None:
    """Everything a caller can do with an image."""
    image = opened(raw)
    for entry in image.walk():
        if entry.inode.is_file and entry.inode.size:
            image.extents(entry.path)
            image.read(entry.path)
        elif entry.inode.is_link:
            image.readlink(entry.path)


METADATA = [*range(1024, 1152), *range(1152, 12288), *range(28672, len(FLAT))]


@given(st.lists(st.tuples(st.sampled_from(METADATA), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_give_an_answer_or_a_document_error(flips: list[tuple[int, int]]) -> None:
    raw = bytearray(FLAT)
    for offset, value in flips:
        raw[offset] = value
    tracemalloc.start()
    try:
        exhaust(sealed(raw))
    except DocumentError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80 << 20


@given(st.sampled_from([FLAT, CHUNKED, COMPRESSED]), st.integers(0, len(FLAT)))
@settings(max_examples=60, deadline=None)
def test_any_cut_gives_a_document_error(raw: bytes, length: int) -> None:
    with pytest.raises(DocumentError):
        exhaust(raw[:length] if length < len(raw) else raw[:-1])


def test_block_leads_back_to_its_file() -> None:
    image = opened(CHUNKED)
    for path in MAKER.CONTENT:
        for extent in image.extents(path):
            if extent.start is not None:
                found = image.file_at(extent.start)
                assert found is not None and any(
                    other.start is not None and other.start // image.block_size == extent.start // image.block_size
                    for other in image.extents(found))
    assert image.file_at(image.size) is None
