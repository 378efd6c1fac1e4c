"""A real U-Boot over its serial line: the console, YMODEM, and a disk that is repaired."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagekit.boot.slotstate import RECORD_SIZE, Slot
from imagekit.disk.bmap import block_ranges, decode_bmap, digest_ranges, encode_bmap
from imagekit.disk.gpt import LINUX_DATA, Partition, Table, decode, encode
from imagekit.errors import TargetError
from imagekit.flash.uboot import UBoot
from imagekit.host.clock import SystemClock
from imagekit.units import MIB
from tests.boot import uboot_rig
from tests.boot.serial_rig import Powered, powered, spoken_with
from tests.boot.stock import imagekit
from tests.boot.tftp_turn import no_tftp, tftp_turn
from tests.boot.uboot_rig import Rig, make_disk, run_uboot, slot_files
from tests.networkline import served
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
        # what a CRC-32 is compared by where only a status comes back (fastboot's `oem run`), in the order of this build
        console.must("mw.b 48000000 0 800; crc32 48000000 800 48000800")
        right = zlib.crc32(bytes(0x800))
        words = {right, int.from_bytes(right.to_bytes(4, "big"), "little")}
        assert [console.run(f"itest.l *48000800 == {word:x}").status for word in sorted(words)].count(0) == 1
        assert console.run(f"itest.l *48000800 == {right ^ 0x01010101:x}").status == 1
        console.must("setenv fastboot_raw_partition_imagekit 0 0x1d5a000")
        assert console.must("echo ${fastboot_raw_partition_imagekit}") == "0 0x1d5a000"
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


def bootable(path: Path, rig: Rig) -> Path:
    """A disk image that U-Boot boots from, with its block map."""
    make_disk(path, copies=(bytes(RECORD_SIZE), bytes(RECORD_SIZE)), rig=rig, before_names="a-",
              slots={slot: slot_files(slot) for slot in Slot})
    return mapped(path)


def mapped(path: Path) -> Path:
    """An image with a block map of what is not zero."""
    raw = path.read_bytes()
    used = block_ranges([(at, at + 4096) for at in range(0, len(raw), 4096) if any(raw[at:at + 4096])], len(raw))
    with path.open("rb") as image:
        path.with_name(f"{path.name}.bmap").write_bytes(encode_bmap(len(raw), digest_ranges(image, used)))
    return path


def small_image(path: Path) -> Path:
    """A table, one partition, and little in it."""
    only = Partition(index=1, name="only", type_guid=LINUX_DATA, unique_guid=uuid.UUID(int=9), start=MIB, end=3 * MIB)
    table = Table(disk_guid=uuid.UUID(int=8), disk_size=4 * MIB, partitions=(only,))
    with path.open("wb") as out:
        out.truncate(table.disk_size)
        for offset, raw in (*encode(table), (MIB, random.Random(2).randbytes(5000)), (2 * MIB, b"words" * 2000)):
            out.seek(offset)
            out.write(raw)
    return mapped(path)


def flash(board: Powered, image: Path, *more: str, data: Path, url: str = "") -> tuple[int, list[dict[str, Any]]]:
    ended = imagekit("board", "flash", image, "--foreign", "--json", "--board", board.name, "--serial",
                     url or board.url, *more, data=data)
    print(ended.stderr)
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


def damaged(card: Path, disk: Path) -> bytes:
    """A disk with the card's content and a few wounds: a place in a file, a lost table entry, a changed record."""
    raw = bytearray(card.read_bytes())
    raw[1024:1200] = bytes(176)
    raw[(10 << 20) + 70_000:(10 << 20) + 70_900] = random.Random(7).randbytes(900)
    raw[8 << 20 | 1 << 19] ^= 1
    disk.write_bytes(raw)
    return card.read_bytes()


def test_damaged_disk_is_repaired_over_the_serial_line_and_boots(rig: Rig, tmp_path: Path) -> None:
    card, disk = bootable(tmp_path / "card.img", rig), tmp_path / "disk.img"
    whole = damaged(card, disk)
    with patience(waits=True), powered(rig, disk) as board:
        status, said = flash(board, card, "--dry-run", data=tmp_path)
        plan = said[-1]
        assert (status, plan["event"]) == (0, "plan"), said
        assert not plan["bootable_meanwhile"]
        assert 0 < plan["different"] <= 64 << 10
        assert plan["seconds"] > 0
        assert disk.read_bytes() != whole
        status, said = flash(board, card, "--confirm", plan["token"], data=tmp_path)
        assert (status, said[-1].get("ok")) == (0, True), said
        status, said = flash(board, card, data=tmp_path)
        assert (status, said[1]["different"]) == (0, 0), said
    assert disk.read_bytes() == whole
    assert run_uboot(disk, rig=rig).slot is Slot.A


def begun(board: Powered, url: str, *words: str) -> subprocess.Popen[str]:
    """`board flash` as a program that runs, as soon as it has written a piece; its answers follow on its stdout."""
    running = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "board", "flash", *words, "--foreign", "--board",
                                board.name, "--json", "--serial", url], stdout=subprocess.PIPE, text=True,
                               stderr=subprocess.DEVNULL)
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line)["event"] == "wrote":
            break
    return running


