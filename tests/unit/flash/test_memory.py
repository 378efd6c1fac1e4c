"""What a run needs of memory, in a process of its own: as good as the same for any number of media."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.flash.buffers import BUFFERS
from imagekit.flash.compress import compress_image
from imagekit.plan.flash import HEAD, PIECE
from imagekit.testing.images import Silent
from imagekit.units import MIB

from .conftest import write_image

MOST_MIB = 128
EACH_MIB = 0.25  # threads, their stacks, what they say
END = HEAD + (BUFFERS + 1) * PIECE  # so many whole pieces that every buffer is in use


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "disk.img"
    write_image(path, size=END + 2 * MIB, parts=((HEAD, END),), used=((0, END),))
    return path


def peak_mib(image: Path, plain: Path, media: int, what: str) -> float:
    words = [sys.executable, "-m", "tests.unit.flash.peak", str(image), str(plain), str(media), what]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


@pytest.mark.parametrize("what", ["write", "update", "verify"])
def test_64_media_need_hardly_more_memory_than_8(image: Path, what: str) -> None:
    few, many = peak_mib(image, image, 8, what), peak_mib(image, image, 64, what)
    assert many <= MOST_MIB
    assert many - few <= 56 * EACH_MIB


def test_compressed_image_for_64_media_stays_below_the_limit(image: Path, tmp_path: Path) -> None:
    packed = tmp_path / "disk.img.zst"
    compress_image(image, packed, level=1, progress=Silent())
    packed.with_name("disk.img.bmap").write_bytes(image.with_name("disk.img.bmap").read_bytes())
    assert peak_mib(packed, image, 64, "write") <= MOST_MIB
