"""Layouts, as text that was reviewed: `tests/golden/layout-*.txt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ExitCode, PlanError
from imagekit.gadget import OffsetWrite, Role, Schema, Structure, StructureType, Update, Volume, parse_gadget
from imagekit.plan.layout import TAIL_RESERVED, lay_out, table_extents
from imagekit.plan.spans import rooms
from imagekit.schema import load_yaml
from imagekit.units import MIB, iec

TESTS = Path(__file__).parent.parent.parent
REAL = sorted((TESTS / "data" / "gadgets").glob("*.yaml"))


def as_text(volume: Volume) -> str:
    """The layout for a reviewer, in bytes and in sectors of both sizes."""
    small, large = lay_out(volume), lay_out(volume, sector=4096)
    assert small.placements == large.placements
    tables = [table_extents(volume.schema or Schema.GPT, sector=sector)[-1] for sector in (512, 4096)]
    lines = [f"volume {volume.name}: {small.disk_size} bytes, {iec(small.disk_size)}, schema"
             f" {volume.schema.value if volume.schema else '-'}",
             f"table up to {tables[0][1]} with sectors of 512 bytes, {tables[1][1]} with 4096", ""]
    for item, room in zip(small.placements, rooms(volume), strict=True):
        role = item.structure.role.value if item.structure.role else "-"
        sectors = "  ".join(f"{item.start // size:>8}-{item.end // size - 1:<8}" if item.structure.type.in_table
                            else f"{'not in the table':>17}" for size in (512, 4096))
        assert room.start
        moves = "" if room.start.fixed else f"  (from {room.start.least})"
        lines.append(f"{item.start:>12} {item.end:>12} {iec(item.size):>10}  {sectors}  {role:<12}"
                     f" {item.structure.title}{moves}")
    for layout in (small, large):
        lines += [f"{item.content.hex()} at {item.offset}: sector {item.sector} of {layout.sector} bytes, where"
                  f" {item.of.title} begins" for item in layout.pointers]
    return "\n".join(lines) + "\n"


def golden(path: Path) -> Path:
    stem = path.stem.removesuffix("_gadget").replace("_gadget_gadget-", "_gadget-")
    return TESTS / "golden" / f"layout-{stem}.txt"


def structure(name: str, *, size: int | None = MIB, offset: int | None = None, role: Role | None = None,
              kind: StructureType | None = None) -> Structure:
    return Structure(name=name, index=0, type=kind or StructureType(mbr=0x83), role=role, size=size, min_size=size,
                     offset=offset, offset_write=None, filesystem=None, label=None, id=None, content=(),
                     update=Update())


def volume(*structures: Structure, schema: Schema = Schema.GPT) -> Volume:
    return Volume(name="pc", schema=schema, bootloader=None, id=None, partial=frozenset(), structures=structures)


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_published_gadget_lies_as_reviewed(path: Path) -> None:
    gadget = parse_gadget(load_yaml(path.read_bytes(), name=path.name))
    assert "\n".join(as_text(volume) for volume in gadget.volumes) == golden(path).read_text()


def test_structure_in_taken_space_is_refused() -> None:
    with pytest.raises(PlanError) as caught:
        lay_out(volume(structure("one", size=4 * MIB), structure("two", offset=2 * MIB)))
    assert str(caught.value) == ("cannot place structure 'two' of volume 'pc' at 2 MiB: the disk is taken up to 5 MiB")
    assert caught.value.hint == "raise its offset, or leave the offset out"
    assert caught.value.exit_code is ExitCode.PLAN


def test_structure_over_the_partition_table_is_refused() -> None:
    with pytest.raises(PlanError, match="the partition table needs bytes 512 to 17408"):
        lay_out(volume(structure("spl", size=8192, offset=8192, kind=StructureType())))


def test_structure_over_the_place_of_a_gpt_is_fine_in_an_mbr_volume() -> None:
    layout = lay_out(volume(structure("spl", size=8192, offset=8192, kind=StructureType()), schema=Schema.MBR))
    assert layout.placements[0].start == 8192


def test_structure_without_a_size_is_refused() -> None:
    with pytest.raises(PlanError, match="it has no size"):
        lay_out(volume(structure("rest", size=None)))


def test_partition_of_half_a_sector_is_refused() -> None:
    with pytest.raises(PlanError, match="multiples of 512"):
        lay_out(volume(structure("odd", size=MIB + 100)))


def test_name_that_gpt_cannot_hold_is_refused() -> None:
    with pytest.raises(PlanError, match="at most 36 characters"):
        lay_out(volume(structure("n" * 37)))
    assert lay_out(volume(structure("n" * 36)))


def test_boot_code_lies_at_the_start() -> None:
    layout = lay_out(volume(structure("mbr", size=440, role=Role.MBR, kind=StructureType()), structure("one")))
    assert [(item.start, item.end) for item in layout.placements] == [(0, 440), (MIB, 2 * MIB)]


def test_placements_are_found_by_name_and_role() -> None:
    layout = lay_out(volume(structure("one"), structure("two", role=Role.DATA)))
    assert layout.named("one").start == MIB
    assert layout.holding(Role.DATA).structure.name == "two"
    with pytest.raises(PlanError, match="has none of that name"):
        layout.named("three")
    with pytest.raises(PlanError, match="no structure has the role system-seed"):
        layout.holding(Role.SEED)


@given(st.lists(st.tuples(st.integers(1, 64), st.none() | st.integers(1, 512)), min_size=1, max_size=10))
def test_placements_never_overlap_and_the_disk_holds_them(sizes: list[tuple[int, int | None]]) -> None:
    items = [structure(f"s{index}", size=size * MIB, offset=None if offset is None else offset * MIB)
             for index, (size, offset) in enumerate(sizes)]
    try:
        layout = lay_out(volume(*items))
    except PlanError:
        return
    for one, two in zip(layout.placements, layout.placements[1:], strict=False):
        assert one.end <= two.start
    assert layout.placements[-1].end + TAIL_RESERVED <= layout.disk_size
    assert layout == lay_out(replace(volume(*items)))


SPL = structure("spl", size=32768, offset=8192, kind=StructureType())


def test_boot_code_at_8_kib_lies_behind_a_gpt_of_56_entries() -> None:
    layout = lay_out(volume(SPL, structure("one")), entries=56)
    assert (layout.entries, layout.placements[0].start) == (56, 8192)


@pytest.mark.parametrize(("sector", "entries", "reason"), [
    (512, 57, "bytes 512 to 8704"), (4096, 56, "bytes 4096 to 16384"), (4096, 4, "bytes 4096 to 12288")])
def test_boot_code_at_8_kib_in_a_larger_table_is_refused(sector: int, entries: int, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        lay_out(volume(SPL), sector=sector, entries=entries)


def test_refusal_of_boot_code_in_the_table_names_the_table_that_would_do() -> None:
    with pytest.raises(PlanError) as caught:
        lay_out(volume(SPL))
    assert caught.value.hint == "raise its offset to 17408 or above, or make the table smaller: gpt-entries: 56 in" \
        " x-imagekit"


def test_mbr_volume_of_five_partitions_is_refused() -> None:
    with pytest.raises(PlanError, match="it has 5 partitions, its partition table holds 4"):
        lay_out(volume(*(structure(f"s{index}") for index in range(5)), schema=Schema.MBR))
    bare = structure("bare", kind=StructureType())
    assert lay_out(volume(*(structure(f"s{index}") for index in range(4)), bare, schema=Schema.MBR)).partitions[3]


def test_structure_over_the_mbr_table_itself_is_refused() -> None:
    with pytest.raises(PlanError, match="the partition table needs bytes 446 to 512"):
        lay_out(volume(structure("raw", size=1024, offset=0, kind=StructureType()), schema=Schema.MBR))


def test_mbr_partition_beyond_32_bits_of_sectors_is_refused() -> None:
    with pytest.raises(PlanError, match="counts up to 2048 GiB"):
        lay_out(volume(structure("far", offset=1 << 41), schema=Schema.MBR))
    assert lay_out(volume(structure("far", offset=1 << 41), schema=Schema.MBR), sector=4096)


def test_partition_of_small_sectors_is_refused_on_large_ones() -> None:
    odd = volume(structure("odd", size=MIB + 512))
    assert lay_out(odd)
    with pytest.raises(PlanError, match="multiples of 4096"):
        lay_out(odd, sector=4096)


@pytest.mark.parametrize(("schema", "reason"), [
    (Schema.EMMC, "the boot areas of an eMMC have no partition table"), (None, "its schema is partial")])
def test_volume_that_is_no_disk_of_ours_is_refused(schema: Schema | None, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        lay_out(replace(volume(structure("boot0")), schema=schema))


@pytest.mark.parametrize(("sector", "entries"), [(1024, 128), (512, 3), (512, 129)])
def test_disk_of_unknown_kind_is_refused(sector: int, entries: int) -> None:
    with pytest.raises(PlanError, match="allowed are"):
        lay_out(volume(structure("one")), sector=sector, entries=entries)


def pointing(offset: int, relative_to: str | None = None) -> Volume:
    code = structure("mbr", size=446, role=Role.MBR, kind=StructureType())
    core = replace(structure("core", offset=MIB), offset_write=OffsetWrite(relative_to=relative_to, offset=offset))
    return volume(code, core)


def test_offset_write_says_the_sector_in_four_bytes() -> None:
    small, large = lay_out(pointing(92, "mbr")), lay_out(pointing(92), sector=4096)
    assert [(item.offset, item.content.hex()) for item in (*small.pointers, *large.pointers)] == [
        (92, "00080000"), (92, "00010000")]


@pytest.mark.parametrize("offset", [443, 511, 600, 17407])
def test_offset_write_into_the_partition_table_is_refused(offset: int) -> None:
    with pytest.raises(PlanError, match="the partition table needs bytes"):
        lay_out(pointing(offset))


def test_offset_write_over_the_signature_of_an_mbr_disk_is_refused() -> None:
    assert lay_out(pointing(441)).pointers
    with pytest.raises(PlanError, match="needs bytes 440 to 446"):
        lay_out(replace(pointing(441), schema=Schema.MBR))


IMX = structure("imx", size=MIB - 16384 - 1024, offset=1024, kind=StructureType())


def test_boot_code_at_1_kib_lies_between_the_header_of_a_gpt_and_its_entries() -> None:
    layout = lay_out(volume(IMX, structure("one")), entries_at=MIB - 16384)
    assert [item.start for item in layout.placements] == [1024, MIB]
    assert table_extents(Schema.GPT, entries_at=MIB - 16384) == ((446, 512), (512, 1024), (MIB - 16384, MIB))


@pytest.mark.parametrize(("offset", "size", "reason"), [
    (512, 1024, "the partition table needs bytes 512 to 1024"),
    (1024, MIB - 16384, "the partition table needs bytes 1032192 to 1048576")])
def test_boot_code_over_the_header_or_the_entries_is_refused(offset: int, size: int, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        lay_out(volume(structure("imx", size=size, offset=offset, kind=StructureType())), entries_at=MIB - 16384)


def test_refusal_of_boot_code_at_1_kib_names_what_would_help() -> None:
    with pytest.raises(PlanError) as caught:
        lay_out(volume(IMX))
    assert "gpt-entries-at in x-imagekit" in (caught.value.hint or "")


def test_partition_before_the_entries_is_refused() -> None:
    with pytest.raises(PlanError, match="partitions begin behind the table's entries, which end at 1048576"):
        lay_out(volume(structure("early", size=4096, offset=65536)), entries_at=MIB - 16384)


@pytest.mark.parametrize("at", [512, 4100])
def test_entries_that_cannot_be_where_they_shall_are_refused(at: int) -> None:
    with pytest.raises(PlanError, match="allowed are multiples of 512 from 1024 on"):
        lay_out(volume(structure("one")), entries_at=at)
