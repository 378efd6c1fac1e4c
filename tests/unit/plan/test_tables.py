"""Partition tables out of layouts: the half of a type that the schema has, identifiers, and all of the first sector."""

from __future__ import annotations

import io
import uuid

import pytest

from imagekit.disk import gpt, mbr
from imagekit.errors import PlanError
from imagekit.gadget import Gadget, Structure, parse_gadget
from imagekit.plan.image import merged
from imagekit.plan.layout import lay_out
from imagekit.plan.tables import disk_id, entry_at, plan_table, table_writes
from imagekit.plan.writes import Literal
from imagekit.schema import load_yaml
from imagekit.units import MIB

DISK = uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")

CARD = """\
volumes:
  card:
    schema: mbr
    bootloader: u-boot
    structure:
      - {name: mbr, type: mbr, size: 446, content: [{image: code.img}]}
      - {name: spl, type: bare, offset: 8192, size: 65536, content: [{image: spl.img}]}
      - {name: core, type: bare, offset: 1M, size: 1M, offset-write: mbr+92}
      - name: boot
        role: system-boot
        type: 0C,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
        filesystem: vfat
        filesystem-label: system-boot
        size: 16M
      - name: ""
        role: system-data
        type: 83,0FC63DAF-8483-4772-8E79-3D69D8477DE4
        filesystem: ext4
        size: 16M
"""


def gadget(text: str = CARD) -> Gadget:
    return parse_gadget(load_yaml(text, name="gadget.yaml"))


def unique(structure: Structure) -> uuid.UUID:
    return uuid.uuid5(DISK, structure.title)


def test_mbr_table_has_types_sectors_and_the_active_boot_partition() -> None:
    layout = lay_out(gadget().boot_volume)
    table = plan_table(layout, disk=DISK, unique=unique)
    assert isinstance(table, mbr.Table)
    assert [(item.index, item.type, item.start, item.active) for item in table.partitions] == [
        (1, 0x0C, 2 * MIB, True), (2, 0x83, 18 * MIB, False)]
    assert (disk_id(table), entry_at(table, MIB)) == ("3dc9bd04", None)
    entry = entry_at(table, 18 * MIB)
    assert entry and (entry.index, entry.type, entry.id) == (2, "83", "3dc9bd04-02")


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt_of_the_same_gadget_has_the_other_halves(sector: int) -> None:
    text = CARD.replace("schema: mbr", "schema: gpt").replace("offset: 8192", "offset: 32768")
    layout = lay_out(gadget(text).boot_volume, sector=sector)
    table = plan_table(layout, disk=DISK, unique=unique)
    assert isinstance(table, gpt.Table)
    assert (table.sector, disk_id(table)) == (sector, str(DISK))
    assert [(item.name, str(item.type_guid)[:8]) for item in table.partitions] == [
        ("boot", "ebd0a0a2"), ("writable", "0fc63daf")]


def test_first_sector_of_an_mbr_disk_has_code_pointer_signature_and_table() -> None:
    layout = lay_out(gadget().boot_volume)
    table = plan_table(layout, disk=DISK, unique=unique)
    code = Literal(offset=0, content=b"c" * 446, what="code.img")
    (first,) = merged([*table_writes(layout, table), code])
    assert isinstance(first, Literal)
    assert (first.offset, first.length) == (0, 512)
    assert first.content[:92] == b"c" * 92
    assert first.content[92:96] == (2048).to_bytes(4, "little")
    assert first.content[96:440] == b"c" * 344
    assert mbr.decode(io.BytesIO(first.content.ljust(layout.disk_size, b"\0"))) == table


def test_write_across_the_end_of_a_table_is_refused() -> None:
    layout = lay_out(gadget().boot_volume)
    table = plan_table(layout, disk=DISK, unique=unique)
    with pytest.raises(PlanError, match=r"cannot write wide\.img at 500: partition table lies there"):
        merged([*table_writes(layout, table), Literal(offset=500, content=bytes(20), what="wide.img")])


HYBRID = """\
volumes:
  card:
    bootloader: u-boot
    structure:
      - name: boot
        role: system-boot
        type: 0C,C12A7328-F81F-11D2-BA4B-00A0C93EC93B
        filesystem: vfat
        filesystem-label: system-boot
        size: 16M
      - {name: firmware, type: "DA,EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", size: 1M}
      - {name: other, type: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7, size: 1M}
"""


def test_hybrid_table_lists_the_named_structures_in_the_mbr_in_their_order() -> None:
    layout = lay_out(gadget(HYBRID).boot_volume)
    table = plan_table(layout, disk=DISK, unique=unique, hybrid=("firmware", "boot"))
    plain = plan_table(layout, disk=DISK, unique=unique)
    assert isinstance(table, gpt.Table)
    assert [(item.index, item.type, item.start, item.active) for item in table.hybrid] == [
        (1, 0xDA, 17 * MIB, False), (2, 0x0C, MIB, True)]
    assert isinstance(plain, gpt.Table)
    assert (plain.hybrid, plain.partitions) == ((), table.partitions)
