"""The outside of squashfs packages: whatever is wrong with one is said before a program sees it."""

from __future__ import annotations

import contextlib
import stat
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import DocumentError
from imagekit.packages.squashfs import (
    MAX_INODES,
    SUPERBLOCK_SIZE,
    Compression,
    Listed,
    Superblock,
    decode_superblock,
    parse_listing,
)

REAL = (Path(__file__).parent / "squashfs" / "hello.squashfs").read_bytes()
ABSENT = (1 << 64) - 1
FIELDS = {"magic": (0, "4s"), "inodes": (4, "I"), "block_size": (12, "I"), "fragments": (16, "I"),
          "compression": (20, "H"), "block_log": (22, "H"), "ids": (26, "H"), "major": (28, "H"), "minor": (30, "H"),
          "root": (32, "Q"), "used": (40, "Q"), "id_table": (48, "Q"), "inode_table": (64, "Q"),
          "directory_table": (72, "Q"), "fragment_table": (80, "Q")}


def decode(raw: bytes) -> Superblock:
    return decode_superblock(raw[:SUPERBLOCK_SIZE], file_size=len(raw), name="hello.snap")


def changed(**fields: int | bytes) -> bytes:
    raw = bytearray(REAL)
    for name, value in fields.items():
        at, kind = FIELDS[name]
        struct.pack_into("<" + kind, raw, at, value)
    return bytes(raw)


def test_package_of_mksquashfs_is_understood() -> None:
    found = decode(REAL)
    assert (found.compression, found.block_size, found.inodes, found.ids) == (Compression.XZ, 131072, 6, 1)
    assert found.time.year == 1970
    assert SUPERBLOCK_SIZE < found.size <= len(REAL)


@pytest.mark.parametrize(("raw", "words"), [
    (b"", "no squashfs superblock in its 0 bytes"),
    (REAL[:95], "no squashfs superblock in its 95 bytes"),
    (changed(magic=b"sqsh"), "no squashfs superblock"),
    (changed(major=3, minor=1), "version 3.1, allowed is 4.0"),
    (changed(compression=0), "compression is number 0"),
    (changed(compression=7), "compression is number 7"),
    (changed(block_log=11, block_size=2048), "blocks have 2048 bytes"),
    (changed(block_log=16), "blocks have 131072 bytes and 2.16"),
    (REAL[:500], "superblock says 629 bytes, there are 500"),
    (changed(used=1 << 40), "there are 4096"),
    (changed(used=96), "superblock says 96 bytes"),
    (changed(inodes=0), "it has 0 files"),
    (changed(inodes=MAX_INODES + 1), "allowed are 1 to 1048576 files"),
    (changed(ids=0), "0 owners"),
    (changed(inode_table=0), "a table of it lies outside"),
    (changed(directory_table=ABSENT), "a table of it lies outside"),
    (changed(directory_table=97, inode_table=98), "a table of it lies outside"),
    (changed(id_table=ABSENT), "a table of it lies outside"),
    (changed(id_table=4096), "a table of it lies outside"),
    (changed(fragment_table=5), "a table of it lies outside"),
    (changed(fragments=1, fragment_table=ABSENT), "1 fragments and no table"),
    (changed(root=1 << 40), "its root 0x10000000000 lies outside"),
    (changed(root=8192), "its root 0x2000 lies outside"),
])
def test_wrong_superblock_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        decode(raw)


@settings(max_examples=300)
@given(at=st.integers(0, SUPERBLOCK_SIZE - 1), value=st.integers(0, 255), cut=st.integers(0, len(REAL)))
def test_flipped_or_cut_superblock_is_understood_or_refused(at: int, value: int, cut: int) -> None:
    raw = bytearray(REAL)
    raw[at] = value
    for candidate in (bytes(raw), bytes(raw[:cut])):
        try:
            found = decode(candidate)
        except DocumentError:
            continue
        assert found.size <= len(candidate)


LISTING = """\
drwxr-xr-x 0/0                      38 1970-01-01 00:00 squashfs-root
drwxr-xr-x 0/0                      77 1970-01-01 00:00 squashfs-root/bin
-rwsr-xr-T 1000/50                   3 1970-01-01 00:00 squashfs-root/bin/a b -> c
crw-r--r-- 0/0                   1,  3 1970-01-01 00:00 squashfs-root/bin/dev
lrwxrwxrwx 0/0                      17 1970-01-01 00:00 squashfs-root/bin/link -> ../meta -> x
"""


def test_list_of_files_is_understood() -> None:
    assert parse_listing(LISTING, name="x") == (
        Listed(path="bin", mode=stat.S_IFDIR | 0o755, uid=0, gid=0, size=0),
        Listed(path="bin/a b -> c", mode=stat.S_IFREG | 0o5754, uid=1000, gid=50, size=3),
        Listed(path="bin/dev", mode=stat.S_IFCHR | 0o644, uid=0, gid=0, size=0),
        Listed(path="bin/link", mode=stat.S_IFLNK | 0o777, uid=0, gid=0, size=0, target="../meta -> x"))
    assert parse_listing("", name="x") == ()


@pytest.mark.parametrize("line", [
    "-rw-r--r-- 0/0 1,  3 1970-01-01 00:00 squashfs-root/a",
    f"-rw-r--r-- 0/0 {'9' * 5000} 1970-01-01 00:00 squashfs-root/a",
    "l", "", "-rw-r--r-- 0/0 3 1970-01-01 00:00 other/file", "-rw-r--r-- 0/0 3 1970-01-01 00:00 squashfs-root/a/../b",
    "-rw-r--r-- 0/0 3 1970-01-01 00:00 squashfs-root//a", "?rw-r--r-- 0/0 3 1970-01-01 00:00 squashfs-root/a",
    "-rw-r--r-- 0/0 3 1970-01-01 00:00 squashfs-root/bin",
    f"-rw-r--r-- 0/0 3 1970-01-01 00:00 squashfs-root/{'a' * 70000}"])
def test_list_with_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(DocumentError, match="the list of its files has"):
        parse_listing(LISTING + line + "\n", name="x")


@given(st.text(alphabet=st.sampled_from("-drwxl0/ 1:,squahf\n.>é"), max_size=200))
def test_any_list_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(DocumentError):
        parse_listing(text, name="x")
