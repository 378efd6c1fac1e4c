"""Layouts as partitioning programs see them: every published gadget, cards with boot code, files of the kernel."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.build.run import Request, build, plan
from imagekit.disk import gpt
from imagekit.gadget import Schema, Structure, parse_gadget
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.plan.image import merged
from imagekit.plan.layout import lay_out
from imagekit.plan.tables import plan_table, table_writes
from imagekit.plan.writes import Literal
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW
from imagekit.testing.images import BOOT_ASSETS, GADGET, Silent, Workshop, noise
from imagekit.units import MIB

pytestmark = pytest.mark.tools

RunTool = Callable[..., str]
DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")
REAL = sorted((Path(__file__).parent.parent / "data" / "gadgets").glob("*.yaml"))


def unique(structure: Structure) -> uuid.UUID:
    return uuid.uuid5(DISK, structure.title)


def write_disk(path: Path, size: int, *writes: Literal) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)
        for item in merged(writes):
            assert isinstance(item, Literal)
            stream.seek(item.offset)
            stream.write(item.content)


@pytest.mark.parametrize("sector", [512, 4096])
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_table_of_a_published_gadget_is_what_fdisk_reads(run_tool: RunTool, tmp_path: Path, path: Path,
                                                         sector: int) -> None:
    volume = parse_gadget(load_yaml(path.read_bytes(), name=path.name)).boot_volume
    layout = lay_out(volume, sector=sector)
    disk = tmp_path / "disk"
    write_disk(disk, layout.disk_size, *table_writes(layout, plan_table(layout, disk=DISK, unique=unique)))
    said = run_tool("fdisk", "-b", str(sector), "-l", "-o", "Start,End,Type", disk)
    assert not re.search("corrupt|error|overlap|mismatch|does not match", said, re.IGNORECASE)
    rows = re.findall(r"^ *(\d+) +(\d+) .+$", said, re.MULTILINE)
    assert [(int(start) * sector, (int(end) + 1) * sector) for start, end in rows] == [
        (item.start, item.end) for item in layout.partitions]
    assert f"Disklabel type: {'dos' if volume.schema is Schema.MBR else 'gpt'}" in said


CARD = """\
volumes:
  card:
    schema: mbr
    bootloader: u-boot
    structure:
      - {name: mbr, type: mbr, size: 440, content: [{image: code.img}]}
      - {name: imx, type: bare, offset: 1024, size: 7168, content: [{image: imx.img}]}
      - {name: spl, type: bare, offset: 8192, size: 1M, offset-write: mbr+432, content: [{image: spl.img}]}
      - {name: boot, role: system-boot, type: 0C, filesystem: vfat, filesystem-label: system-boot, size: 16M}
      - {name: data, role: system-data, type: "83", filesystem: ext4, size: 16M}
"""


def test_card_with_boot_code_before_its_mbr_partitions_is_read(run_tool: RunTool, tmp_path: Path) -> None:
    layout = lay_out(parse_gadget(load_yaml(CARD, name="gadget.yaml")).boot_volume)
    card = tmp_path / "card"
    code = [Literal(offset=layout.named(name).start, content=raw, what=name)
            for name, raw in (("mbr", b"c" * 440), ("imx", b"i" * 7168), ("spl", b"s" * 9000))]
    write_disk(card, layout.disk_size, *table_writes(layout, plan_table(layout, disk=DISK, unique=unique)), *code)
    told = json.loads(run_tool("sfdisk", "--json", card))["partitiontable"]
    assert (told["label"], told["id"]) == ("dos", "0x3dc9bd04")
    assert [(item["start"] * 512, item["type"], item.get("bootable", False)) for item in told["partitions"]] == [
        (8192 + MIB, "c", True), (8192 + 17 * MIB, "83", False)]
    raw = card.read_bytes()[:20000]
    assert raw[:432] == b"c" * 432
    assert raw[432:436] == (16).to_bytes(4, "little")
    assert raw[1024:17192] == b"i" * 7168 + b"s" * 9000


ARM = GADGET.replace("    structure:\n", """    structure:
      - {name: spl, type: bare, offset: 8192, size: 40960, content: [{image: spl.img, offset: 512}]}
""").replace("{source: startup.nsh, target: /}", '{source: "$kernel:dtbs/dtbs/", target: /dtb}').replace(
    "x-imagekit:\n", "x-imagekit:\n  gpt-entries: 56\n")


def test_image_with_boot_code_in_a_small_table_and_files_of_its_kernel(run_tool: RunTool, tmp_path: Path) -> None:
    shop = Workshop(folder=tmp_path, gadget=ARM)
    shop.package("pc", "gadget", {"meta/gadget.yaml": ARM.encode(), **BOOT_ASSETS, "spl.img": noise("spl", 30000)})
    shop.package("pc-kernel", "kernel", {
        "kernel.efi": noise("kernel", MIB), "dtbs/one.dtb": noise("one", 5000), "dtbs/more/two.dtb": noise("two", 7),
        "meta/kernel.yaml": b"assets: {dtbs: {update: true, content: [dtbs/]}}\n"})
    shop.package("debian-13", "base", {"usr/lib/os-release": b"ID=debian\n", "usr/bin/init": noise("base", 3 * MIB)})
    shop.write_trust()
    request = Request(model=shop.model(), packages=(shop.packages,), trust=(shop.trust,), epoch=None, now=NOW)
    manifest = build(request, tmp_path / "out", tools=LocalTools, cache=Cache(tmp_path / "cache"), progress=Silent())
    image = tmp_path / "out" / manifest.image.file
    told = json.loads(run_tool("sfdisk", "--json", image))["partitiontable"]
    assert told["firstlba"] * 512 == 8192
    assert "No problems found" in run_tool("sgdisk", "-v", image)
    with image.open("rb") as stream:
        assert gpt.decode(stream).entries == 56
        stream.seek(8192)
        assert stream.read(512 + 30000) == bytes(512) + noise("spl", 30000)
    drive = f"{image}@@{plan(request).layout.named('esp').start}"
    for path, raw in (("one.dtb", noise("one", 5000)), ("more/two.dtb", noise("two", 7))):
        run_tool("mcopy", "-i", drive, f"::dtb/{path}", tmp_path / "copied")
        assert (tmp_path / "copied").read_bytes() == raw
        (tmp_path / "copied").unlink()
