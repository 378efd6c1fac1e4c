"""docs/how-to/flash-over-serial.md, followed to the letter, on a real U-Boot: QEMU's arm64 machine for the Pi."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagekit.build.run import Request, build
from imagekit.digests import sha256
from imagekit.disk.bmap import MappedRange, decode_bmap
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.testing.documents import NOW
from imagekit.testing.images import Silent, Workshop
from imagekit.units import KIB
from tests.boot import uboot_rig
from tests.boot.serial_rig import powered
from tests.boot.stock import missing_tool
from tests.boot.tftp_turn import no_tftp, tftp_turn
from tests.networkline import served
from tests.pages import desk, page_lines, ran, typed
from tests.patience import patience

pytestmark = pytest.mark.boot

HELLO = bytes.fromhex("00008052" "c0035fd6")  # mov w0, #0; ret


def small_signed_image(folder: Path) -> tuple[Path, Path]:
    """An image of imagekit, and the folder of trust that it is verified with."""
    if shutil.which("mkfs.erofs") is None or shutil.which("mke2fs") is None:
        missing_tool("mkfs.erofs or mke2fs is not installed")
    workshop = Workshop(folder=folder / "workshop")
    workshop.folder.mkdir()
    model = workshop.usual(base=256 * KIB, kernel=64 * KIB)
    request = Request(model=model, packages=(workshop.packages,), trust=(workshop.trust,), epoch=None, now=NOW)
    made = build(request, folder / "built", tools=LocalTools, cache=Cache(folder / "parts"), progress=Silent())
    (folder / "out").mkdir()
    for suffix in ("", ".bmap"):
        shutil.copyfile(folder / "built" / f"{made.image.file}{suffix}", folder / "out" / f"pi.img{suffix}")
    return folder / "out" / "pi.img", workshop.trust


def wound(disk: Path, used: Sequence[MappedRange]) -> None:
    """Damage a disk in a few places of what the image has."""
    with disk.open("r+b") as stream:
        for item in used[1:-1:3]:
            stream.seek(item.start + (item.end - item.start) // 2)
            stream.write(os.urandom(700))


def content(disk: Path) -> str:
    with disk.open("rb") as stream:
        return sha256(stream)


def test_page_is_followed_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    image, trust = small_signed_image(tmp_path)
    disk, env, followed = tmp_path / "disk.img", desk(tmp_path, trust=trust), 0
    used = decode_bmap(image.with_name("pi.img.bmap").read_bytes()).ranges
    shutil.copyfile(image, disk)
    (tmp_path / "hello.bin").write_bytes(HELLO)
    rig = uboot_rig.make_rig("arm64-uboot", tmp_path / "rig")
    with tftp_turn() as obstacle, patience(waits=True), \
            powered(rig, disk, "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net") as board, \
            served(board.url) as remote:
        asked = ("to go on", f"erase {board.url.removeprefix('socket://')}:{board.uboot.disk}\n")
        for line in page_lines("flash-over-serial.md"):
            where = remote.url if "--run" in line or " load " in line else board.url
            command = (line.replace("/dev/ttyUSB0", f"'{where}'").replace("--board pi", f"--board {board.name}")
                       .replace("192.168.1.10", "127.0.0.1"))
            if "--tftp" in line and obstacle:
                continue
            followed += 1
            if line.startswith("imagekit board flash"):
                wound(disk, used)
            if "--dry-run" in line:
                status, said = ran(command, env=env, cwd=tmp_path)
                assert re.search(r"^sent: +\S+ \S+ differ, .* packed, in \d+ pieces$", said, re.MULTILINE), said
                assert content(disk) != content(image)
            elif line.startswith("imagekit board flash"):
                status, said = typed(command, asked, env=env, cwd=tmp_path)
                assert "written, read back by the board, right" in said, said
                assert content(disk) == content(image)
            elif "--run" in line or " load " in line:
                status, said = ran(command, env=env, cwd=tmp_path)
                assert ("rc = 0x0" if "--run" in line else "as they should be") in said, said
            else:
                status, said = typed(command, ("Hit any key to stop autoboot", " "), ("=> ", "version\r"),
                                     ("U-Boot 20", ""), ("=> ", "\x1d"), env=env, cwd=tmp_path)
            assert status == 0, f"{line}: {said}"
    assert followed >= 5
    if obstacle:
        no_tftp(obstacle)
