"""Compressed images that are damaged: each is refused, and none is taken for a shorter image."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from imagekit.errors import DocumentError
from imagekit.flash.compress import compress_image
from imagekit.flash.source import opened
from imagekit.testing.fakes import RecordedProgress

CONTENT = random.Random(1).randbytes(200_000) + bytes(200_000) + random.Random(2).randbytes(100_000)
Pack = Callable[[bytes], bytes]


def streamed(content: bytes) -> bytes:
    """What `zstd` makes of a pipe: one frame that does not state its size."""
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(content)


def content_of(raw: bytes, folder: Path) -> bytes:
    path = folder / "image.img.packed"
    path.write_bytes(raw)
    with opened(path, folder / "scratch") as source, source.stream() as stream:
        return stream.read()


@pytest.mark.parametrize("cut", [1, 4, 5, 1000, 150_000])
def test_streamed_zstd_file_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    with pytest.raises(DocumentError, match="cut short"):
        content_of(streamed(CONTENT)[:-cut], tmp_path)


@pytest.mark.parametrize("behind", [b"rubbish behind the image", bytes(100), b"\x28\xb5\x2f\xfd\x04"])
def test_zstd_file_with_something_behind_it_is_refused(tmp_path: Path, behind: bytes) -> None:
    with pytest.raises(DocumentError):
        content_of(streamed(CONTENT) + behind, tmp_path)


def test_frame_that_states_less_than_it_holds_is_refused(tmp_path: Path) -> None:
    raw = zstandard.ZstdCompressor(write_content_size=True, write_checksum=True).compress(CONTENT)
    size = len(CONTENT).to_bytes(4, "little")
    assert raw[5:10].count(size) == 1
    lying = raw.replace(size, (len(CONTENT) - 1).to_bytes(4, "little"), 1)
    with pytest.raises(DocumentError):
        content_of(lying, tmp_path)


def test_several_streams_of_xz_are_one_image_with_zeros_between_them(tmp_path: Path) -> None:
    half = len(CONTENT) // 2
    raw = lzma.compress(CONTENT[:half]) + bytes(8) + lzma.compress(CONTENT[half:]) + bytes(4)
    assert content_of(raw, tmp_path) == CONTENT


@pytest.mark.parametrize("at", [0, 1, 9, 40, -1, -5])
def test_second_stream_of_xz_that_is_damaged_is_not_left_out(tmp_path: Path, at: int) -> None:
    second = bytearray(lzma.compress(CONTENT[200_000:]))
    second[at] ^= 0x10
    with pytest.raises(DocumentError, match="it is damaged at byte"):
        content_of(lzma.compress(CONTENT[:200_000]) + bytes(second), tmp_path)


@pytest.mark.parametrize("pack", [lzma.compress, gzip.compress])
def test_other_files_that_are_cut_or_have_something_behind_them_are_refused(tmp_path: Path, pack: Pack) -> None:
    assert content_of(pack(CONTENT), tmp_path) == CONTENT
    for raw in (pack(CONTENT)[:-1], pack(CONTENT)[:-20], pack(CONTENT) + b"rubbish behind the image"):
        with pytest.raises(DocumentError, match="it is damaged at byte"):
            content_of(raw, tmp_path)


def test_device_or_pipe_is_not_taken_for_an_image_of_no_bytes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(DocumentError, match=f"cannot use {path}: it is no file"), opened(path, tmp_path):
            pytest.fail("it was opened")


class Cutting(RecordedProgress):
    """Cuts an image while it is worked on."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        os.truncate(self._path, len(CONTENT) - 1)


def test_image_that_is_cut_while_it_is_compressed_does_not_end_in_zeros(tmp_path: Path) -> None:
    path = tmp_path / "image.img"
    path.write_bytes(CONTENT)
    with pytest.raises(DocumentError, match=f"it ends before byte {len(CONTENT)}"):
        compress_image(path, tmp_path / "image.img.zst", level=1, progress=Cutting(path))
    assert not (tmp_path / "image.img.zst").exists()


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from imagekit.errors import HostError
from imagekit.flash.source import unpack
try:
    unpack(Path({packed!r}), Path({target!r}))
except HostError as error:
    print(error.message)
"""


def test_disk_that_takes_a_part_of_the_last_bytes_is_told_as_full(tmp_path: Path) -> None:
    packed, disk = tmp_path / "image.img.gz", tmp_path / "disk"
    packed.write_bytes(gzip.compress(random.Random(1).randbytes(5 * 65536), 1))
    disk.mkdir()
    script = tmp_path / "full.py"
    script.write_text(FULL.format(root=str(Path(__file__).parents[3]), packed=str(packed),
                                  target=str(disk / "image.img")))
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", f"mount -t tmpfs -o size=260K tmpfs {disk} && exec"
                           f" {sys.executable} {script}"], capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this machine lets nobody mount a small disk")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cannot write {disk}/image.img: no space left on its disk\n"
