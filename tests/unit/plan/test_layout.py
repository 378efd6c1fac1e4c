"""Layouts, as text that was reviewed: `tests/golden/layout-*.txt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import ExitCode, PlanError
from imagekit.gadget import Role, Schema, Structure, StructureType, Update, Volume, parse_gadget
from imagekit.plan.layout import TAIL_RESERVED, VolumeLayout, lay_out
from imagekit.schema import load_yaml
from imagekit.units import MIB, iec

TESTS = Path(__file__).parent.parent.parent
REAL = sorted((TESTS / "data" / "gadgets").glob("*.yaml"))


def as_text(layout: VolumeLayout) -> str:
    """The layout for a reviewer."""
    lines = [f"volume {layout.volume.name}: {layout.disk_size} bytes, {iec(layout.disk_size)}"]
    for item in layout.placements:
        role = item.structure.role.value if item.structure.role else "-"
        lines.append(f"{item.start:>12} {item.end:>12} {iec(item.size):>10}  {role:<12} {item.structure.title}")
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
    text = as_text(lay_out(gadget.boot_volume))
    assert text == golden(path).read_text()


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
