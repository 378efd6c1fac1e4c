"""fastboot and sparse images against Android's own programs: their reader reads our files, their client our board."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk.sparse import decode_sparse, encode_sparse
from imagekit.testing.fastboot import FastbootBoard, FastbootServer
from imagekit.units import BLOCK, MIB, SECTOR

pytestmark = pytest.mark.tools

NOISE = random.Random(8).randbytes(MIB)
RUNS = [(2 * BLOCK, NOISE[:3 * BLOCK] + b"abcd" * BLOCK + bytes(5 * BLOCK)), (MIB, NOISE),
        (4 * MIB - BLOCK, NOISE[:BLOCK])]
LIMIT_S = 120


def painted(size: int, runs: list[tuple[int, bytes]]) -> bytes:
    disk = bytearray(size)
    for start, content in runs:
        disk[start:start + len(content)] = content
    return bytes(disk)


@pytest.mark.parametrize(("size", "block"), [(4 * MIB, BLOCK), (4 * MIB + SECTOR, SECTOR)])
def test_simg2img_reads_our_files(program: Callable[[str], str], tmp_path: Path, size: int, block: int) -> None:
    (tmp_path / "sparse").write_bytes(encode_sparse(size, block, RUNS))
    subprocess.run([program("simg2img"), tmp_path / "sparse", tmp_path / "raw"], check=True, timeout=LIMIT_S)
    raw = (tmp_path / "raw").read_bytes()
    assert raw.ljust(size, b"\0") == painted(size, RUNS)  # what is left alone at the end may not be there


def test_files_of_many_parts_make_one_disk(program: Callable[[str], str], tmp_path: Path) -> None:
    names = []
    for number, run in enumerate(RUNS):
        names.append(tmp_path / f"sparse.{number}")
        names[-1].write_bytes(encode_sparse(4 * MIB, BLOCK, [run]))
    subprocess.run([program("simg2img"), *names, tmp_path / "raw"], check=True, timeout=LIMIT_S)
    assert (tmp_path / "raw").read_bytes() == painted(4 * MIB, RUNS)


def test_we_read_what_img2simg_writes(program: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(painted(4 * MIB, RUNS))
    subprocess.run([program("img2simg"), tmp_path / "raw", tmp_path / "sparse"], check=True, timeout=LIMIT_S)
    size, chunks = decode_sparse((tmp_path / "sparse").read_bytes(), name="theirs")
    found = [(chunk.start, chunk.content * ((chunk.end - chunk.start) // len(chunk.content))) for chunk in chunks
             if chunk.content]
    assert painted(size, found) == painted(4 * MIB, RUNS)


def test_pretended_board_is_one_to_androids_client(program: Callable[[str], str], tmp_path: Path) -> None:
    board = FastbootBoard(disk=bytearray(4 * MIB), partitions={"all": (0, 4 * MIB)}, most=MIB // 2)
    (tmp_path / "raw").write_bytes(painted(4 * MIB, RUNS))
    with FastbootServer(board) as server:
        def client(*words: str | Path) -> str:
            done = subprocess.run([program("fastboot"), "-s", server.address, *words], capture_output=True, text=True,
                                  check=False, timeout=LIMIT_S)
            assert done.returncode == 0, done.stderr
            return done.stderr

        assert "product: pretended" in client("getvar", "product")
        client("flash", "all", tmp_path / "raw")
        client("oem", "run:setenv a b")
        client("reboot")
    assert len(board.files) > 2
    assert board.environment["a"] == "b"
    assert board.disk == painted(4 * MIB, RUNS)
