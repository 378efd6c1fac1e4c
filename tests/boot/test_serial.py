"""A real U-Boot over its serial line: the console, YMODEM, and a disk that is repaired."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.errors import TargetError
from imagekit.flash.uboot import UBoot
from imagekit.host.clock import SystemClock
from tests.boot import uboot_rig
from tests.boot.serial_rig import Powered, powered, spoken_with
from tests.boot.stock import imagekit
from tests.boot.uboot_rig import Rig
from tests.patience import patience

pytestmark = pytest.mark.boot

EMPTY = 32 << 20


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return uboot_rig.make_rig("arm64-uboot", tmp_path_factory.mktemp("rig"))


@pytest.fixture
def board(rig: Rig, tmp_path: Path) -> Iterator[Powered]:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as out:
        out.truncate(EMPTY)
    with patience(waits=True), powered(rig, disk) as found:
        yield found


def test_uboot_is_stopped_and_answers(board: Powered) -> None:
    with spoken_with(board) as console:
        assert console.run("true").status == 0
        assert console.run("false").status == 1
        assert "U-Boot 20" in console.must("version")
        console.must("setenv ik_word 'two words'")
        assert console.must('echo "${ik_word}"') == "two words"
        with pytest.raises(TargetError, match="failed with status 1"):
            console.must("virtio read 48000000 ffffff 1")
    with spoken_with(board) as console:  # it waits at its prompt now
        assert console.must("echo ${ik_word}") == "two words"


def test_loady_takes_a_file(board: Powered) -> None:
    content = random.Random(1).randbytes(24_000) + b"\x1a" * 7
    with spoken_with(board) as console:
        uboot = UBoot(console, SystemClock())
        uboot.load(content)
        assert console.must("echo ${filesize}") == f"{len(content):x}"
        assert uboot.crc(board.uboot.address, len(content)) == zlib.crc32(content)
        assert not uboot.holds(content, board.uboot.address + 1)


def test_load_and_console_of_the_program(board: Powered, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_bytes(b"ik_answer=forty-two\0")
    where = ("--board", "arm64-uboot", "--serial", board.url)
    loaded = imagekit("board", "load", words, *where, "--json", data=tmp_path)
    assert (loaded.returncode, json.loads(loaded.stdout)["crc32"]) == (0, f"{zlib.crc32(words.read_bytes()):08x}")
    asked = imagekit("board", "console", *where, "--run", "env import -b ${fileaddr} ${filesize}", "--run",
                     "echo ${ik_answer}", "--run", "false", "--run", "true", "--json", data=tmp_path)
    assert asked.returncode == 7, asked.stderr
    assert [(item["text"], item["status"]) for item in json.loads(asked.stdout)["answers"]] == [
        ("", 0), ("forty-two", 0), ("", 1)]