def test_interrupted_flash_goes_on_where_it_was(rig: Rig, tmp_path: Path) -> None:
    """By Ctrl-C, then by a network that loses the connection to the line."""
    image, disk = small_image(tmp_path / "small.img"), tmp_path / "disk.img"
    with disk.open("wb") as out:
        out.truncate(5 * MIB)  # larger than the image: the backup table belongs at its end
    with patience(waits=True), powered(rig, disk) as board, served(board.url) as remote:
        plan = flash(board, image, "--dry-run", data=tmp_path)[1][-1]
        confirm = ("--confirm", plan["token"])
        running = begun(board, board.url, str(image), *confirm)
        running.send_signal(signal.SIGINT)
        running.communicate()
        assert running.returncode == 130
        assert disk.read_bytes().startswith(b"imagekit: this disk is being written and not complete\n")
        planned = flash(board, image, "--dry-run", data=tmp_path, url=remote.url)[1][-1]
        assert (planned["resumed"], planned["pieces"]) == (True, plan["pieces"] - 1)
        running = begun(board, remote.url, str(image), "--confirm", planned["token"])
        remote.cut()
        told = json.loads(running.communicate()[0].splitlines()[-1])
        assert (running.returncode, told["event"], "it is gone" in told["message"]) == (7, "error", True), told
        status, said = flash(board, image, *confirm, data=tmp_path)
        assert (status, said[1]["resumed"], said[-1].get("ok")) == (0, True, True), said
        assert said[1]["pieces"] < planned["pieces"]
    raw = disk.read_bytes()
    assert raw[MIB:4 * MIB - 33 * 512] == image.read_bytes()[MIB:4 * MIB - 33 * 512]
    with disk.open("rb") as stream:
        table = decode(stream)
    assert (table.disk_size, table.problems) == (len(raw), ())


def test_image_of_512_byte_sectors_is_refused_on_a_disk_of_4096(rig: Rig, tmp_path: Path) -> None:
    image, disk = small_image(tmp_path / "small.img"), tmp_path / "disk.img"
    with disk.open("wb") as out:
        out.truncate(5 * MIB)
    other = ("-drive", f"if=none,id=other,format=raw,file={disk}", "-device",
             "nvme,drive=other,serial=1,logical_block_size=4096,physical_block_size=4096", "-nic", "none")
    with patience(waits=True), powered(rig, image, *other) as board:
        status, said = flash(board, image, "--disk", "nvme 0", "--dry-run", data=tmp_path)
        assert (status, said[-1]["refusals"]) == (7, ["sector-size"]), said
        plain = tmp_path / "plain.img"
        plain.write_bytes(random.Random(3).randbytes(8192))  # no table that would care
        status, said = flash(board, plain, "--disk", "nvme 0", "--dry-run", data=tmp_path)
        assert (status, "its sectors have 4096 bytes" in said[-1]["message"]) == (7, True), said
    assert not any(disk.read_bytes())


def test_rate_is_changed_where_the_board_can_and_kept_where_not(board: Powered) -> None:
    with spoken_with(board) as console:
        assert console.change_baud(57600)
        assert (console.line.baud, console.must("echo ${baudrate}")) == (57600, "57600")
        assert not console.change_baud(921600)
        assert (console.line.baud, console.must("echo ${baudrate}")) == (57600, "57600")


def test_whole_disk_comes_by_tftp_and_boots(rig: Rig, tmp_path: Path) -> None:
    """QEMU's network takes 127.0.0.1 for this machine."""
    image, disk = bootable(tmp_path / "card.img", rig), tmp_path / "disk.img"
    disk.write_bytes(b"\x5a" * image.stat().st_size)
    with tftp_turn() as obstacle, patience(waits=True), powered(rig, disk, "-netdev", "user,id=net", "-device",
                                                                "virtio-net-pci,netdev=net") as board:
        if obstacle:
            no_tftp(obstacle)
        plan = flash(board, image, "--tftp", "127.0.0.1", "--dry-run", data=tmp_path)[1][-1]
        status, said = flash(board, image, "--tftp", "127.0.0.1", "--confirm", plan["token"], data=tmp_path)
        assert (status, said[-1].get("ok")) == (0, True), said
    written, wanted = disk.read_bytes(), image.read_bytes()
    used = [(item.start, item.end) for item in decode_bmap(image.with_name("card.img.bmap").read_bytes()).ranges]
    with image.open("rb") as stream:
        places = [(0, image.stat().st_size), *((item.start, item.end) for item in decode(stream).partitions)]
    edges = [extent for start, end in places for extent in ((start, start + MIB), (end - MIB, end))]
    for start, end in (*used, *edges):  # old content shows through at no edge of disk and partitions
        assert written[start:end] == wanted[start:end]
    assert run_uboot(disk, rig=rig).slot is Slot.A
