"""The used blocks of an ext4 file system are those that e2fsprogs itself counts as used."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from imagekit.disk.ext4 import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, decode_superblock, used_ranges

pytestmark = pytest.mark.tools

ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


def make(path: Path, size: int, *options: str) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, str(path)], check=True, env=ENV)


def free_blocks(path: Path) -> set[int]:
    """Free blocks by dumpe2fs."""
    text = subprocess.run(["dumpe2fs", str(path)], check=True, env=ENV, capture_output=True, text=True).stdout
    free: set[int] = set()
    for line in re.findall(r"^  Free blocks: *(.*)$", text, re.MULTILINE):
        for run in filter(None, line.split(", ")):
            first, _, last = run.partition("-")
            free |= set(range(int(first), int(last or first) + 1))
    return free


@pytest.mark.parametrize(("size", "options"), [
    (16 << 20, ("-b", "1024")), (64 << 20, ("-b", "4096")), (256 << 20, ("-b", "4096", "-O", "^flex_bg")),
    (600 << 20, ("-b", "4096", "-E", "lazy_itable_init=1")), (40 << 20, ("-b", "1024", "-O", "^64bit,^resize_inode")),
])
def test_used_blocks_are_those_that_dumpe2fs_does_not_call_free(tmp_path: Path, size: int,
                                                               options: tuple[str, ...]) -> None:
    image = tmp_path / "fs"
    make(image, size, *options)
    with image.open("rb") as stream:
        ranges = used_ranges(stream, 0)
        stream.seek(SUPERBLOCK_OFFSET)
        layout = decode_superblock(stream.read(SUPERBLOCK_SIZE))
    used = {block for start, end in ranges for block in range(start // layout.block_size, -(-end // layout.block_size))}
    assert used - {0} == set(range(layout.blocks)) - free_blocks(image) - {0}


def test_file_system_copied_by_its_used_blocks_onto_noise_is_clean(tmp_path: Path) -> None:
    image, card = tmp_path / "fs", tmp_path / "card"
    make(image, 64 << 20, "-b", "4096")
    card.write_bytes(b"\xa5" * (64 << 20))
    with image.open("rb") as source, card.open("r+b") as target:
        for start, end in used_ranges(source, 0):
            source.seek(start)
            target.seek(start)
            target.write(source.read(end - start))
    subprocess.run(["e2fsck", "-fn", str(card)], check=True, env=ENV, capture_output=True)
