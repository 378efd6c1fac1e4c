"""The SABRE Lite: QEMU has no boot ROM for it, and its U-Boot finds no card there. So U-Boot and a slot start each by
itself, both out of the card image; that the one leads to the other is not shown."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, INITRD, decode_env
from imagekit.disk import gpt
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_uboot import slot_files
from imagekit.qemu.workbench import copy_sparse
from tests.boot.boards import SABRELITE, is_asked_for
from tests.boot.stock import Stock, build_stock, missing_tool

pytestmark = [pytest.mark.boot, pytest.mark.skipif(
    not is_asked_for("sabrelite"), reason="runs where IMAGEKIT_BOARDS names the board")]

EMULATOR = "qemu-system-arm"
IVT_AT, IVT_TAG = 1024, b"\xd1\x00\x20\x40"  # where the boot ROM looks, and how what it wants begins
ENTRY_AT, SELF_AT = 4, 20  # fields of that header: where it starts, and where the header itself belongs in memory
DEADLINE_S = 300.0
CARD_SIZE = 4 << 30  # a power of two, as QEMU wants it


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return build_stock(SABRELITE, tmp_path_factory.mktemp("sabrelite"))


def console_until(words: str, options: Sequence[str]) -> str:
    """What the second serial line says, up to a line with these words or to the deadline."""
    emulator = shutil.which(EMULATOR)
    if emulator is None:
        missing_tool(f"{EMULATOR} is not installed")
    running = subprocess.Popen(
        [emulator, "-nodefaults", "-machine", "sabrelite", "-accel", "tcg", "-smp", "1", "-m", "1024M", "-display",
         "none", "-nic", "none", "-serial", "null", "-serial", "stdio", *options],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    clock = threading.Timer(DEADLINE_S, running.kill)
    clock.start()
    said = bytearray()
    try:
        assert running.stdout is not None
        while words.encode() not in said and (piece := os.read(running.stdout.fileno(), 4096)):
            said += piece
    finally:
        clock.cancel()
        running.kill()
        running.wait()
    return said.decode("utf-8", "replace")


def test_uboot_at_1_kib_of_the_card_starts(stock: Stock, tmp_path: Path) -> None:
    with stock.image.open("rb") as image:
        table = gpt.decode(image)
        assert (table.problems, table.partitions[0].start) == ((), 1 << 20)
        image.seek(IVT_AT)
        code = image.read((table.entries_at or 0) - IVT_AT)
    assert code.startswith(IVT_TAG)
    entry, itself = (int.from_bytes(code[at:at + 4], "little") for at in (ENTRY_AT, SELF_AT))
    (tmp_path / "code").write_bytes(code)
    console = console_until("=> ", [
        "-device", f"loader,file={tmp_path / 'code'},addr={itself:#x},force-raw=on",
        "-device", f"loader,addr={entry:#x},cpu-num=0"])
    assert "U-Boot 2025.01" in console
    assert "Loading Environment from MMC" in console
    assert "=> " in console  # the card is not there for it, so it goes on to its prompt


def test_slot_of_the_card_starts_and_finds_its_packages(stock: Stock, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    copy_sparse(stock.image, card)
    with card.open("r+b") as stream:
        stream.truncate(CARD_SIZE)
    with Disk(card) as disk:
        files = slot_files(disk, Slot.A)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    console = console_until("imagekit: phase switch", [
        "-kernel", str(tmp_path / "zImage"), "-initrd", str(tmp_path / INITRD), "-dtb", str(tmp_path / DEVICE_TREE),
        "-append", decode_env(files[ENV_NAME], name=ENV_NAME)["bootargs"],
        "-drive", f"if=none,id=card,format=raw,file={card}", "-device", "sd-card,drive=card"])
    phases = re.findall(r"imagekit: phase (\w+)", console)
    assert phases == ["initrd", "verity", "switch"], console[-3000:]
