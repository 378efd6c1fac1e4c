"""layout.svg: one reviewed picture, valid XML, nothing remote, names made harmless."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from imagekit.plan.svg import WIDTH, Drawn, DrawnVolume, box_widths, draw_layout, draw_volumes, wrap
from imagekit.units import MIB

GOLDEN = Path(__file__).parent.parent.parent / "golden" / "layout.svg"


def drawn(name: str, start: int, size: int, *, used: int = 0, slot: str | None = None, part: str | None = None,
          role: str | None = None, content: str = "empty") -> Drawn:
    return Drawn(name=name, start=start * MIB, size=size * MIB, used=used, role=role, slot=slot, part=part,
                 content=content)


DISK = (
    drawn("esp", 1, 256, used=15 * MIB, role="system-boot", content="boot files of slot a"),
    drawn("slot-state", 257, 1, used=8192, part="state", content="slot-state record"),
    drawn("base-a", 258, 640, used=300 * MIB, slot="a", part="base", content="debian-13_1.snap + hash tree"),
    drawn("base-b", 898, 640, slot="b", part="base", content="empty, for slot b"),
    drawn("seed", 1538, 1200, used=60 * MIB, role="system-seed", content="model, assertions, 3 packages"),
    drawn("data", 2738, 256, used=12 * MIB, role="system-data", content="empty ext4"),
)


def test_picture_is_the_reviewed_one() -> None:
    assert draw_layout("acme / pc", "a disk", 2995 * MIB, DISK) == GOLDEN.read_bytes()


def test_picture_is_valid_and_asks_nobody_for_anything() -> None:
    raw = draw_layout("acme / pc", "a disk", 2995 * MIB, DISK)
    root = ElementTree.fromstring(raw)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert raw.count(b"http") == 1
    assert not {b"<script", b"<image", b"@import", b"url("} & {word for word in (b"<script", b"<image", b"url(")
                                                              if word in raw}
    assert len(raw) < 100_000


def test_names_cannot_break_the_picture() -> None:
    raw = draw_layout("<a>&</a>", "\"'", 300 * MIB, [drawn("<x&y>", 1, 200, content="</svg>")])
    text = "".join(ElementTree.fromstring(raw).itertext())
    assert "<x&y>" in text and "</svg>" in text


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=12))
def test_boxes_fill_the_width_and_none_is_too_narrow(sizes: list[int]) -> None:
    widths = box_widths(sizes)
    assert sum(widths) < WIDTH
    assert min(widths) > 60


@given(st.text(alphabet="ab-_ ", max_size=60), st.integers(4, 20))
def test_wrapped_lines_fit_and_lose_no_letter(text: str, room: int) -> None:
    lines = wrap(text, room)
    assert all(0 < len(line) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_volumes_are_drawn_one_below_the_other_each_with_its_heading() -> None:
    areas = replace(drawn("boot0", 0, 0), start=None, room="any")
    root = ElementTree.fromstring(draw_volumes("board", "2 volumes", [
        DrawnVolume(heading="the disk", disk_size=300 * MIB, structures=DISK[:2]),
        DrawnVolume(heading="the boot areas", disk_size=None, structures=(areas,))]))
    places = {text.text: float(text.get("y", "0")) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert places["the disk"] < places["esp"] < places["the boot areas"] < places["boot0"] < places["any"]
    assert float(root.get("height", "0")) > places["any"]


def test_many_structures_take_several_rows_of_boxes_that_can_be_read() -> None:
    many = [drawn(f"part-{number}", 1 + number, 1) for number in range(23)]
    root = ElementTree.fromstring(draw_layout("board", "", 30 * MIB, many))
    heights = {text.text: float(text.get("y", "0")) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert heights["part-0"] == heights["part-9"] < heights["part-10"] < heights["part-22"]
    widths = [float(item.get("width", "0")) for item in root.iter("{http://www.w3.org/2000/svg}rect")
              if item.get("class") == "box" and item.get("rx")]
    assert len(widths) == 23
    assert min(widths) >= 92


def test_long_name_is_folded_into_its_box() -> None:
    root = ElementTree.fromstring(draw_layout("board", "", 300 * MIB, [
        drawn("system-boot-state-of-the-board", 1, 1), drawn("large", 2, 200)]))
    words = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "name"]
    assert "".join(words) == "system-boot-state-of-the-boardlarge"
    assert 2 <= len(words) - 1 <= 4


def test_what_is_in_use_is_not_drawn_where_nobody_knows() -> None:
    unknown = replace(drawn("one", 1, 100), used=None)
    root = ElementTree.fromstring(draw_layout("board", "", 300 * MIB, [unknown]))
    assert not [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "share"]
    assert "share in use" not in "".join(root.itertext())
