"""A pretend device: firmware, loader and kernel are real, its user space is one script that does as it is told.

It boots in a few seconds and does on request what a real device never should. The kernel and the busybox come out of
the packed kernel's image, the loader out of the packed gadget; `init.sh` replaces the initrd's own first program.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from imagekit.disk import gpt
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.packages.cpio import CpioEntry, encode_cpio
from imagekit.packages.erofs import Erofs
from imagekit.packages.uki import decode_uki
from imagekit.qemu.judge import Expectation, Package
from imagekit.units import MIB
from tests.boot.stock import Stock

ROOT_OF_ALL = "ab" * 32
EXPECTED = Expectation(model="acme/pretend", kernel=Package(name="pc-kernel", revision=1, root=ROOT_OF_ALL),
                       base=Package(name="debian-13", revision=1, root=ROOT_OF_ALL))
_INIT = Path(__file__).parent / "init.sh"
_ENTRY = """\
title pretend
linux /linux
initrd /initrd
initrd /pretend
options console=ttyS0,115200 panic=2 quiet imagekit.slot=a imagekit.base={root} imagekit.kernel={root} play={play}
"""


def make_pretend(stock: Stock, path: Path, play: str) -> None:
    """A disk whose device plays `play`, a word that init.sh knows."""
    with stock.kernel.open("rb") as stream:
        kernel = decode_uki(Erofs(stream).read("kernel.efi", limit=128 * MIB), name="kernel.efi")
    with stock.gadget.open("rb") as stream:
        loader = Erofs(stream).read(stock.board.loader)
    init = encode_cpio([CpioEntry(path="init", mode=0o755, content=_INIT.read_bytes())])
    files = {
        "EFI/BOOT/BOOTX64.EFI": loader, "loader/loader.conf": b"timeout 0\n", "linux": kernel.section(".linux"),
        "initrd": kernel.section(".initrd"), "pretend": init,
        "loader/entries/pretend.conf": _ENTRY.format(root=ROOT_OF_ALL, play=play).encode(),
    }
    size = 96 * MIB
    plan = plan_fat(size, "PRETEND", 1, [FatFile(path=name, source=content) for name, content in files.items()],
                    time=datetime(2020, 1, 1, tzinfo=UTC))
    esp = gpt.Partition(index=1, name="esp", type_guid=uuid.UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
                        unique_guid=uuid.UUID(int=1), start=MIB, end=MIB + size)
    table = gpt.Table(disk_guid=uuid.UUID(int=2), partitions=(esp,), disk_size=size + 2 * MIB)
    with path.open("xb") as stream:
        stream.truncate(table.disk_size)
        for offset, content in (*gpt.encode(table), *((MIB + offset, content) for offset, content in plan.extents)):
            assert isinstance(content, bytes)
            stream.seek(offset)
            stream.write(content)
